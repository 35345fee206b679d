"""17 Reliability Patterns: availability against complexity."""
