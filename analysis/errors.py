"""Errors of reading results; a separate module, so that the CLI need not load pandas."""


class ResultsError(Exception):
    """A results directory or prediction file is invalid."""
