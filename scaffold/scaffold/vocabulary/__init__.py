"""The words of the project as types; nothing here does I/O."""
