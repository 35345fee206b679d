"""What several experiments do: append logs, accounts, keyed tables."""
