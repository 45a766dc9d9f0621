"""What comes out: prediction difference, intervals, tables, figures. Needs no Ray and no torch."""
