"""Summarises the runs of a batch: each in a line, and the total usage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.cli.speech import line

if TYPE_CHECKING:
    from scaffold.batch.runner import Tally

_WIDTH = 100


def told(row: dict[str, Any]) -> str:
    """Summarise one run in a line."""
    said = row["answer"] if row["status"] == "solved" else row["reason"]
    mark = f" ({row['outcome']})" if "outcome" in row else ""
    why = f" ({line(row['why'], _WIDTH)})" if row.get("outcome") == "wrong" else ""
    return f"{line(row['id'])} {row['status']}{mark}: {line(said, _WIDTH)}{why}"


def spent(tally: Tally) -> str:
    """Summarise a batch's usage and its monitors' verdicts."""
    parts = [f"work {_usage(tally.model)}"] if tally.model.tokens else []
    parts += [f"oversight {_usage(tally.oversight)}"] if tally.oversight.tokens else []
    parts += [f"{decision} {number:,} times" for decision, number in sorted(tally.decisions.items())]
    return ", ".join(parts)


def _usage(usage: Any) -> str:
    usd = f" (${usage.usd:.4f})" if usage.usd else ""
    return f"{'about ' if usage.guessed else ''}{usage.tokens:,} tokens{usd}"
