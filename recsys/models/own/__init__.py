"""A user's own model as a component of any arm."""
