"""Predictions that any system made, in Parquet or CSV: read, brought together, compared."""
