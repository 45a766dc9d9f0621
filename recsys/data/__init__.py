"""Click logs: schema, readers, shuffles and batches."""
