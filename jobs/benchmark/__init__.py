"""Benchmarks of Soloist itself: ``python -m jobs.benchmark NAME``."""
