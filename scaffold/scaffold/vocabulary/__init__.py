"""The project's terms as types. Nothing here does I/O."""
