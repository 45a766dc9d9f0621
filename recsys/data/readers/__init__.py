"""Readers: one module per source format, each into the click-log contract."""
