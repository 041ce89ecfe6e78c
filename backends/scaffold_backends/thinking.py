"""Reasoning that a model writes into its text, between `<think>` tags, taken apart from it while both stream."""

from __future__ import annotations

from enum import Enum
from typing import Literal

_OPEN, _CLOSE = "<think>", "</think>"

ThinkTags = Literal["none", "tags", "open"]


class _Where(Enum):
    START = "start"
    INSIDE = "inside"
    AFTER = "after"
    OUTSIDE = "outside"


class ThinkSplitter:
    """Takes one sample's text apart, however it is cut into pieces.

    Only a tag that the text begins with counts: later on it is part of the answer, such as one about tags. Reasoning
    whose tag is never closed is all reasoning, and the answer empty: the model did not come to one. White space beside
    the tags belongs to neither.
    """

    def __init__(self, tags: ThinkTags) -> None:
        """`open` is for prompts that end in an opening tag, so that the text begins inside it."""
        self._where = _Where.START
        self._without_tag = _Where.INSIDE if tags == "open" else _Where.OUTSIDE
        self._waiting = ""
        self._blank = True  # no reasoning but white space so far

    @property
    def inside(self) -> bool:
        """Whether what comes next is reasoning."""
        return self._where is _Where.INSIDE or (self._where is _Where.START and self._without_tag is _Where.INSIDE)

    def feed(self, text: str, *, last: bool) -> tuple[str, str]:
        """Take a piece, and give what of it is certain: reasoning, and text."""
        if self._where is _Where.OUTSIDE:
            return "", text
        text = self._waiting + text
        self._waiting = ""
        if self._where is _Where.START and not self._begin(text, last=last):
            return "", ""
        reasoning = ""
        if self._where is _Where.INSIDE:
            begun = text.lstrip().removeprefix(_OPEN) if text.lstrip().startswith(_OPEN) and self._blank else text
            reasoning, text = self._inside(begun, last=last)
        if self._where is _Where.AFTER:
            text = text.lstrip()
            if text:
                self._where = _Where.OUTSIDE
        return reasoning, text

    def _begin(self, text: str, *, last: bool) -> bool:
        """Say whether it is known how the text begins."""
        bare = text.lstrip()
        if len(bare) < len(_OPEN) and _OPEN.startswith(bare) and not last:
            self._waiting = text
            return False
        self._where = _Where.INSIDE if bare.startswith(_OPEN) else self._without_tag
        return True

    def _inside(self, text: str, *, last: bool) -> tuple[str, str]:
        if self._blank:
            text = text.lstrip()
        place = text.find(_CLOSE)
        if place >= 0:
            self._where = _Where.AFTER
            return text[:place], text[place + len(_CLOSE) :]
        ready = len(text) if last else len(text) - _half_a_tag(text)
        self._waiting = text[ready:]
        self._blank = self._blank and not text[:ready]
        return text[:ready], ""


def _half_a_tag(text: str) -> int:
    """How many of the last characters may be the beginning of a closing tag."""
    longest = min(len(text), len(_CLOSE) - 1)
    return next((length for length in range(longest, 0, -1) if _CLOSE.startswith(text[-length:])), 0)
