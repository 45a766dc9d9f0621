"""Results of a sweep: reading, summaries, slices, costs, tables."""
