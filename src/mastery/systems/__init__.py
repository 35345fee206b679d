"""The three reference systems; they import nothing of the laboratory."""
