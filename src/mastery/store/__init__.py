"""Runs and events on disk: append-only, migrated, safe for two processes at once."""
