"""One run, and who drives it: a planner, its trace, or somebody else's agent loop."""
