"""07 Load Balancing (L4 vs L7): speed against features."""
