"""Running one task: from a planner, from its trace, or from another agent's loop."""
