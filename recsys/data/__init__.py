"""Click logs: their schema, readers, shuffles and batches."""
