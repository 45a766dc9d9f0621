"""The kinds of error that are a person's to mend; a job's edge prints each in one line."""


class DataError(Exception):
    """Input data is not what was promised; names file, row or field, found and expected."""


class ConfigError(Exception):
    """A configuration cannot work: names the field, what was found and what would work."""
