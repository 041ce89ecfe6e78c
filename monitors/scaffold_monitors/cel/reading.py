"""Analyses a CEL expression for what the library does not tell: where names occur, and how they are used.

It yields three things:

- *Faults* that point into the expression: unknown names, and what could take unbounded time. Comprehensions nest
  at most twice. A `map` may only pick parts of its items: one that builds something could double it, and twenty in
  a row could multiply it a million times. A pattern must be a literal in the rule.
- *Fields* such as `args.account`, and where they occur.
- *Certainty*: whether a result can be trusted while some arguments are not known yet. CEL's `&&` and `||` absorb
  errors, so a result reached without `args.account` holds for any value of it. This is not so for
  `has(args.account)`, or if the arguments are used as a whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from scaffold.cel_library import compile_cel
from scaffold.errors import nearest
from scaffold_monitors.cel.regexes import pattern_cost

MOST_DEPTH = 2

FIELDS: Mapping[str, frozenset[str] | None] = {
    "inputs": None,
    "action": frozenset({"id", "name", "effect", "cost", "after"}),
    "args": None,
    "provenance": None,
    "plan": None,
}
PLANNED = frozenset({"id", "action", "args", "effect", "cost", "after"})
# Functions over all runs; the number of days must be a literal in the rule.
ACROSS = frozenset({"count_in", "total_in", "count_to"})
# Functions of the time in a time zone.
CLOCK = frozenset({"clock", "weekday"})
OWN_FUNCTIONS = frozenset({"total", "count", "before"}) | ACROSS | CLOCK
MOST_DAYS = 366
_TYPES = frozenset({"bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"})
_STRINGS = frozenset({"contains", "endsWith", "matches", "size", "startsWith"})
_CONVERSIONS = frozenset({"bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"})
_DATES = frozenset({"getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getMonth"})
_TIMES = frozenset({"getHours", "getMilliseconds", "getMinutes", "getSeconds"})
FUNCTIONS = _STRINGS | _CONVERSIONS | _DATES | _TIMES | OWN_FUNCTIONS
MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})
# Ready rules, which `ready` expands before anything is read here.
READY = frozenset(
    {
        "at_most",
        "at_most_in",
        "at_most_times",
        "at_most_times_in",
        "at_most_times_to",
        "business_hours",
        "each_at_most",
        "in_order",
        "never_after",
        "never_both",
        "only",
        "only_each",
        "untainted",
        "within_hours",
    }
)
_CALLABLE = FUNCTIONS | MACROS | READY | {"has"}
_WORDS = frozenset({"true", "false", "null", "in"})

TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[bB]?[rR](?:\"{3}(?s:.*?)\"{3}|'{3}(?s:.*?)'{3}|"[^"\n]*"|'[^'\n]*')
      |[bB]?(?:\"{3}(?s:[^\\]|\\.)*?\"{3}|'{3}(?s:[^\\]|\\.)*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|\d*\.\d+(?:[eE][+-]?\d+)?|\d+(?:[eE][+-]?\d+)?[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>==|!=|<=|>=|&&|\|\||.)""",
    re.VERBOSE,
)


class Fault(ValueError):
    """An expression that cannot be a rule; the message ends with a caret under the fault."""

    def __init__(self, message: str, source: str, position: int) -> None:
        before = source[:position]
        column = position - (before.rfind("\n") + 1)
        line = source.split("\n")[before.count("\n")]
        start = max(0, column - 60)
        shown = line[start : start + 100]
        super().__init__(f"{message}\n    {shown}\n    {' ' * (column - start)}^")


class Mention(NamedTuple):
    """A name to check once the actions are known."""

    kind: Literal["action", "argument", "total", "of", "effect", "input"]
    name: str
    position: int
    of: str = ""


class _Token(NamedTuple):
    kind: str
    text: str
    start: int


_NOTHING = _Token("end", "", 0)


class _Bracket(msgspec.Struct):
    """An open bracket: its function or macro, and the variable that this binds after the first comma."""

    opens: str
    binds: str = ""
    over_plan: bool = False
    active: bool = False


