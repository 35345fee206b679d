"""13 Sharding Strategies: query flexibility against scale."""
