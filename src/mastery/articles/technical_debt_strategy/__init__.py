"""26 Technical Debt Strategy: which debt to take, to watch and to pay."""
