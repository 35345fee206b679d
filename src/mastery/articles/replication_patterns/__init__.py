"""14 Replication Patterns: consistency against latency."""
