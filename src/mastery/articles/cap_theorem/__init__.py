"""12 CAP Theorem Demystified: consistency against availability."""
