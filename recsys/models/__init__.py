"""Models over embedded features."""
