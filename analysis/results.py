"""Reads what a sweep left behind."""


class ResultsError(Exception):
    """A results directory or prediction file is not what was promised."""
