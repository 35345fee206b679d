"""10 Isolation Levels & Anomalies: safety against concurrency."""
