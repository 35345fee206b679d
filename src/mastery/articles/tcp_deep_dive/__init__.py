"""05 TCP Deep Dive: reliability against latency."""
