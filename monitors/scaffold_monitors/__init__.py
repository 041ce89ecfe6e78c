"""Monitors: readers of plans, reasoning and actions that answer with verdicts."""
