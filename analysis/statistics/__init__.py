"""Estimators, intervals and rankings."""
