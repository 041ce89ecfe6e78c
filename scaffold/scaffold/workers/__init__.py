"""Runs on many machines: an engine delivers a run's id at least once, and a worker continues the run."""
