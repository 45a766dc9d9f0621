"""The synchronous engine: Ray Train places ranks, TorchRec shards the tables over them."""
