"""Traces of other frameworks, read into ours."""
