"""The measuring engine."""
