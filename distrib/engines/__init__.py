"""How a trial is trained: one engine for each way of running workers."""
