"""The content: one folder per article of the series."""
