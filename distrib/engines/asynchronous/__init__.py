"""The ``async`` engine: Ray workers that never wait for each other."""
