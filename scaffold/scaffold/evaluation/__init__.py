"""Evaluation: suites of cases are solved by combinations of planner, backends and monitors, scored and compared."""
