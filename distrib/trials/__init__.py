"""Trials and their files: names, directories, remote results, provenance."""
