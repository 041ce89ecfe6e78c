"""Clearing calls and performing them: the only way to act on the world."""
