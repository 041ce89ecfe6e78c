"""A run of the real engine, shown live and exported from its stored trace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from scaffold.actions import action
from scaffold.agent import Scaffold
from scaffold.planning import carry_out, propose, think, together
from scaffold.projections.otlp import export
from scaffold.trace.chain import Chain, body_of
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.events import ActionIntent, Reviewed, StepAsked
from scaffold.vocabulary.models import FREE, Delta, Profile, Request, Usage
from scaffold.vocabulary.plan import Plan, Planned
from scaffold.vocabulary.review import MonitorSpec, Subject, Verdict
from scaffold.vocabulary.task import Task

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.moves import Planning, Thought


class Echo:
    """A backend that always says yes."""

    profile = Profile(backend="echo", model="yes-1", context=8000, prices=FREE, reasoning="full")

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Say yes, once for each sample."""
        for index in range(request.n):
            yield Delta(index=index, text="yes", finish="stop", usage=Usage(10, 1) if not index else None)

    async def close(self) -> None:
        """Free nothing."""


class Doubter:
    """A monitor that asks a model about plans, and flags all it reads."""

    spec = MonitorSpec(name="doubter", watches=frozenset({"plan", "action", "step", "observation"}))

    async def review(self, subject: Subject, _view: Any, context: Any) -> Verdict:
        """Have doubts."""
        if subject.kind == "plan":
            await context.think("evaluate", subject.reason)
        return Verdict(decision="flag", score=0.5, rationale="who knows")


@action(effect="read")
async def look(what: str) -> str:
    """Look at something."""
    return f"seen {what}"


def look_twice(task: Task) -> Planning[str]:
    """Think alone and in parallel, then look."""
    understanding: Thought[str] = yield from think("understand", task.prompt)
    yield from together(*(think("propose", understanding) for _ in range(3)))
    plan = Plan([Planned("look", {"what": "left"}), Planned("look", {"what": "right"})], reason="to see")
    yield from propose(plan)
    yield from carry_out(plan)
    return "seen"


async def _run(folder: Path) -> list[tuple[Event, dict[str, Any]]]:
    journal = FileJournal(folder)
    backends = {"default": Echo(), "judge": Echo()}
    async with Scaffold(look_twice, backends=backends, monitors=[Doubter()], actions=[look], journal=journal) as agent:
        outcome = await agent.solve(Task(prompt="look around"))
    assert outcome.status == "solved"
    chain, stored = Chain(), []
    async for record in journal.read(outcome.run):
        link = chain.follow(record)
        stored.append((link.event, body_of(link.content) if link.content is not None else {}))
    return stored


def test_a_run_is_shown_live_as_it_is_stored(receiver: Any, tmp_path: Path) -> None:
    """What a real receiver gets from a running engine is, to the byte, what its stored trace exports."""
    stored = asyncio.run(_run(tmp_path))
    result = export(stored)
    spans = receiver.wait_for(2 * result.spans)
    live, later = spans[: result.spans], spans[result.spans :]
    assert sorted(map(_bytes, live)) == sorted(map(_bytes, later))
    names = [span.name.split()[0] for span in live]
    happened = [type(event) for event, _ in stored]
    verdicts = [fact for event, _ in stored if isinstance(event, Reviewed) for fact in event.verdicts]
    assert names.count("chat") == names.count("step") == happened.count(StepAsked) > 4
    assert names.count("execute_tool") == happened.count(ActionIntent) == 2
    assert names.count("guard") == len(verdicts) > 4
    known = {span.span_id for span in live}
    assert [span.name for span in live if span.parent_span_id not in known] == [f"invoke_agent {__name__}:look_twice"]
    assert not any(fact.key == "scaffold.cut_off" for span in live for fact in span.attributes)


def _bytes(span: Any) -> bytes:
    data: bytes = span.SerializeToString(deterministic=True)
    return data
