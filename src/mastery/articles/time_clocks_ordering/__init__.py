"""16 Time, Clocks & Ordering: simplicity against accuracy."""
