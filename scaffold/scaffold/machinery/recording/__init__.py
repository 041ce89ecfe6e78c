"""Recording: the only writer of the trace, and the state derived from it."""
