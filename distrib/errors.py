"""Errors of training itself, as opposed to bad input."""


class TrialFailed(Exception):
    """One or more trials ended without a result; names them and where their tracebacks lie."""
