"""19 Observability (Metrics, Logs, Traces): coverage against overhead."""
