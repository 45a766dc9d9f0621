"""Custom models as components of any arm."""
