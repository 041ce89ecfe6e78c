"""Critics in code: sound checks of a model's answers, for `verified(...)`, `flags=`, and planners that take critics.

    thought = yield from think("solve", task.request, sampling=verified(equations()))

A critic is called with a value and returns True, or a text that says what is wrong; some are async. One that raises or
times out has accepted nothing: the sample is discarded as unchecked. If a step has no accepted sample, and at least one
could not be checked, it raises CheckFailed.
"""

from __future__ import annotations

from scaffold.critics.arithmetic import equations
from scaffold.critics.calling import Critic, Limited, all_limited, every, limited
from scaffold.critics.patterns import pattern
from scaffold.critics.programs import passes_tests
from scaffold.critics.quoting import in_quotation_marks, quoted_from
from scaffold.critics.schemas import fits_schema
from scaffold.critics.units import quantity

__all__ = [
    "Critic",
    "Limited",
    "all_limited",
    "equations",
    "every",
    "fits_schema",
    "in_quotation_marks",
    "limited",
    "passes_tests",
    "pattern",
    "quantity",
    "quoted_from",
]
