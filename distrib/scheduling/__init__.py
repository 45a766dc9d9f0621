"""How trials are placed, monitored and retried on Ray."""
