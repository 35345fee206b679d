"""SD-01 System Design Framework; 5-step approach for any problem."""
