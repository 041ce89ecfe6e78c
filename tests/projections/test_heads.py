"""Signed heads among the spans: a copy of them where the agent cannot reach it, the same live and afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.actions import action
from scaffold.agent import Scaffold
from scaffold.planning import act, together
from scaffold.projections.otlp import export
from scaffold.projections.spans import Spans
from scaffold.trace.chain import Chain, body_of
from scaffold.trace.files import HEADS, FileJournal
from scaffold.trace.heads import Head, is_signed_by, new_key, read_heads
from scaffold.trace.records import read_files
from scaffold.vocabulary import events as happened
from scaffold.vocabulary.task import Oversight, Task

if TYPE_CHECKING:
    from pathlib import Path

    from scaffold.trace.heads import Signer
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.moves import Planning


@action(effect="irreversible")
async def pay(cents: int) -> int:
    """Pay, which takes a moment."""
    await asyncio.sleep(0.01 * cents)
    return cents


@action(effect="read")
async def look() -> int:
    """Look."""
    return 1


def paying(_task: Task) -> Planning[str]:
    """Pay thrice, side by side, so that intents, heads and outcomes mix; and look."""
    yield from together(*(act("pay", {"cents": cents}) for cents in (3, 1, 2)))
    yield from act("look")
    return "paid"


async def _solve(journal: FileJournal, signer: Signer) -> str:
    agent = Scaffold(paying, actions=[pay, look], journal=journal, signer=signer, monitors=[])
    async with agent:
        outcome = await agent.solve(Task(prompt="pay", oversight=Oversight(unmonitored=True)))
    assert outcome.status == "solved", outcome.reason
    return outcome.run


def stored(folder: Path) -> tuple[list[tuple[Event, dict[str, Any]]], list[tuple[Head, str]]]:
    """What a run's folder holds: events with their contents, and heads."""
    chain = Chain()
    links = [chain.follow(record) for record in read_files(folder)]
    return [(link.event, body_of(link.content)) for link in links], read_heads((folder / HEADS).read_text())


def facts(span: Any) -> dict[str, Any]:
    """The attributes of a span that arrived."""
    return {fact.key: fact.value for fact in span.attributes}


def test_heads_arrive_live_and_again_with_an_export(receiver: Any, tmp_path: Path) -> None:
    """Each irreversible call and the session bear a head that the key has signed; an export sends the same bytes."""
    signer = new_key(tmp_path / "key")
    run = asyncio.run(_solve(FileJournal(tmp_path / "runs"), signer))
    events, heads = stored(tmp_path / "runs" / run)
    count = export(events, heads=heads).spans
    both = receiver.wait_for(2 * count)
    live, later = both[:count], both[count:]
    assert sorted(map(_bytes, live)) == sorted(map(_bytes, later))
    signed = [span for span in live if "scaffold.head.note" in facts(span)]
    assert sorted(span.name for span in signed) == [f"execute_tool {pay.spec.name}"] * 3 + [f"invoke_agent {_name()}"]
    notes = {note for _, note in heads}
    for span in signed:
        told = facts(span)
        assert told["scaffold.head.note"].string_value in notes
        assert is_signed_by(told["scaffold.head.note"].string_value, signer.verifier())
        assert told["scaffold.head.seq"].int_value >= told["scaffold.seq"].int_value
    root = next(facts(span) for span in signed if span.name.startswith("invoke_agent"))
    assert root["scaffold.head.seq"].int_value == events[-1][0].seq


def _name() -> str:
    return f"{__name__}:paying"


def _bytes(span: Any) -> bytes:
    data: bytes = span.SerializeToString(deterministic=True)
    return data


@pytest.mark.parametrize("late", [0, 1, 3])
def test_when_a_head_is_heard_of_does_not_matter(story: Any, late: int) -> None:
    """Other branches may have gone on while a head was signed: it stands on the same calls as if they had not."""
    story.begin()
    story.propose("1")
    story.intend("1")
    signed_at = len(story.told)
    story.propose("2", "delete")
    story.intend("2", "delete")
    story.tell(happened.Noted, {"text": "meanwhile"}, key="3")
    story.outcome("2", action="delete")
    story.outcome("1")
    story.end()
    head, note = Head(story.run, signed_at, bytes(32)), "the note"
    fold, spans = Spans(), []
    for number, (event, content) in enumerate(story.told, start=1):
        spans += fold.feed(event, content)
        if number == signed_at + late:
            spans += fold.sign(head, note)
    spans += fold.finish()
    signed = [span.name for span in spans if "scaffold.head.seq" in (span.attributes or {})]
    assert signed == ["execute_tool pay"]


def test_a_session_whose_head_never_came_is_shown_without_one(story: Any) -> None:
    """What was killed between its end and its head gives the span of its session all the same, before the next one."""
    story.begin()
    story.tell(happened.Paused, status="interrupted")
    story.tell(happened.RunResumed)
    story.end()
    fold, spans = Spans(), []
    for event, content in story.told:
        spans += fold.feed(event, content)
    assert [span.name for span in spans] == ["invoke_agent deliberate"]
    spans += fold.sign(Head(story.run, 4, bytes(32)), "the note")
    assert [("scaffold.head.note" in (span.attributes or {})) for span in spans] == [False, True]
    assert not fold.finish()
