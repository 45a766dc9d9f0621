"""An autoscaling cluster on one machine: ``python -m cluster.local up``, ``run`` and ``down``."""
