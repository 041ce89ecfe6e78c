"""Parses a CEL expression into a tree with source positions, which the library does not provide.

It follows the language's grammar (https://github.com/google/cel-spec/blob/master/doc/langdef.md). The library has
accepted the expression before. What this parser does not support, such as messages of other types, gives no tree, and
the parts are then not analysed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from scaffold_monitors.cel.reading import MACROS, TOKEN

Form = Literal["literal", "name", "select", "index", "call", "method", "macro", "unary", "binary", "choice"]
# Binary operators with their precedence.
_BINDING = {
    "||": 1, "&&": 2,
    "==": 3, "!=": 3, "<": 3, "<=": 3, ">": 3, ">=": 3, "in": 3,
    "+": 4, "-": 4,
    "*": 5, "/": 5, "%": 5,
}  # fmt: skip
_CONSTANTS = ("true", "false", "null")


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression.

    Attributes:
        form: its kind.
        text: a literal or name as written; the field, operator, function or macro; `[` or `{` for a list or record.
        parts: its parts in order; for a method or macro, first what it is called on.
        start: offset of its first character.
        end: offset after its last.
        at: offset of `text`.
        binds: a macro's variable.
    """

    form: Form
    text: str
    parts: tuple[Node, ...]
    start: int
    end: int
    at: int
    binds: str = ""


class _Unread(ValueError):
    """The expression uses a part of the grammar that is not supported here."""


@lru_cache(maxsize=1024)
def tree(source: str) -> Node | None:
    """Parse an expression; None if it uses something unsupported."""
    parser = _Parser(source)
    try:
        whole = parser.expression()
    except (_Unread, RecursionError):
        return None
    return whole if parser.at_end else None


class _Parser:
    """A recursive-descent parser of one expression's tokens."""

    def __init__(self, source: str) -> None:
        self._tokens = [found for found in TOKEN.finditer(source) if found.lastgroup != "space"]
        self._place = 0

    @property
    def at_end(self) -> bool:
        """Whether all tokens were read."""
        return self._place == len(self._tokens)

    def expression(self) -> Node:
        """Parse a conditional expression, or one of higher precedence."""
        first = self._binary(1)
        if not self._sees("?"):
            return first
        at = self._take("?")
        then = self._binary(1)
        self._take(":")
        other = self.expression()
        return Node("choice", "?", (first, then, other), first.start, other.end, at)

    def _binary(self, least: int) -> Node:
        left = self._unary()
        while not self.at_end and (binding := _BINDING.get(self._text, 0)) >= least:
            operator = self._text
            at = self._take(operator)
            right = self._binary(binding + 1)
            left = Node("binary", operator, (left, right), left.start, right.end, at)
        return left

    def _unary(self) -> Node:
        if self._text in ("!", "-"):
            operator = self._text
            at = self._take(operator)
            inner = self._unary()
            return Node("unary", operator, (inner,), at, inner.end, at)
        return self._member(self._primary())

    def _member(self, node: Node) -> Node:
        while not self.at_end and self._text in (".", "["):
            if self._text == "[":
                at = self._take("[")
                key = self.expression()
                node = Node("index", "[", (node, key), node.start, self._take("]") + 1, at)
                continue
            self._take(".")
            name, at = self._name()
            if self._sees("("):
                node = self._method(node, name, at)
            else:
                node = Node("select", name, (node,), node.start, at + len(name), at)
        return node

    def _method(self, node: Node, name: str, at: int) -> Node:
        given, end = self._listed("(", ")")
        if name not in MACROS:
            return Node("method", name, (node, *given), node.start, end, at)
        if len(given) < 2 or given[0].form != "name":  # noqa: PLR2004 - a variable and an expression
            raise _Unread
        return Node("macro", name, (node, *given[1:]), node.start, end, at, binds=given[0].text)

    def _primary(self) -> Node:
        kind, text, at = self._kind, self._text, self._offset
        if kind in ("number", "string") or text in _CONSTANTS:
            self._place += 1
            return Node("literal", text, (), at, at + len(text), at)
        if text == "(":
            self._take("(")
            inner = self.expression()
            end = self._take(")") + 1
            return Node(inner.form, inner.text, inner.parts, at, end, inner.at, inner.binds)
        if text == "[":
            items, end = self._listed("[", "]")
            return Node("call", "[", tuple(items), at, end, at)
        if text == "{":
            return self._record()
        name, at = self._name()
        if self._sees("("):
            given, end = self._listed("(", ")")
            return Node("call", name, tuple(given), at, end, at)
        return Node("name", name, (), at, at + len(name), at)

    def _record(self) -> Node:
        at = self._take("{")
        parts: list[Node] = []
        while not self._sees("}"):
            parts.append(self.expression())
            self._take(":")
            parts.append(self.expression())
            if not self._sees("}"):
                self._take(",")
        return Node("call", "{", tuple(parts), at, self._take("}") + 1, at)

    def _listed(self, opens: str, closes: str) -> tuple[list[Node], int]:
        """Parse the items between two brackets; return them and the offset after the brackets."""
        self._take(opens)
        found: list[Node] = []
        while not self._sees(closes):
            found.append(self.expression())
            if not self._sees(closes):
                self._take(",")
        return found, self._take(closes) + 1

    def _name(self) -> tuple[str, int]:
        if self.at_end or self._kind != "name" or self._text == "in":
            raise _Unread
        text, at = self._text, self._offset
        self._place += 1
        return text, at

    @property
    def _kind(self) -> str:
        return self._tokens[self._place].lastgroup or "" if not self.at_end else ""

    @property
    def _text(self) -> str:
        return self._tokens[self._place][0] if not self.at_end else ""

    @property
    def _offset(self) -> int:
        return self._tokens[self._place].start() if not self.at_end else -1

    def _sees(self, text: str) -> bool:
        return self._text == text

    def _take(self, text: str) -> int:
        """Consume a token; return its offset."""
        if self._text != text:
            raise _Unread
        at = self._offset
        self._place += 1
        return at
