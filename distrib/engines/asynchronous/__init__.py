"""The ``async`` engine: Ray workers without barriers."""
