"""What comes out: prediction difference, intervals, tables and figures. Needs neither Ray nor torch."""
