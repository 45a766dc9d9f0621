"""Experiments: schema, loading with overrides, planning into trials."""
