"""18 Caching Strategies: performance against consistency."""
