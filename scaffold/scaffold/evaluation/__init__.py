"""Suites of cases: solved by each combination of planner, backends and monitors, scored, tabled and compared."""
