"""Finds where a value occurs in earlier results: in a field of its own, or inside prose.

A structured field is better evidence than prose: the writer of a message chooses its words, but seldom the fields
around it. It is still no guarantee, since an attacker can imitate fields. Prose does not count if it asks for the very
act it would justify, or addresses the agent rather than the user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaffold_monitors.entailment.clauses import clauses
from scaffold_monitors.entailment.facts import columns
from scaffold_monitors.entailment.kept import Kept
from scaffold_monitors.entailment.lexicon import ACTS, MACHINE
from scaffold_monitors.entailment.licences import fit
from scaffold_monitors.entailment.quantities import number, numbers
from scaffold_monitors.entailment.tools import split
from scaffold_monitors.entailment.wording import address, plain, stands_in, stem, words

if TYPE_CHECKING:
    from decimal import Decimal

    from scaffold_monitors.entailment.calls import Call, Leaf
    from scaffold_monitors.entailment.tools import Tool

# A field with more words, or several sentences, is prose.
_LONGEST_CELL = 12
_MOST_FIELDS = 20_000
_MOST_READ = 200
_PLAIN_KEY = re.compile(r"[a-z_]*")
_DIGIT = re.compile(r"\d")
_LABEL = re.compile(r"^[\w .-]{1,40}: +")
_LABELLED = re.compile(r"^([A-Za-z][\w .-]{0,39}): *(\S.*)$", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?>])\s+|\n{2,}")


@dataclass(frozen=True, slots=True)
class Field:
    """A piece of a result: a cell, or prose.

    Attributes:
        text: its text as returned.
        cell: whether it is a short field of its own.
        path: its path in the result.
    """

    text: str
    cell: bool
    path: str = ""


def pieces(value: Any) -> tuple[Field, ...]:
    """Split a result into its fields, up to a limit."""
    found: tuple[Field, ...] = _kept(value)
    return found


def _walk(value: Any) -> Iterator[Field]:
    stack: list[tuple[str, Any]] = [("", value)]
    count = 0
    while stack and count < _MOST_FIELDS:
        path, item = stack.pop()
        count += 1
        if isinstance(item, Mapping):
            for name, each in reversed(list(item.items())):
                stack.append((f"{path}/{name}", each))
                if isinstance(name, str) and not _PLAIN_KEY.fullmatch(name):  # the key is a name: "Grand Hotel": {...}
                    yield from _lines(name, path)
        elif isinstance(item, (list, tuple)):
            stack += [(f"{path}/{place}", item[place]) for place in reversed(range(len(item)))]
        elif isinstance(item, str):
            yield from _lines(item, path)
        elif item is not None:
            yield Field(str(item), cell=True, path=path)


def _lines(text: str, path: str) -> Iterator[Field]:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if lines and all(_is_cell(line) for line in lines):
        for line in lines:
            yield Field(line, cell=True, path=path)
            bare = _LABEL.sub("", line)
            if bare != line:
                yield Field(bare, cell=True, path=path)
    elif text.strip():
        yield Field(text, cell=False, path=path)


def _is_cell(line: str) -> bool:
    return len(words(line)) <= _LONGEST_CELL and not re.search(r"[.!?]\s+\S|[!?]$|[a-z]{3}\.$|\s[a-z]{2}\.$", line)


_kept = Kept(lambda value: tuple(_walk(value)))


@dataclass(frozen=True, slots=True)
class Sighting:
    """One occurrence of a value."""

    call: Call
    field: Field


class Sightings:
    """An index of results by words, texts and numbers."""

    def __init__(self) -> None:
        self._by_word: dict[str, list[Sighting]] = {}
        self._by_text: dict[str, list[Sighting]] = {}
        self._by_number: dict[Decimal, list[Sighting]] = {}
        self._by_amount: dict[Decimal, list[Sighting]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_word or self._by_text)

    def add(self, call: Call) -> None:
        """Index one more call's result."""
        if call.seen is None:
            return
        for piece in pieces(call.seen):
            seen = Sighting(call, piece)
            if piece.cell:
                text = plain(piece.text).strip()
                for key in {text, address(text)}:
                    self._by_text.setdefault(key, []).append(seen)
                if (value := number(piece.text)) is not None:
                    self._by_number.setdefault(value, []).append(seen)
            for value in numbers(piece.text) if _DIGIT.search(piece.text) or not piece.cell else ():
                self._by_amount.setdefault(value, []).append(seen)
            for word in set(words(piece.text)):
                self._by_word.setdefault(word, []).append(seen)

    def of(self, leaf: Leaf) -> list[Sighting]:
        """Return the occurrences of a value: cells that equal it if there are any, else texts that contain it."""
        text = plain(leaf.text).strip()
        found = self._by_text.get(text) or self._by_text.get(address(text))
        if found:
            return found
        value = number(leaf.value)
        if value is not None and leaf.role in ("amount", "record"):
            found = (self._by_amount if leaf.role == "amount" else self._by_number).get(value, [])
            if found:
                return found
        run = words(text)
        if not run:
            return []
        rarest = min((self._by_word.get(word, []) for word in run), key=len)
        return [
            Sighting(each.call, Field(each.field.text, cell=False, path=each.field.path))
            for each in rarest[:_MOST_READ]
            if stands_in(leaf.text, each.field.text)
        ]


def passage(value: str, text: str) -> str:
    """Return the sentence of a text that contains a value, with its neighbours."""
    parts = [part for part in _SENTENCE.split(text) if part.strip()]
    for place, part in enumerate(parts):
        if stands_in(value, part):
            return " ".join(parts[max(0, place - 1) : place + 2])
    return text


def listed(leaf: Leaf, seen: Sighting) -> bool:
    """Whether a result lists such values in fields of their own, so that one in its prose is no real entry."""
    told = seen.call.seen
    wanted = frozenset(map(stem, split(leaf.path.partition("[")[0])))
    if isinstance(told, str):
        return bool(_lines_for(wanted, told))
    if isinstance(told, (list, tuple)) and any(isinstance(each, str) and _is_cell(each) for each in told):
        return True
    return any(frozenset(map(stem, split(column))) & wanted for column in columns(told))


def on_its_line(leaf: Leaf, seen: Sighting) -> bool:
    """Whether a document has a labelled line with the value, such as "IBAN: DE44 ..."."""
    wanted = frozenset(map(stem, split(leaf.path.partition("[")[0])))
    told = seen.call.seen
    return isinstance(told, str) and any(stands_in(leaf.text, rest) for rest in _lines_for(wanted, told))


def _lines_for(wanted: frozenset[str], told: str) -> list[str]:
    """Return the contents of a text's lines whose labels contain one of some stems."""
    return [rest for name, rest in _LABELLED.findall(told) if frozenset(map(stem, words(name))) & wanted]


def asks_for(tool: Tool, text: str) -> bool:
    """Whether a text asks for what a tool does."""
    return any(clause.weight > 0 and (fit(clause, tool) > 0 or clause.verb == tool.verb) for clause in clauses(text))


def mentions(tool: Tool, text: str) -> bool:
    """Whether a text has any word for what a tool does, in any mood."""
    return any(each == tool.verb or ACTS.get(each, frozenset()) & tool.acts for each in map(stem, words(text)))


def speaks_to_machine(text: str) -> bool:
    """Whether a text addresses an agent rather than a person, or imitates the language of oversight."""
    flat = plain(text)
    return any(re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", flat) for phrase in MACHINE)
