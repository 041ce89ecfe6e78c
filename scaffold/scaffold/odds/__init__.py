"""Predicts what voting can achieve and what it costs: odds of steps and tasks from measured error rates."""
