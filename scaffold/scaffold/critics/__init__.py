"""Critics in code: sound checks of what a model says, for `verified(...)`, `flags=`, and planners that take critics.

thought = yield from think("solve", task.request, sampling=verified(equations()))

A critic is called with a value and says True, or what is wrong, as text; some have to be awaited. One that raises or
takes too long has accepted nothing: the sample is discarded as unchecked, and a step of which no sample could be
checked raises CheckFailed.
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
