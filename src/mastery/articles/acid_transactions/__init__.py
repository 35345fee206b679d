"""09 ACID Transactions Explained: consistency against performance."""
