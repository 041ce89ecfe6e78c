"""Tests of backends, against real servers and a real model."""
