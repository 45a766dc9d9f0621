"""What a sweep left behind: reading, summaries, slices, spending, tables."""
