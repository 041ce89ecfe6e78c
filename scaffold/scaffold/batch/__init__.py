"""Many tasks with one runner: their inputs read as a stream, their ends written down as they come."""
