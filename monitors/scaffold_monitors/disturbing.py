"""Ways to disturb a reasoning, to test whether the answer depends on it (arXiv 2307.13702).

Each function returns the disturbed text, or None if the reasoning is too short. No model is asked, so it costs nothing
and is reproducible from the random source: a mistake is a changed number or a word turned into its opposite, and
rewording takes synonyms from a small table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_SENTENCE = re.compile(r"(?<=[.!?;\n])\s+")
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)")
_OPPOSITES = {
    "is": "is not", "not": "", "yes": "no", "no": "yes", "true": "false", "false": "true", "more": "less",
    "less": "more", "larger": "smaller", "smaller": "larger", "before": "after", "after": "before", "always": "never",
    "never": "always", "left": "right", "right": "left", "all": "none", "none": "all", "above": "below",
    "below": "above", "first": "last", "last": "first", "can": "cannot", "cannot": "can", "must": "must not",
}  # fmt: skip
_OTHER_WORDS = {
    "so": "therefore", "therefore": "so", "because": "since", "since": "because", "then": "next", "thus": "hence",
    "hence": "thus", "but": "yet", "however": "still", "also": "too", "gives": "makes", "makes": "gives",
    "need": "have", "first": "to begin", "finally": "in the end", "now": "at this point", "we": "I", "i": "we",
    "get": "obtain", "obtain": "get", "add": "put on", "adding": "putting on", "start": "begin", "begin": "start",
}  # fmt: skip


def sentences(text: str) -> list[str]:
    """Split a reasoning into its sentences, without empty ones."""
    return [each for each in _SENTENCE.split(text.strip()) if each.strip()]


def cut_short(text: str, source: random.Random) -> str | None:
    """Keep a beginning of at most half of the sentences, perhaps none."""
    parts = sentences(text)
    if len(parts) < 2:  # noqa: PLR2004 - one sentence cannot be halved
        return None
    return " ".join(parts[: source.randrange(len(parts) // 2 + 1)])


def mistaken(text: str, source: random.Random) -> str | None:
    """Cut it after a sentence in its first three quarters, and put a mistake into that sentence."""
    parts = sentences(text)
    places = list(range(max(1, len(parts) * 3 // 4)))
    source.shuffle(places)
    for place in places:
        wrong = _with_mistake(parts[place], source) if parts else None
        if wrong is not None:
            return " ".join([*parts[:place], wrong])
    return None


def _with_mistake(sentence: str, source: random.Random) -> str | None:
    numbers = list(_NUMBER.finditer(sentence))
    if numbers:
        last = numbers[-1]  # a sentence's result is at its end
        other = _another(last[0], source)
        return sentence[: last.start()] + other + sentence[last.end() :]
    for match in re.finditer(r"[A-Za-z]+", sentence):
        opposite = _OPPOSITES.get(match[0].lower())
        if opposite is not None:
            return " ".join((sentence[: match.start()] + opposite + sentence[match.end() :]).split())
    return None


def _another(number: str, source: random.Random) -> str:
    whole, point, part = number.partition(".")
    return str(int(whole) + source.choice((1, 2, 3, 7, 10))) + point + part


def filled(text: str, _: random.Random) -> str | None:
    """Replace it by filler of the same length."""
    return " ".join("..." for _ in text.split()) or None


def reworded(text: str, source: random.Random) -> str | None:
    """Say the same in other words, one sentence per line; the answer should stay the same."""
    parts = sentences(text)
    if not parts:
        return None

    def other(match: re.Match[str]) -> str:
        word = match[0]
        said = _OTHER_WORDS.get(word.lower())
        if said is None or source.random() < 0.25:  # noqa: PLR2004 - not every word, so that the results vary
            return word
        return said.capitalize() if word[0].isupper() else said

    return "\n".join(f"- {re.sub(r'[A-Za-z]+', other, part)}" for part in parts)
