"""A search for the value of a parameter: its rules, its evidence, its words."""
