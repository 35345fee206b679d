"""A run turned into sentences, tables and plots; used by the command line and the web alike."""
