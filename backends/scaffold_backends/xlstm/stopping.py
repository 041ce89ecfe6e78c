"""How work in a thread ends early."""


class Stopped(Exception):
    """The stream was closed, or the backend was."""
