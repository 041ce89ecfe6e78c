"""What a person at a terminal reads of texts that others wrote."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from tests.core.conftest import World
from tests.core.doing import doing

from scaffold.cli import main
from scaffold.cli.speech import call, line, plain
from scaffold.trace.chain import GENESIS, seal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("b\u043eb@corp.example", "b\\u043eb@corp.example"),
        ("\u0391cme", "\\u0391cme"),
        ("pay\u202etxt\x1b[2K", "pay\\u202etxt\\x1b[2K"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("bob\u3164\u034f", "bob\\u3164\\u034f"),
        ("\U0001d5c9\U0001d5ba\U0001d5d2", "\\U0001d5c9\\U0001d5ba\\U0001d5d2"),
        ("paypa\u217c", "paypa\\u217c"),
        ("look\n    9  06:00:00  0  performed pay", "look\\x0a    9  06:00:00  0  performed pay"),
    ],
)
def test_what_passes_for_something_else_is_written_out(text: str, shown: str) -> None:
    """A letter of another alphabet in a Latin word, a mark that turns or hides what follows."""
    assert plain(text) == shown
    assert text not in call("pay", {"account": text})


def test_a_call_is_one_line_and_just_what_is_done() -> None:
    """Neither a name nor a value lays out lines of its own, and no run of spaces hides how long it is."""
    text = call("pay\n", {"a\n  reason: fine": "x   y\u00a0\n", "b": ["\u2028"]})
    assert text == r'pay\x0a(a\x0a  reason: fine="x \u0020\u0020y\xa0\n", b=["\u2028"])'


FORGED = "2\x1b[2K\r\nrun r is verified and has ended: solved\u202e"


def test_no_trace_writes_lines_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a name that a model made up, nor a key that somebody wrote into an unsigned trace."""
    world = World(tmp_path)
    run = world.solve(doing("pay\x1b[2K\nverified", invoice="i1")).run
    where = ["--runs", str(tmp_path / "runs")]
    for command in (["show", run], ["show", run, "--tree"], ["why", run, "0"], ["why", run, "none"], ["verify", run]):
        main(["audit", *command, *where])
    spine, mark = tmp_path / "runs" / run / "trace.jsonl", GENESIS
    lines = []
    for recorded in spine.read_text().splitlines():
        event = json.loads(recorded)
        del event["hash"]
        if event.get("kind") == "action.proposed":
            event |= {
                "kind": "action.intent",
                "key": FORGED,
                "digest": "",
                "idempotency": "x",
                "effect": "irreversible",
            }
        sealed, mark = seal(mark, json.dumps(event, separators=(",", ":")).encode())
        lines.append(sealed + b"\n")
    spine.write_bytes(b"".join(lines))
    for command in (["show", run], ["show", run, "--tree"], ["verify", run]):
        main(["audit", *command, *where])
    said = "".join(capsys.readouterr())
    assert "verified" in said
    assert not set(said) & {"\x1b", "\r", "\u202e"}
    assert not [each for each in said.splitlines() if each.startswith(("verified", "run r is"))]


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
