"""Imports traces of other frameworks."""
