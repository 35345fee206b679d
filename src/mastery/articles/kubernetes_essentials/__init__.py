"""22 Kubernetes Essentials: abstraction against complexity."""
