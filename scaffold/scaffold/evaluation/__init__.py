"""Suites of cases: solved, scored, tabled, compared."""
