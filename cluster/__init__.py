"""Where it runs: job submission, a local cluster, manifests. No other package imports it."""
