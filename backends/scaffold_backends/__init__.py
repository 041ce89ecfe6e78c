"""Backends: models of servers over HTTP, models in this process, and wrappers around backends."""
