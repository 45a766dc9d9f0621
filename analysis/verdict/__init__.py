"""Whether one smooth model replaces the incumbent."""
