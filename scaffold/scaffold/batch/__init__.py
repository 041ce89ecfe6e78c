"""Many tasks with one runner: inputs are read as a stream, and results are written as they come."""
