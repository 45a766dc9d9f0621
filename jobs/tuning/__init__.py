"""The search for the value of a parameter."""
