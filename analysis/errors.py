"""Errors of reading results; apart, so that a command line's edge need not load pandas."""


class ResultsError(Exception):
    """A results directory or prediction file is not what was promised."""
