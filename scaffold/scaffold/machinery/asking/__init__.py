"""Asking one step: its prompt is rendered, its samples are drawn, read and voted on."""
