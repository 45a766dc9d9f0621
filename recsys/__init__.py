"""What is trained: activations, models, arms, data, metrics and cost. Knows nothing of Ray."""

__version__ = "0.1.0"
