"""Clearing calls and performing them: nothing acts but by these."""
