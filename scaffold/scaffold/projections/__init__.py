"""Readers of the trace that present it elsewhere: as spans for tracing backends, as a report, as reasons."""