class Reading(msgspec.Struct, dict=True):
    """One pass over the tokens of an expression."""

    source: str
    tokens: list[_Token] = msgspec.field(default_factory=list)
    fields: dict[tuple[str, ...], str] = msgspec.field(default_factory=dict)
    whole: set[str] = msgspec.field(default_factory=set)
    probed: dict[str, set[str]] = msgspec.field(default_factory=dict)
    functions: set[str] = msgspec.field(default_factory=set)
    mentions: list[Mention] = msgspec.field(default_factory=list)
    seen: set[str] = msgspec.field(default_factory=set)
    certain: bool = True
    days: int = 0
    operations: Counter[int] = msgspec.field(default_factory=Counter)
    copies: Counter[int] = msgspec.field(default_factory=Counter)

    def __post_init__(self) -> None:
        for found in TOKEN.finditer(self.source):
            if found.lastgroup != "space":
                self.tokens.append(_Token(found.lastgroup or "", found[0], found.start()))
        self._open: list[_Bracket] = []
        self._closed: _Bracket | None = None
        self._replaced: list[tuple[int, int, str]] = []

    def run(self) -> None:
        """Read all tokens."""
        for place, token in enumerate(self.tokens):
            self.operations[self._depth()] += 1
            if self._within_map() and self._builds(place):
                message = "a map may only pick parts of its items: compare them with all() or exists() instead"
                raise Fault(message, self.source, token.start)
            if token.text in ("(", "[", "{"):
                self._opened(place)
            elif token.text in (")", "]", "}"):
                self._closed = self._open.pop()
            elif token.text == "," and self._open and self._open[-1].binds:
                self._open[-1].active = True
            elif token.kind == "name" and token.text not in _WORDS:
                self._named(place)
            elif token.kind == "string" and token.text[1:-1] == "args" and self._at(place - 1).text == "[":
                self.certain = False

    def rewritten(self) -> str:
        """Return the source with each path replaced by its field's variable."""
        parts, done = [], 0
        for start, end, variable in self._replaced:
            parts += [self.source[done:start], variable]
            done = end
        return "".join([*parts, self.source[done:]])

    def _at(self, place: int) -> _Token:
        return self.tokens[place] if 0 <= place < len(self.tokens) else _NOTHING

    def _depth(self) -> int:
        return sum(bracket.active for bracket in self._open)

    def _bound(self, name: str) -> _Bracket | None:
        return next((bracket for bracket in self._open if bracket.active and bracket.binds == name), None)

    def _within_has(self) -> bool:
        return any(bracket.opens == "has" for bracket in self._open)

    def _within_map(self) -> bool:
        return any(bracket.opens == "map" and bracket.active for bracket in self._open)

    def _builds(self, place: int) -> bool:
        """Whether a token makes a new text, list or record, or uses a whole one."""
        token, before = self._at(place), self._at(place - 1)
        if token.text == "[":
            return not (before.kind in ("name", "string") or before.text in (")", "]"))
        if token.kind == "name":
            whole = token.text in FIELDS and before.text != "." and not self._selected(place)
            return whole or (token.text == "map" and before.text == "." and self._at(place + 1).text == "(")
        return token.text in ("+", "{")

    # --- brackets

    def _opened(self, place: int) -> None:
        name, before = self._at(place - 1), self._at(place - 2)
        called = name.text if self._at(place).text == "(" and name.kind == "name" else ""
        method = before.text == "."
        if called == "matches":
            self._pattern(place, method=method)
        if not (method and called in MACROS):
            self._open.append(_Bracket(called))
            return
        binder = self._at(place + 1)
        if binder.text in FIELDS or "__" in binder.text or self._bound(binder.text) or binder.text in _TYPES:
            raise Fault(f"{binder.text!r} already has a meaning: use another name", self.source, binder.start)
        if self._depth() >= MOST_DEPTH:
            advice = "nest at most two: write about single calls with args, or use total()"
            raise Fault(f"takes too long on long lists; {advice}", self.source, name.start)
        if called in ("map", "filter"):
            # The library copies the list under construction once per item.
            self.operations[self._depth() + 2] += 1
        self._open.append(_Bracket(called, binds=binder.text, over_plan=self._over_plan(place - 3)))

    def _over_plan(self, place: int) -> bool:
        """Whether `.all(` is called on the plan, or on a part that a filter selected."""
        if self._at(place).text == ")":
            return bool(self._closed and self._closed.over_plan and self._closed.opens == "filter")
        return self._at(place).text == "plan" and self._at(place - 1).text != "."

    def _pattern(self, place: int, *, method: bool) -> None:
        pattern = self._at(place + 1)
        if not method or pattern.kind != "string" or self._at(place + 2).text != ")":
            message = "a pattern must be written in the rule itself: text.matches('pattern')"
            raise Fault(message, self.source, self._at(place - 1).start)
        try:
            cost = pattern_cost(str(compile_cel(pattern.text).execute()))
        except ValueError as error:
            raise Fault(str(error), self.source, pattern.start) from None
        self.operations[self._depth()] += cost

    # --- names

    def _named(self, place: int) -> None:
        token, before, after = self._at(place), self._at(place - 1), self._at(place + 1)
        if after.text == "(":
            self._function(place)
        elif before.text == ".":
            self._member(place)
        elif self._is_binder(place):
            self.seen.add(token.text)
        elif bracket := self._bound(token.text):
            self.seen.add(token.text)
            if bracket.over_plan:
                self._element(place)
        elif token.text in FIELDS:
            self.seen.add(token.text)
            self._record(place)
        elif token.text in _TYPES:
            self.seen.add(token.text)
        else:
            known = [*FIELDS, *(bracket.binds for bracket in self._open if bracket.active)]
            message = (
                f"{token.text!r} is not a variable; expected one of {', '.join(known)}{nearest(token.text, known)}"
            )
            raise Fault(message, self.source, token.start)

    def _is_binder(self, place: int) -> bool:
        top = self._open[-1] if self._open else None
        return bool(top and top.binds and not top.active and self._at(place - 1).text == "(")

    def _function(self, place: int) -> None:
        token = self._at(place)
        if token.text not in _CALLABLE:
            message = f"{token.text!r} is not a function{nearest(token.text, _CALLABLE)}"
            raise Fault(message, self.source, token.start)
        self.functions.add(token.text)
        action, comma, argument = (self._at(place + step) for step in (2, 3, 4))
        if token.text in CLOCK:
            _check_zone(action, self.source)
            return
        if token.text in ACROSS:
            self._looks_back(place)
        if token.text not in OWN_FUNCTIONS or action.kind != "string":
            return
        self.mentions.append(Mention("action", _text(action), action.start))
        if comma.text == "," and argument.kind == "string":
            kind: Literal["total", "of"] = "of" if token.text == "count_to" else "total"
            self.mentions.append(Mention(kind, _text(argument), argument.start, of=_text(action)))

    def _looks_back(self, place: int) -> None:
        """Read a function over the last days: their number must be a literal, so that it is known what to look up."""
        token = self._at(place)
        days = self._at(place + (4 if token.text == "count_in" else 6))
        if days.kind != "number" or not days.text.isdigit() or not 1 <= int(days.text) <= MOST_DAYS:
            message = (
                f"the days that {token.text}() looks back should be a number from 1 to {MOST_DAYS}, written in the "
                "rule itself"
            )
            raise Fault(message, self.source, days.start if days.kind != "end" else token.start)
        self.days = max(self.days, int(days.text))

    def _member(self, place: int) -> None:
        """Read a field of something; after `.args` of a planned call, one argument must be selected."""
        if self._at(place).text == "args" and self._at(place - 2).text not in FIELDS:
            selected = self._selected(place)
            if selected is None or self._within_has():
                self.certain = False

    def _element(self, place: int) -> None:
        """Read a plan's call bound by a comprehension: anything but one field of it may use its arguments."""
        name = self._at(place + 2)
        if self._at(place + 1).text != "." or self._at(place + 3).text == "(":
            self.certain = False
            return
        if name.text not in PLANNED:
            message = f"a planned call has no {name.text!r}{nearest(name.text, PLANNED)}"
            raise Fault(message, self.source, name.start)
        self._compared(place + 2, name.text)

    def _record(self, place: int) -> None:
        """Read one of the variables, or a field of it."""
        root = self._at(place).text
        found = self._selected(place)
        if root == "plan" or found is None:
            if root == "action":
                message = "'action' is a record: write action.name for its name"
                raise Fault(message, self.source, self._at(place).start)
            self._whole(root, place)
            return
        name, end = found
        known = FIELDS[root]
        at = self._at(place + 2)
        if known is not None and name not in known:
            raise Fault(f"{root} has no {name!r}{nearest(name, known)}", self.source, at.start)
        if root in ("args", "provenance"):
            self.mentions.append(Mention("argument", name, at.start))
        elif root == "inputs" and not self._within_has():
            self.mentions.append(Mention("input", name, at.start))
        elif root == "action":
            self._compared(end, "action" if name == "name" else name)
        if self._within_has():
            self.probed.setdefault(root, set()).add(name)
            return
        path: tuple[str, ...] = (root, name)
        if root == "provenance" and (leaf := self._selected(end)):
            path, end = (*path, leaf[0]), leaf[1]
            if leaf[0] not in ("sources", "tainted"):
                message = f"provenance has no {leaf[0]!r}{nearest(leaf[0], ('sources', 'tainted'))}"
                raise Fault(message, self.source, self._at(end).start)
        variable = self.fields.setdefault(path, f"{root}__{len(self.fields)}")
        last = self._at(end)
        self._replaced.append((self._at(place).start, last.start + len(last.text), variable))

    def _whole(self, root: str, place: int) -> None:
        self.whole.add(root)
        if self._depth():
            self.copies[self._depth()] += 1
        following = self._at(place + 1).text
        measured = self._at(place - 2).text == "size" and following == ")"
        if root == "plan" and following != "." and not measured:
            self.certain = False

    def _selected(self, place: int) -> tuple[str, int] | None:
        """Return the field that follows, `.name` or `['name']`, and the place of its last token."""
        one, two, three = (self._at(place + step) for step in (1, 2, 3))
        if one.text == "." and two.kind == "name" and three.text != "(":
            return two.text, place + 2
        plain = (
            two.kind == "string"
            and two.text[0] in "'\""
            and "\\" not in two.text
            and two.text[:3] not in ("'''", '"""')
        )
        if one.text == "[" and plain and three.text == "]":
            return _text(two), place + 3
        return None

    def _compared(self, place: int, what: str) -> None:
        """Note the texts that an action's name or effect is compared with: a typo would make the rule vacuous."""
        if what not in ("action", "effect"):
            return
        kind: Literal["action", "effect"] = "action" if what == "action" else "effect"
        sign, other = self._at(place + 1), self._at(place + 2)
        texts = [other] if sign.text in ("==", "!=") and other.kind == "string" else []
        if sign.text == "in" and other.text == "[":
            step = place + 3
            while self._at(step).kind == "string" or self._at(step).text == ",":
                texts += [self._at(step)] if self._at(step).kind == "string" else []
                step += 1
        self.mentions += [Mention(kind, _text(text), text.start) for text in texts]


def _check_zone(token: _Token, source: str) -> None:
    """Check that a time zone is in the tz database, or left out for UTC."""
    if token.text == ")":
        return
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    if token.kind != "string":
        raise Fault("a time zone must be written in the rule itself, such as 'Europe/Berlin'", source, token.start)
    try:
        ZoneInfo(_text(token))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        known = nearest(_text(token), available_timezones())
        raise Fault(f"there is no time zone {_text(token)!r}{known}", source, token.start) from None


def _text(token: _Token) -> str:
    """Return the value of a string literal."""
    return str(compile_cel(token.text).execute())
