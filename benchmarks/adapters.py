"""What the gate adds to a tool call of another agent's framework, through each adapter.

    python benchmarks/adapters.py

One JSON line an adapter: CPU microseconds of the framework's own call of a tool that does nothing, of the same call
through the gate with the monitor `rules` and a rule, and the difference, each the median of calls made in turn.

Beside them, in the same turns, what that is made of: `gate` is `run.act` of an action of ours that does nothing, so
without any framework; `gate_again` is the same call right after it, when its code is still in the processor's caches;
`in_memory` and `in_memory_again` are these with a journal that keeps records in a list. The other journal is a
`FileJournal` on a real disk; fsync is left out, as in `engine.py`, since its cost is the disk's. `floor` is the least
that a journal of effects takes by the same means, without any gate: the arguments checked once, an intent stored, the
effect in a task of its own, an outcome stored. An asyncio task that does nothing is the machine's own measure. The
option `--least` gives the least of each in place of the median, which a busy machine disturbs less.

The garbage collector runs between the calls that are timed. In them it would run where most objects are alive, which is
inside the innermost call, and what a framework leaves to it would be counted for the gate. `garbage` says how many
objects one call leaves to it, the framework's own and through the gate.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from scaffold import Budget, Gate, Goal, Task, action
from scaffold.interfaces import Claim, Record, Surroundings
from scaffold.machinery.recording.recorder import Recorder
from scaffold.trace.files import FileJournal
from scaffold.vocabulary import events
from scaffold.vocabulary.canonical import canonical

CALLS = 400
WARM = 20
LITTERING = 50
LIMIT_MICROSECONDS = 500
Caller = Callable[[int], Awaitable[Any]]
"""Has a framework call its tool once, as its agent would."""


async def number(number: int) -> str:
    """Give a number back."""
    return str(number)


@action(effect="irreversible")
async def plain(number: int) -> str:
    """Give a number back: the same as an action of ours."""
    return str(number)


class InMemory(FileJournal):
    """Keeps what a run records in a list; its folder holds no more than the lock."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, fsync=_without_fsync)
        self._kept: list[Record] = []

    async def append(self, claim: Claim, records: Sequence[Record], *, durable: bool) -> None:
        """Keep records."""
        self._kept.extend(records)


TASK = Task(
    prompt="Give numbers back.",
    goals=(Goal(kind="constraint", statement="never negative", rule="args.number >= 0"),),
    budget=Budget(tokens=None, seconds=None, steps=None, actions=None),
)


def langgraph() -> tuple[Any, Any, Callable[[Sequence[Any]], Caller]]:
    """A tool, the adapter, and a graph's tool node."""
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool
    from langgraph.graph import END, START, MessagesState, StateGraph
    from langgraph.prebuilt import ToolNode

    from scaffold.adapters import langgraph as adapter

    def caller(tools: Sequence[Any]) -> Caller:
        graph = StateGraph(MessagesState).add_node("tools", ToolNode(tools)).add_edge(START, "tools")
        agent = graph.add_edge("tools", END).compile()

        async def call(at: int) -> Any:
            made: Any = {"name": "number", "args": {"number": at}, "id": str(at), "type": "tool_call"}
            question: Any = {"messages": [AIMessage("", tool_calls=[made])]}
            return await agent.ainvoke(question)

        return call

    return tool(number), adapter, caller


def openai_agents() -> tuple[Any, Any, Callable[[Sequence[Any]], Caller]]:
    """A tool, the adapter, and an agent whose scripted model makes one call."""
    from agents import Agent, Runner, StopAtTools, function_tool
    from agents.testing import ScriptedModel, function_call
    from agents.tracing import set_tracing_disabled

    from scaffold.adapters import openai_agents as adapter

    set_tracing_disabled(disabled=True)

    def caller(tools: Sequence[Any]) -> Caller:
        async def call(at: int) -> Any:
            model = ScriptedModel([[function_call("number", {"number": at}, call_id=str(at))]])
            stop = StopAtTools(stop_at_tool_names=["number"])
            return await Runner.run(Agent(name="a", model=model, tools=list(tools), tool_use_behavior=stop), "go")

        return call

    return function_tool(number), adapter, caller


