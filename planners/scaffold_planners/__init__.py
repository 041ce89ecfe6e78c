"""Hand-coded planners: strategies for breaking a task into cognitive steps."""
