"""06 HTTP Evolution (1.1→2→3): simplicity against performance."""
