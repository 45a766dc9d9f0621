"""Prediction files of any system, in Parquet or CSV: read, align, compare."""
