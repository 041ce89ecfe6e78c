"""What makes a planner run: it touches the world through interfaces only."""
