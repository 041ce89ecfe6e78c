"""One rule prepared for one run: the inputs are converted once, then calls are checked one after the other."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.cel_library import new_context
from scaffold_monitors.cel.expressions import MOST_COST
from scaffold_monitors.cel.moments import Size
from scaffold_monitors.cel.reading import OWN_FUNCTIONS
from scaffold_monitors.cel.syntax import tree
from scaffold_monitors.cel.type_checking import evaluated, failing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import cel

    from scaffold_monitors.cel.expressions import Expression
    from scaffold_monitors.cel.moments import Facts, Moment
    from scaffold_monitors.cel.syntax import Node

_NONE: frozenset[str] = frozenset()
_CONTEXTS_KEPT = 32
# A costlier check is not repeated only to find which part of it failed.
_MOST_FOR_WORDS = 20_000
_NOT_KNOWN = (
    "it needs a result that is not known before the plan runs; "
    "write a rule about single calls, with args: it is checked again when they are known"
)

# The library's message if one of our functions had no value; what that means, by function.
_WITHOUT_VALUE = re.compile(r"Function '(\w+)' error: Failed to convert")
_UNTOLD = {"total": "some call has no number there"}
_NOT_HERE = "what other runs did, or the time, is not known here, or some call does not have that argument so"


class Unclear(ValueError):
    """A rule whose result would be meaningless."""


class Rule(msgspec.Struct, frozen=True):
    """A goal that can be checked by code.

    Attributes:
        name: the goal's name.
        statement: the goal's statement, which is all that the planner is told.
        expression: true while the goal holds.
        path: its place in the task.
        only: names of the actions it is about; None means all.
    """

    name: str
    statement: str
    expression: Expression
    path: tuple[str | int, ...]
    only: frozenset[str] | None = None

    def sheet(self, inputs: Mapping[str, Any]) -> Sheet:
        """Prepare the rule for a run with these inputs."""
        return Sheet(self, inputs)


class Sheet:
    """A rule with a task's inputs.

    The library converts all variables of a context again after one has changed, which takes milliseconds with
    10,000 accounts among the inputs. So a context holds only the inputs, and looks up the values of the call under
    review one by one. A lookup cannot return null, since None means that there is no such variable; so nulls are
    constants in a separate context for each set of names.
    """

    def __init__(self, rule: Rule, inputs: Mapping[str, Any], plan: list[dict[str, Any]] | None = None) -> None:
        self.rule = rule
        self._inputs = inputs
        expression = rule.expression
        self._fixed = _inputs_of(expression, inputs)
        self._size = Size(*self._fixed.values())
        if plan is not None:
            self._fixed["plan"] = plan
            self._size.add(plan)
        self._fields = [(name, path) for name, path in expression.fields.items() if path[0] != "inputs"]
        self._records = [
            root for root in ("args", "provenance") if root in expression.whole or root in expression.probed
        ]
        self._contexts: dict[frozenset[str], cel.Context] = {}
        self._moment: Moment | None = None
        self._current: dict[str, Any] = {}

    def with_plan(self, moment: Moment) -> Sheet:
        """Return the same rule with `plan`."""
        return Sheet(self.rule, self._inputs, [facts.planned() for facts in moment.calls])

    def holds(self, moment: Moment, target: Facts | None) -> bool | None:
        """Whether the rule holds, for a call or as a whole; None if only the call's real arguments can tell.

        Raises:
            Exception: the check failed; the library raises many kinds.
        """
        expression = self.rule.expression
        later = target.later if target else frozenset()
        if self._asks_whether(later, moment):
            if expression.of_plan:
                raise Unclear(_NOT_KNOWN)
            return None
        values = self._values(target)
        if expression.depth:
            self._bound(target)
        moment.node, moment.unknown = (target.call.id if target else ""), False
        moment.between = moment.least = False
        try:
            result = self._execute(values, moment)
            if result is True and moment.between:
                moment.least = True  # it must hold whatever becomes of pending amounts
                result = self._execute(values, moment)
        except Exception:
            if expression.of_plan and any(facts.later for facts in moment.calls):
                raise Unclear(_NOT_KNOWN) from None
            if not expression.of_plan and (moment.unknown or later & expression.arguments):
                return None
            raise
        if result is not True and result is not False:
            raise Unclear(f"it gives {str(result)[:80]!r}, which is neither true nor false: compare it with something")
        return result

    def explain(self, error: BaseException, target: Facts | None, moment: Moment) -> str:
        """Say in the user's terms why the check failed, and point to the part of the rule."""
        problem = self._problem(error, target)
        if isinstance(error, Unclear):
            return problem
        expression = self.rule.expression
        whole = tree(expression.expanded)
        if whole is None or (expression.depth and self._cost(target) > _MOST_FOR_WORDS):
            return problem
        self._moment = moment
        moment.node = target.call.id if target else ""
        try:
            part, better = failing(whole, partial(self._part, target, moment))
        except Exception:  # noqa: BLE001 - the fault is known; only its place is not
            return problem
        return str(expression.fault(better or problem, part.at))

    def _part(self, target: Facts | None, moment: Moment, part: Node, bound: Mapping[str, Any]) -> Any:
        """Evaluate one part of the rule; macros' variables may be bound to items."""
        expression = self.rule.expression
        variables: dict[str, Any] = {"inputs": dict(self._inputs)}
        if target is not None:
            variables |= {"args": target.known, "action": target.action, "provenance": target.provenance}
        if expression.of_plan:
            variables["plan"] = [facts.planned() for facts in moment.calls]
        context = new_context({name: value for name, value in (variables | dict(bound)).items() if value is not None})
        for name in expression.functions & OWN_FUNCTIONS:
            context.add_function(name, self._function(name))
        return evaluated(expression.expanded, part, context)

    def _problem(self, error: BaseException, target: Facts | None) -> str:
        fields = self.rule.expression.fields
        text = re.sub(r"\b[a-z]+__\d+\b", lambda found: ".".join(fields.get(found[0], (found[0],))), str(error))
        if isinstance(error, Unclear):
            return text
        missing = [".".join(path) for name, path in fields.items() if name not in self._values(target) | self._fixed]
        if missing and "Undefined" in text:
            return f"{', '.join(missing)} is missing"
        if isinstance(error, KeyError):
            return f"{text} is missing"
        if (function := _WITHOUT_VALUE.search(text)) and function[1] in OWN_FUNCTIONS:
            return f"{function[1]}() cannot tell: {_UNTOLD.get(function[1], _NOT_HERE)}"
        return f"{type(error).__name__}: {text[:300]}"

    def _asks_whether(self, later: frozenset[str], moment: Moment) -> bool:
        """Whether the rule would mistake a pending argument for a missing one."""
        expression = self.rule.expression
        if later and ("args" in expression.whole or expression.probed.get("args", frozenset()) & later):
            return True
        return expression.of_plan and not expression.certain and any(facts.later for facts in moment.calls)

    def _values(self, target: Facts | None) -> dict[str, Any]:
        if target is None:
            return {}
        values: dict[str, Any] = {}
        for name, path in self._fields:
            try:
                values[name] = target.at(path)
            except KeyError:
                continue
        for root in self._records:
            record = target.whole(root)
            if root not in self.rule.expression.whole:
                record = {name: record[name] for name in self.rule.expression.probed[root] if name in record}
            values[root] = record
        return values

    def _cost(self, target: Facts | None) -> int:
        sizes = [self._size] + ([target.size] if target else [])
        return self.rule.expression.cost(max(size.longest for size in sizes), sum(size.nodes for size in sizes))

    def _bound(self, target: Facts | None) -> None:
        """Refuse an evaluation that could take too long; the library cannot be interrupted."""
        cost = self._cost(target)
        if cost > MOST_COST:
            advice = "write it about single calls, with args"
            raise Unclear(f"it could take {cost:,} steps here, but at most {MOST_COST:,} are allowed: {advice}")

    def _execute(self, values: dict[str, Any], moment: Moment) -> Any:
        nulls = _NONE
        if None in values.values():
            nulls = frozenset(name for name, value in values.items() if value is None)
        context = self._contexts.get(nulls)
        if context is None:
            if len(self._contexts) >= _CONTEXTS_KEPT:
                self._contexts.clear()
            context = self._contexts[nulls] = new_context(self._fixed | dict.fromkeys(nulls))
            if self._fields or self._records:
                context.set_variable_resolver(self._value)
            for name in self.rule.expression.functions & OWN_FUNCTIONS:
                context.add_function(name, self._function(name))
        self._moment, self._current = moment, values
        return self.rule.expression.program.execute(context)

    def _value(self, name: str) -> Any:
        return self._current.get(name)

    def _function(self, name: str) -> Callable[..., Any]:
        """Return a function such as `count` that refers to the moment under review when it is called."""

        def give(*texts: str) -> Any:
            return getattr(self._moment, name)(*texts)

        return give


def _inputs_of(expression: Expression, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs that an expression uses, by the names of its variables."""
    found = {
        name: inputs[path[1]] for name, path in expression.fields.items() if path[0] == "inputs" and path[1] in inputs
    }
    if "inputs" in expression.whole:
        found["inputs"] = dict(inputs)
    elif probed := expression.probed.get("inputs"):
        found["inputs"] = {name: inputs[name] for name in probed if name in inputs}
    return found
