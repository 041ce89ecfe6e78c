"""Monitors that read plans, reasoning and actions, and say a verdict."""
