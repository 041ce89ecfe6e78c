"""Runs of many machines: an engine delivers a run's id, at least once, and a worker goes on with the run."""
