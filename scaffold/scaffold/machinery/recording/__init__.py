"""The one writer of the trace, and what is remembered of it."""
