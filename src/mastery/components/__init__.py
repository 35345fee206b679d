"""Real servers and kernel facilities: found, started, given out by address, broken on purpose, stopped."""
