"""Type-checks a rule before the run: finds operators, functions and comparisons whose types can never fit.

What the types cannot show before the run is found when the rule is checked: it then blocks, and `failing` says which
part could not be evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scaffold.cel_library import compile_cel
from scaffold_monitors.cel import sorts
from scaffold_monitors.cel.reading import CLOCK, OWN_FUNCTIONS, Fault
from scaffold_monitors.cel.sorts import ANYTHING, BOOL, INT, NUMBER, STRING, Sort, either
from scaffold_monitors.cel.syntax import Node, tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.vocabulary.actions import ActionSpec

_LIST = frozenset({"list"})
_MAP = frozenset({"map"})
_TYPES = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
# Parameters and results of our own functions.
_OWN: Mapping[str, tuple[tuple[Sort, ...], Sort]] = {
    "count": ((STRING,), INT),
    "before": ((STRING,), INT),
    "total": ((STRING, STRING), NUMBER),
    "count_in": ((STRING, INT), INT),
    "total_in": ((STRING, STRING, INT), NUMBER),
    "count_to": ((STRING, STRING, INT, ANYTHING), INT),
    "clock": ((STRING,), INT),
    "weekday": ((STRING,), INT),
}
assert set(_OWN) == OWN_FUNCTIONS  # noqa: S101 - two lists of the same names
_CONVERTING = ("timestamp", "duration", "int", "uint", "double", "bytes")
_ORDERING = ("<", "<=", ">", ">=")


def check(source: str, inputs: Mapping[str, Any], specs: Sequence[ActionSpec]) -> None:
    """Refuse a rule that can never be evaluated.

    Args:
        source: the rule, with ready rules expanded.
        inputs: the task's inputs.
        specs: the actions that it may be about.

    Raises:
        Fault: types do not fit; points to the place.
    """
    whole = tree(source)
    if whole is None:
        return
    try:
        found = _Sorter(source).sort(whole, _variables(inputs, specs))
    except RecursionError:  # such as a chain of a thousand operators
        return
    if "bool" not in found.types:
        message = f"it gives {found}, which is neither true nor false: compare it with something"
        raise Fault(message, source, whole.at)


def _variables(inputs: Mapping[str, Any], specs: Sequence[ActionSpec]) -> dict[str, Sort]:
    called = {"id": STRING, "effect": STRING, "cost": NUMBER, "after": Sort(_LIST, STRING)}
    where = Sort(_MAP, None, {"sources": Sort(_LIST, STRING), "tainted": BOOL})
    args = _arguments(specs)
    return {
        "inputs": sorts.of_value(dict(inputs)),
        "action": Sort(_MAP, None, {**called, "name": STRING}),
        "args": args,
        "provenance": Sort(_MAP, where),
        "plan": Sort(_LIST, Sort(_MAP, None, {**called, "action": STRING, "args": args})),
        **dict.fromkeys(_TYPES, sorts.of("type")),
    }


def _arguments(specs: Sequence[ActionSpec]) -> Sort:
    fields: dict[str, list[Sort]] = {}
    for spec in specs:
        properties = spec.parameters.get("properties")
        if not isinstance(properties, Mapping):
            return Sort(_MAP)
        for name, schema in properties.items():
            fields.setdefault(name, []).append(sorts.of_schema(schema, spec.parameters))
    return Sort(_MAP, None, {name: either(found) for name, found in fields.items()})


class _Sorter:
    """Infers the sort of each part of one expression."""

    def __init__(self, source: str) -> None:
        self._source = source

    def sort(self, node: Node, known: Mapping[str, Sort]) -> Sort:
        """Infer the sort of a part, given the sorts of some variables."""
        match node.form:
            case "literal":
                return _literal(node.text)
            case "name":
                return known.get(node.text, ANYTHING)
            case "select":
                return self._select(node, known)
            case "macro":
                return self._macro(node, known)
            case "unary" | "binary" | "choice" | "index":
                return self._operator(node, [self.sort(part, known) for part in node.parts])
            case _:
                return self._called(node, known)

    def _select(self, node: Node, known: Mapping[str, Sort]) -> Sort:
        base = self.sort(node.parts[0], known)
        if not base.types & _MAP:
            raise self._fault(node, f"a value of type {base} has no field {node.text!r}")
        return base.field(node.text)

    def _operator(self, node: Node, given: list[Sort]) -> Sort:
        match node.text:
            case "&&" | "||" | "!":
                for part, sort in zip(node.parts, given, strict=True):
                    self._truth(part, sort)
                return BOOL
            case "?":
                self._truth(node.parts[0], given[0])
                return either(given[1:])
            case "==" | "!=":
                self._compared(node, *given)
                return BOOL
            case "in":
                return self._within(node, *given)
            case "[":
                return self._indexed(node, *given)
            case "-" if node.form == "unary":
                found = sorts.called("-", tuple(given), method=False)
            case operator:
                found = sorts.operated(operator, *given)
        if found is None:
            raise self._fault(node, _undefined(node.text, given))
        return BOOL if node.text in _ORDERING else found

    def _truth(self, node: Node, sort: Sort) -> None:
        if "bool" not in sort.types:
            raise self._fault(node, f"this is of type {sort}, which is neither true nor false")

    def _compared(self, node: Node, one: Sort, other: Sort) -> None:
        if not sorts.comparable(one, other):
            raise self._fault(node, f"{one} and {other} are never equal, so this comparison means nothing")

    def _within(self, node: Node, one: Sort, other: Sort) -> Sort:
        if not other.types & (_LIST | _MAP):
            raise self._fault(node, _undefined("in", [one, other]))
        if other.types == _LIST:
            self._compared(node, one, other.held)
        elif other.types == _MAP:
            self._compared(node, one, STRING)
        return BOOL

    def _indexed(self, node: Node, base: Sort, key: Sort) -> Sort:
        if sorts.operated("[", base, key) is None:
            raise self._fault(node, f"a value of type {base} has nothing under a key of type {key}")
        name = node.parts[1].text
        if base.types == _MAP and node.parts[1].form == "literal" and name[:1] in "'\"" and "\\" not in name:
            return base.field(name.strip("'\""))
        return base.held if base.types == _LIST else ANYTHING

    def _macro(self, node: Node, known: Mapping[str, Sort]) -> Sort:
        over = self.sort(node.parts[0], known)
        if not over.types & (_LIST | _MAP):
            raise self._fault(node, f"{node.text}() goes through a list, but this is of type {over}")
        item = over.held if over.types == _LIST else STRING if over.types == _MAP else ANYTHING
        inner = [self.sort(part, {**known, node.binds: item}) for part in node.parts[1:]]
        if node.text == "map":
            return Sort(_LIST, inner[-1])
        self._truth(node.parts[1], inner[0])
        return Sort(_LIST, item) if node.text == "filter" else BOOL

    def _called(self, node: Node, known: Mapping[str, Sort]) -> Sort:  # noqa: PLR0911 - a table
        if node.text == "has":
            for base in node.parts[0].parts:
                self.sort(base, known)
            return BOOL
        given = [self.sort(part, known) for part in node.parts]
        match node.text:
            case "[":
                return Sort(_LIST, either(given) if given else None)
            case "{":
                return Sort(_MAP)
            case "dyn":
                return ANYTHING
            case "type":
                return sorts.of("type")
            case name if name in _OWN:
                return self._own(node, given)
            case name:
                found = sorts.called(name, tuple(given), method=node.form == "method")
        if found is None:
            raise self._fault(node, f"{node.text}() is not defined for {' and '.join(map(str, given)) or 'nothing'}")
        return sorts.of(node.text) if node.text in _CONVERTING else found

    def _own(self, node: Node, given: Sequence[Sort]) -> Sort:
        takes, gives = _OWN[node.text]
        if len(given) != len(takes) and not (node.text in CLOCK and not given):
            raise self._fault(node, f"{node.text}() takes {len(takes)} values, but is given {len(given)}")
        for part, sort, wanted in zip(node.parts, given, takes, strict=False):
            if not sort.types & wanted.types:
                raise self._fault(part, f"{node.text}() takes a {wanted} here, but this is of type {sort}")
        return gives

    def _fault(self, node: Node, message: str) -> Fault:
        return Fault(message, self._source, node.at)


def _literal(text: str) -> Sort:
    if text in ("true", "false"):
        return BOOL
    if text == "null":
        return sorts.of("null_type")
    if text[-1] in "'\"":
        return sorts.of("bytes") if "b" in re.split("['\"]", text, maxsplit=1)[0].lower() else STRING
    if text[:2] in ("0x", "0X"):
        return sorts.of("uint") if text[-1] in "uU" else INT
    if text[-1] in "uU":
        return sorts.of("uint")
    return sorts.of("double") if any(mark in text for mark in ".eE") else INT


def _undefined(operator: str, given: Sequence[Sort]) -> str:
    told = " and ".join(map(str, given))
    numbers = all(sort.types <= {"int", "double"} for sort in given)
    cure = ": write double(...) around the whole number" if numbers and operator != "%" else ""
    return f"{operator!r} is not defined for {told}{cure}"


# --- when a rule was checked, and could not be


def failing(whole: Node, values: Callable[[Node, Mapping[str, Any]], Any]) -> tuple[Node, str]:
    """Find the smallest part of an expression that cannot be evaluated, and what is wrong with it, if known.

    Args:
        whole: the expression.
        values: evaluates a part, with macros' variables bound; raises if that fails.
    """
    return _failing(whole, {}, values)


def _failing(node: Node, bound: Mapping[str, Any], values: Callable[..., Any]) -> tuple[Node, str]:
    given: list[Any] = []
    # has() tests a field, but the record it is in must exist.
    parts = node.parts[0].parts if (node.form, node.text) == ("call", "has") else node.parts
    for number, part in enumerate(parts):
        if node.form == "macro" and number:
            break
        if node.form == "choice" and number and bool(given[0]) is (number == 2):  # noqa: PLR2004 - the branch not taken
            continue
        try:
            given.append(values(part, bound))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic of the library is no Exception
            return _failing(part, bound, values)
    if node.form == "macro":
        return _failing_item(node, given[0], bound, values)
    if node.form != "binary" or node.text in ("&&", "||"):
        return node, ""
    one, other = (sorts.of_value(each) for each in given)
    return node, "" if sorts.operated(node.text, one, other) else _undefined(node.text, [one, other])


def _failing_item(node: Node, over: Any, bound: Mapping[str, Any], values: Callable[..., Any]) -> tuple[Node, str]:
    """Find what fails in a macro's body for some item of its list."""
    for item in over if isinstance(over, (list, tuple, dict)) else ():
        here = {**bound, node.binds: item}
        try:
            values(node.parts[-1], here)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - as above
            return _failing(node.parts[-1], here, values)
    return node, ""


def evaluated(source: str, node: Node, context: Any) -> Any:
    """Evaluate a part of an expression."""
    return compile_cel(source[node.start : node.end]).execute(context)
