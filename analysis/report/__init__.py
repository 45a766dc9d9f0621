"""The report as one web page that needs nothing beside it."""
