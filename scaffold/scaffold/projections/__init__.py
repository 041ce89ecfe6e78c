"""Readers of the trace that show it elsewhere: spans for tracing backends, a report, a verification."""
