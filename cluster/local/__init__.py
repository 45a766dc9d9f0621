"""A cluster that scales, on one machine: ``python -m cluster.local up``, ``run`` and ``down``."""
