"""25 Architecture Decision Records: why a system is as it is, written down."""
