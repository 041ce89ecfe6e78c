"""Asking one step: rendered, drawn, read, voted on."""
