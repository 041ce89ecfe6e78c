"""The engine: what runs a planner. It reaches the outside world only through the interfaces."""
