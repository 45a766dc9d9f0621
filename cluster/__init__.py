"""Where it runs: submission, a cluster on one machine, manifests. Nobody imports it."""
