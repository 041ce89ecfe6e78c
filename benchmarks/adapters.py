"""What the gate adds to a tool call of another agent's framework, through each adapter.

    python benchmarks/adapters.py

One JSON line an adapter: CPU microseconds of the framework's own call of a tool that does nothing, of the same call
through the gate with the monitor `rules` and a rule, and the difference, each the median of calls made in turn;
beside them the gate's own `run.act`, and an asyncio task that does nothing, as the machine's own measure. The trace is
written to a real file; fsync is left out, as in `engine.py`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from scaffold import Budget, Gate, Goal, Task
from scaffold.trace.files import FileJournal

CALLS = 400
WARM = 20
LIMIT_MICROSECONDS = 500
Caller = Callable[[int], Awaitable[Any]]
"""Has a framework call its tool once, as its agent would."""


async def number(number: int) -> str:
    """Give a number back."""
    return str(number)


TASK = Task(
    prompt="Give numbers back.",
    goals=(Goal(kind="constraint", statement="never negative", rule="action.name != 'number' || args.number >= 0"),),
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


async def timed(call: Caller, at: int) -> float:
    """CPU microseconds of one call."""
    started = time.process_time()
    await call(at)
    return (time.process_time() - started) * 1e6


async def measure(name: str, tool: Any, adapter: Any, caller: Callable[[Sequence[Any]], Caller]) -> None:
    """Measure one adapter, each way of calling in turn; print its line."""
    with tempfile.TemporaryDirectory() as folder:
        journal = FileJournal(Path(folder), fsync=_without_fsync)
        gate = Gate(actions=adapter.actions_of([tool]), monitors=["rules"], journal=journal)
        async with gate.run(TASK) as run:
            ways: list[Caller] = [
                caller([tool]),
                caller(adapter.gated(run, [tool])),
                lambda at: run.act("number", {"number": at}),
                nothing,
            ]
            for at in range(WARM):
                for way in ways:
                    await way(at)
            rounds = [[await timed(way, at) for way in ways] for at in range(CALLS)]
        assert run.outcome is not None
        assert [each.status for each in run.outcome.actions] == ["performed"] * 2 * (CALLS + WARM)
    own, through, bare, floor = (statistics.median(each) for each in zip(*rounds, strict=True))
    added = statistics.median(each[1] - each[0] for each in rounds)
    line = {
        "adapter": name,
        "own_microseconds": round(own),
        "gated_microseconds": round(through),
        "added_microseconds": round(added),
        "act_microseconds": round(bare),
        "task_microseconds": round(floor, 1),
        "ratio": round(through / own, 2),
        "within_limit": added < LIMIT_MICROSECONDS,
    }
    print(json.dumps(line), flush=True)


async def main() -> None:
    """Measure all adapters."""
    for make in (langgraph, openai_agents, pydantic_ai):
        await measure(make.__name__, *make())


if __name__ == "__main__":
    asyncio.run(main())
