"""Serving: weights, exported programs and their loader."""
