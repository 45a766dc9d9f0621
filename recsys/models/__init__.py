"""Dense models over embedded features."""
