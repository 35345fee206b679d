"""A laboratory for backend trade-offs: read, predict, measure on your own machine, decide."""
