"""Hand-coded planners: ways of breaking a task into cognitive steps."""
