"""20 Security Fundamentals: security against convenience."""
