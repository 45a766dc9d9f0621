"""A user's model as a component of any arm."""
