"""Errors that a user can fix; the CLI prints each in one line."""


class DataError(Exception):
    """Input data is invalid; the message names file, row or field, found and expected."""


class ConfigError(Exception):
    """A configuration is invalid; the message names the field, found and expected."""
