"""SD-03 Design: Distributed Cache; high-performance caching."""
