"""Ready rules: named shorthands for CEL expressions that many tasks need. They can be combined.

    constraint: pay only to accounts on the list, at most 500.00 a day
    rule: only('pay', 'account', inputs.accounts) && at_most_in('pay', 'cents', 1, 50000)

| ready rule | holds as long as |
|---|---|
| `only(action, argument, allowed)` | the argument is in a list |
| `only_each(action, argument, allowed)` | each item of the argument is in a list |
| `each_at_most(action, argument, most)` | the argument is at most this in each call |
| `at_most(action, argument, most)` | the argument's sum over the run is at most this |
| `at_most_times(action, times)` | the action is performed at most so often in the run |
| `at_most_in(action, argument, days, most)` | the argument's sum over all runs of the last days is at most this |
| `at_most_times_in(action, days, times)` | the action is performed at most so often in all runs of the last days |
| `at_most_times_to(action, argument, days, times)` | the same for each value of the argument, such as a target |
| `in_order(first, then)` | `then` is performed only after `first` |
| `never_after(action, earlier)` | the action is never performed after `earlier` |
| `never_both(one, other)` | at most one of the two is performed in the run |
| `within_hours(action, from, to, zone)` | it is performed between two times (`'09:00'`, `'17:30'`), or overnight |
| `business_hours(action, zone)` | it is performed from Monday to Friday between 09:00 and 17:00 |
| `untainted(action, argument)` | the argument is not tainted |

Actions, arguments, times and zones are quoted literals; what is allowed, and how much, may be any expression.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from scaffold_monitors.cel.reading import READY, TOKEN, Fault

_UNLESS = "(action.name != {action} || "


class Ready(NamedTuple):
    """A ready rule: the names of its parameters, and its expansion."""

    parameters: tuple[str, ...]
    stands_for: str


_LIBRARY: dict[str, Ready] = {
    "only": Ready(("action", "argument", "allowed"), _UNLESS + "args[{argument}] in {allowed})"),
    "only_each": Ready(  # `all` on a map reads only its keys
        ("action", "argument", "allowed"),
        _UNLESS + "(type(args[{argument}]) == list && args[{argument}].all(item, item in {allowed})))",
    ),
    "each_at_most": Ready(("action", "argument", "most"), _UNLESS + "args[{argument}] <= {most})"),
    "at_most": Ready(("action", "argument", "most"), "(total({action}, {argument}) <= {most})"),
    "at_most_times": Ready(("action", "times"), "(count({action}) <= {times})"),
    "at_most_in": Ready(("action", "argument", "days", "most"), "(total_in({action}, {argument}, {days}) <= {most})"),
    "at_most_times_in": Ready(("action", "days", "times"), "(count_in({action}, {days}) <= {times})"),
    "at_most_times_to": Ready(
        ("action", "argument", "days", "times"),
        _UNLESS + "count_to({action}, {argument}, {days}, args[{argument}]) <= {times})",
    ),
    "in_order": Ready(("first", "then"), "(action.name != {then} || before({first}) > 0)"),
    "never_after": Ready(("action", "earlier"), _UNLESS + "before({earlier}) == 0)"),
    "never_both": Ready(("one", "other"), "(count({one}) == 0 || count({other}) == 0)"),
    "within_hours": Ready(
        ("action", "from", "to", "zone"), _UNLESS + "(clock({zone}) >= {from} && clock({zone}) < {to}))"
    ),
    "business_hours": Ready(
        ("action", "zone"), _UNLESS + "(weekday({zone}) < 5 && clock({zone}) >= 540 && clock({zone}) < 1020))"
    ),
    "untainted": Ready(("action", "argument"), _UNLESS + "!provenance[{argument}].tainted)"),
}
assert set(_LIBRARY) == READY  # noqa: S101 - two lists of the same names
# Hours across midnight.
_OVER_MIDNIGHT = _UNLESS + "(clock({zone}) >= {from} || clock({zone}) < {to}))"
_QUOTED = frozenset({"action", "argument", "first", "then", "earlier", "one", "other", "zone"})
_TIME = re.compile(r"""["']([01]?\d|2[0-4]):([0-5]\d)["']""")
_DEEPEST = 20


def expand(source: str) -> str:
    """Expand the ready rules in an expression.

    Raises:
        Fault: a ready rule has wrong arguments.
    """
    return _expanded(source, source, 0, 0) if any(name in source for name in READY) else source


def _expanded(text: str, source: str, offset: int, depth: int) -> str:
    if depth > _DEEPEST:
        raise Fault("ready rules are nested too deep", source, offset)
    tokens = [found for found in TOKEN.finditer(text) if found.lastgroup != "space"]
    parts, done, place = [], 0, 0
    while place < len(tokens):
        token = tokens[place]
        called = place + 1 < len(tokens) and tokens[place + 1][0] == "("
        method = place > 0 and tokens[place - 1][0] == "."
        if token.lastgroup == "name" and token[0] in READY and called and not method:
            end, spans = _arguments(tokens, place + 1)
            if end is None:
                break  # an open bracket: the compiler's message is better
            given = [(text[start:stop].strip(), start) for start, stop in spans]
            given = [(_expanded(each, source, offset + at, depth + 1), offset + at) for each, at in given]
            parts += [text[done : token.start()], _filled(token[0], given, source, offset + token.start())]
            place, done = end, tokens[end].end()
        place += 1
    return "".join([*parts, text[done:]])


def _arguments(tokens: list[re.Match[str]], opening: int) -> tuple[int | None, list[tuple[int, int]]]:
    """Return the index of the closing bracket, and the span of each argument."""
    depth, start = 0, tokens[opening].end()
    spans: list[tuple[int, int]] = []
    for place in range(opening, len(tokens)):
        mark = tokens[place][0] if tokens[place].lastgroup == "mark" else ""
        if mark in ("(", "[", "{"):
            depth += 1
        elif mark in (")", "]", "}"):
            depth -= 1
            if depth == 0:
                if spans or place > opening + 1:
                    spans.append((start, tokens[place].start()))
                return place, spans
        elif mark == "," and depth == 1:
            spans.append((start, tokens[place].start()))
            start = tokens[place].end()
    return None, spans


def _filled(name: str, given: list[tuple[str, int]], source: str, at: int) -> str:
    rule = _LIBRARY[name]
    if len(given) != len(rule.parameters):
        form = f"{name}({', '.join(rule.parameters)})"
        raise Fault(f"{form} takes {len(rule.parameters)} arguments, but is given {len(given)}", source, at)
    values = {}
    for parameter, (text, place) in zip(rule.parameters, given, strict=True):
        if parameter in ("from", "to"):
            values[parameter] = _minutes(text, parameter, source, place)
        elif parameter in _QUOTED:
            if not re.fullmatch(r"""'[^'\\\n]+'|"[^"\\\n]+\"""", text):
                raise Fault(f"{parameter} of {name}() should be in quotes, such as 'pay'", source, place)
            values[parameter] = text
        else:
            values[parameter] = text if parameter == "days" else f"({text})"
    overnight = name == "within_hours" and int(values["from"]) > int(values["to"])
    return (_OVER_MIDNIGHT if overnight else rule.stands_for).format_map(values)


def _minutes(text: str, parameter: str, source: str, place: int) -> str:
    time = _TIME.fullmatch(text)
    if time is None or (time[1] == "24" and time[2] != "00"):
        raise Fault(f"{parameter!r} should be a time of day in quotes, such as '09:30'", source, place)
    return str(int(time[1]) * 60 + int(time[2]))
