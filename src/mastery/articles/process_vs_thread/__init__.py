"""01 Process vs Thread: isolation against efficiency."""
