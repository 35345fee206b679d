"""04 CPU Scheduling & Context Switches: throughput against latency."""
