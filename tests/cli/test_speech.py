"""What a person at a terminal reads of texts that others wrote."""

from __future__ import annotations

import time

import pytest

from scaffold.cli.speech import call, line, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("b\u043eb@corp.example", "b\\u043eb@corp.example"),
        ("\u0391cme", "\\u0391cme"),
        ("pay\u202etxt\x1b[2K", "pay\\u202etxt\\x1b[2K"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
    ],
)
def test_what_passes_for_something_else_is_written_out(text: str, shown: str) -> None:
    """A letter of another alphabet in a Latin word, a mark that turns or hides what follows."""
    assert plain(text) == shown
    assert text not in call("pay", {"account": text})


@pytest.mark.parametrize(
    "text", ["Привет, bob", "\u03b1-helix of café Zoë", "Ελλάδα", "東京 Tokyo", "naïve Straße", "12 µm"]
)
def test_what_people_write_is_left_as_it_is(text: str) -> None:
    """Words of one alphabet each, whatever stands beside them."""
    assert plain(text) == text


def test_long_texts_take_time_by_their_length() -> None:
    """A word of a million letters is looked at once."""
    began = time.process_time()
    line("a" * 1_000_000 + "\u043e" + "b" * 1_000_000 + " é" * 100_000)
    assert time.process_time() - began < 20
