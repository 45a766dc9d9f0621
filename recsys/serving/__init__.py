"""What answers requests: its weights, the program made of them, and the loader of that program."""
