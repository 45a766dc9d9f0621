"""Figures of results, as PNG, SVG and in the page, in one style."""
