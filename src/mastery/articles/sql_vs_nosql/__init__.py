"""11 SQL vs NoSQL Decision Guide: flexibility against scale."""
