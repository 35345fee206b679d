"""24 Event-Driven Architecture: decoupling against complexity."""
