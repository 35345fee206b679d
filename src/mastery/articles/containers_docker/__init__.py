"""21 Containers & Docker: isolation against overhead."""
