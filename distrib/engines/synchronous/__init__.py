"""The ``sync`` engine: Ray Train places ranks, TorchRec shards the tables."""
