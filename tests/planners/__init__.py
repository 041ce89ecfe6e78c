"""Tests of the built-in planners."""