def pydantic_ai() -> tuple[Any, Any, Callable[[Sequence[Any]], Caller]]:
    """A tool, the adapter, and an agent whose function model makes one call."""
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    from scaffold.adapters import pydantic_ai as adapter

    def say(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        if len(messages) > 1:
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[ToolCallPart("number", {"number": 1})])

    def caller(tools: Sequence[Any]) -> Caller:
        agent = Agent(FunctionModel(say), tools=tools)
        return lambda _: agent.run("go")

    return number, adapter, caller


async def nothing(_: int) -> None:
    """An asyncio task that does nothing."""

    async def noop() -> None:
        return None

    await asyncio.create_task(noop())


async def _without_fsync(_: int) -> None:
    return None


async def two_events(journal: FileJournal) -> Caller:
    """An effect between two events that are stored: no review, no clearance, no digest of what was asked."""
    recorder = Recorder(journal, await journal.claim("floor", "floor", create=True), Surroundings())

    async def call(at: int) -> str:
        arguments = plain.validate({"number": at})
        intent = events.ActionIntent(
            key=str(at), action="plain", effect="irreversible", digest="", idempotency="", attempt=1
        )
        recorder.record(intent, {"arguments": arguments}, asked=canonical(arguments))
        await recorder.flush(durable=True)
        value = await asyncio.create_task(number(**arguments))
        outcome = events.ActionOutcome(
            key=str(at), action="plain", digest="", status="performed", tainted=True, final=True
        )
        recorder.record(outcome, {"value": value})
        await recorder.flush(durable=True)
        return value

    return call


async def timed(call: Caller, at: int) -> float:
    """CPU microseconds of one call."""
    gc.collect(0)
    started = time.process_time()
    await call(at)
    return (time.process_time() - started) * 1e6


async def garbage(call: Caller) -> float:
    """Objects that one call leaves to the garbage collector."""
    gc.collect()
    for at in range(LITTERING):
        await call(at)
    return gc.collect() / LITTERING


async def measure(
    name: str,
    tool: Any,
    adapter: Any,
    caller: Callable[[Sequence[Any]], Caller],
    middle: Callable[[Sequence[float]], float],
) -> None:
    """Measure one adapter, each way of calling in turn; print its line."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        actions = [*adapter.actions_of([tool]), plain]
        run, light = [
            await stack.enter_async_context(Gate(actions=actions, monitors=["rules"], journal=journal).run(TASK))
            for journal in (FileJournal(folder / "files", fsync=_without_fsync), InMemory(folder / "memory"))
        ]
        ways: dict[str, Caller] = {
            "own": caller([tool]),
            "gated": caller(adapter.gated(run, [tool])),
            "gate": lambda at: run.act("plain", {"number": at}),
            "gate_again": lambda at: run.act("plain", {"number": at}),
            "before": caller([tool]),
            "in_memory": lambda at: light.act("plain", {"number": at}),
            "in_memory_again": lambda at: light.act("plain", {"number": at}),
            "again": caller([tool]),
            "floor": await two_events(FileJournal(folder / "floor", fsync=_without_fsync)),
            "task": nothing,
        }
        for at in range(WARM):
            for way in ways.values():
                await way(at)
        gc.disable()
        rounds = [{each: await timed(way, at) for each, way in ways.items()} for at in range(CALLS)]
        left = {each: await garbage(ways[each]) for each in ("own", "gated")}
        gc.enable()
    assert [each.status for each in run.outcome.actions] == ["performed"] * (3 * (CALLS + WARM) + LITTERING)
    taken = {each: middle([turn[each] for turn in rounds]) for each in ways if each not in {"before", "again"}}
    added = middle([turn["gated"] - turn["own"] for turn in rounds])
    if middle is min:  # a difference of two that were disturbed has no least
        added = taken["gated"] - taken["own"]
    line = {
        "adapter": name,
        **{f"{each}_microseconds": round(figure, 1 if each == "task" else None) for each, figure in taken.items()},
        "added_microseconds": round(added),
        "added_in_tasks": round(added / taken["task"], 1),
        "ratio": round(taken["gated"] / taken["own"], 2),
        "garbage": left,
        "within_limit": added < LIMIT_MICROSECONDS,
    }
    print(json.dumps(line), flush=True)


async def main(middle: Callable[[Sequence[float]], float]) -> None:
    """Measure all adapters."""
    for make in (langgraph, openai_agents, pydantic_ai):
        await measure(make.__name__, *make(), middle)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--least", action="store_true", help="the least of each in place of the median")
    asyncio.run(main(min if parser.parse_args().least else statistics.median))
