"""Histories of what clients saw, and the checkers that judge them without trusting the server."""
