"""Figures of results, as PNG and SVG, in one style."""
