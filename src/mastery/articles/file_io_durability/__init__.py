"""03 File I/O & Durability: performance against durability, and what fsync buys."""
