"""Monitors: they review plans, reasoning and actions, and return a verdict."""
