"""Words in, text out: one module per group of commands."""
