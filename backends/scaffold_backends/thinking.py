"""Separates reasoning that a model writes between tags from the rest of its text, while both stream.

The tags are those that models are trained with, and that servers pass on if they do not know them.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal

_USUAL = "<think>"
_CLOSES = {
    _USUAL: "</think>",  # DeepSeek, Qwen, GLM and most others
    "[THINK]": "[/THINK]",  # Magistral
    "<seed:think>": "</seed:think>",  # Seed-OSS
    "\u25c1think\u25b7": "\u25c1/think\u25b7",  # Kimi
    "<|channel>": "<channel|>",  # Gemma 4
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final",  # gpt-oss
}
# gpt-oss names the answer's channel too, and perhaps its form, such as ` <|constrain|>json`, before the answer begins.
_NO_REASONING = "<|channel|>final"
_ANSWER = "<|message|>"
_LONGEST_HEADER = 64  # more is none
_BEGINNINGS = (*_CLOSES, _NO_REASONING)

ThinkTags = Literal["none", "tags", "open"]


class _Where(Enum):
    START = "start"
    INSIDE = "inside"
    HEADER = "header"
    AFTER = "after"
    OUTSIDE = "outside"


class ThinkSplitter:
    """Separates one sample's text into reasoning and answer, however it is cut into pieces.

    Only a tag at the beginning of the text counts; a later one is part of the answer. If the tag is never closed,
    everything is reasoning and the answer is empty. White space next to the tags belongs to neither.
    """

    def __init__(self, tags: ThinkTags) -> None:
        """`open` is for prompts that end in an opening tag, so that the text begins inside it."""
        self._where = _Where.START
        self._without_tag = _Where.INSIDE if tags == "open" else _Where.OUTSIDE
        self._close = _CLOSES[_USUAL]
        self._waiting = ""
        self._spaces: list[str] = []  # before the text begins
        self._blank = True  # no reasoning but white space so far

    @property
    def inside(self) -> bool:
        """Whether the next text is reasoning."""
        return self._where is _Where.INSIDE or (self._where is _Where.START and self._without_tag is _Where.INSIDE)

    def feed(self, text: str, *, last: bool) -> tuple[str, str]:
        """Take a piece; return the reasoning and the text that are certain by now."""
        if self._where is _Where.OUTSIDE:
            return "", text
        if self._where is _Where.START:
            text = self._begun(text, last=last)
        else:
            text = self._waiting + text
            self._waiting = ""
        reasoning = ""
        if self._where is _Where.INSIDE:
            reasoning, text = self._inside(text, last=last)
        if self._where is _Where.HEADER:
            text = self._after_header(text, last=last)
        if self._where is _Where.AFTER:
            text = text.lstrip()
            if text:
                self._where = _Where.OUTSIDE
        return reasoning, text

    def _begun(self, text: str, *, last: bool) -> str:
        """Skip the tag at the beginning of the text, if any; return what follows, once it is certain."""
        if text.isspace() and not self._waiting and not last:
            self._spaces.append(text)  # put together once only: a model may go on with them for long
            return ""
        text = "".join(self._spaces) + self._waiting + text
        self._spaces, self._waiting = [], ""
        bare = text.lstrip()
        opened = next((each for each in _BEGINNINGS if bare.startswith(each)), "")
        if not opened and not last and any(each.startswith(bare) for each in _BEGINNINGS):
            self._waiting = text
            return ""
        if opened == _NO_REASONING:
            self._where = _Where.HEADER
        elif opened:
            self._where, self._close = _Where.INSIDE, _CLOSES[opened]
            return bare.removeprefix(opened)
        else:
            self._where = self._without_tag
        return text

    def _inside(self, text: str, *, last: bool) -> tuple[str, str]:
        if self._blank:
            text = text.lstrip()
        place = text.find(self._close)
        if place >= 0:
            self._where = _Where.HEADER if self._close.endswith(_NO_REASONING) else _Where.AFTER
            return text[:place], text[place + len(self._close) :]
        ready = len(text) if last else len(text) - _half_a_tag(text, self._close)
        self._waiting = text[ready:]
        self._blank = self._blank and not text[:ready]
        return text[:ready], ""

    def _after_header(self, text: str, *, last: bool) -> str:
        """Skip the answer's header; return what is there of the answer, which is all if that was no header."""
        _, ends, answer = text.partition(_ANSWER)
        if ends:
            self._where = _Where.AFTER
            return answer
        if last or len(text) > _LONGEST_HEADER:
            self._where = _Where.OUTSIDE
            return text
        self._waiting = text
        return ""


def _half_a_tag(text: str, tag: str) -> int:
    """Return how many of the last characters may begin a closing tag."""
    longest = min(len(text), len(tag) - 1)
    return next((length for length in range(longest, 0, -1) if tag.startswith(text[-length:])), 0)
