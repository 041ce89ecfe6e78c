"""Patterns that a text could keep busy without end are refused before any text is seen."""

from __future__ import annotations

import pytest

from scaffold.critics.backtracking import endless
from scaffold.errors import TaskError
from scaffold_monitors.watch import Watch

ENDLESS = [
    "(a+)+b",
    "(a|ab)+c",
    "(aa?)+b",
    "(a{1,3})+b",
    "(a?){50}b",
    "(a+){3}b",
    ".*a.*b.*c",
    "[^x]*[^y]*[^z]*q",
    r"\w+\w+\w+x",
    "(?>(a+)+)b",
    "(?=(a+)+b)c",
    "(x)?(?(1)(a+)+|b)",
]
FINE = [
    "nobody will notice",
    r"\b(nobody|no one)\s+(will|would)\s+(ever\s+)?notice\b",
    r"p(ass|ay)w?ord\s*[:=]\s*\S+",
    "(?:foo|bar)+",
    "(?:a|b|[cd])+e",
    "(will|would)+x",
    ".*a.*b",
    r"(\d{3}-){20}",
    r"(?:\w++\s++)+x",
    "(?>a+)+b",
]


@pytest.mark.parametrize("pattern", ENDLESS)
def test_what_could_take_for_ever_is_refused(pattern: str) -> None:
    """Repetitions within others, alternatives that begin alike, anything many times over: the cure is named."""
    assert "possessive" in endless(pattern)
    with pytest.raises(TaskError, match=r"patterns\.1: .* could take forever to search for"):
        Watch(patterns=["fine", pattern])


@pytest.mark.parametrize("pattern", FINE)
def test_what_people_write_is_not(pattern: str) -> None:
    """What can be divided in one way only, or is told not to be divided anew, may be searched for."""
    assert endless(pattern) == ""
    Watch(patterns=[pattern])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"phrases": [2031]}, "phrases.0: 2031 is not text: put it in quotes"),
        ({"phrases": {"a": "b"}}, "phrases: should be a list of texts"),
        ({"patterns": [None]}, "patterns.0: None is not text"),
        ({"patterns": ["a{1,99999999999}"]}, "patterns.0: .* is not a regular expression"),
        ({"patterns": ["(" * 5000 + "a" + ")" * 5000]}, "patterns.0: .* is not a regular expression"),
        ({"patterns": ["a*"]}, "patterns.0: 'a[*]' matches empty text"),
        ({"phrases": ["abc"], "steps": [1]}, "steps.0: 1 is not text"),
    ],
)
def test_what_is_no_phrase_and_no_pattern_is_refused(settings: dict[str, object], said: str) -> None:
    """Numbers that YAML makes of words, and patterns that cannot be searched for, are named with their place."""
    with pytest.raises(TaskError, match=said):
        Watch(**settings)  # type: ignore[arg-type] # what a task file may hold
