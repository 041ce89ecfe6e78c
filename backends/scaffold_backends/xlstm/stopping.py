"""Ends work in a thread early."""


class Stopped(Exception):
    """The stream was closed, or the backend was."""
