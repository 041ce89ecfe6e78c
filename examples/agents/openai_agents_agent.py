"""An agent of the OpenAI Agents SDK behind the gate: one call is allowed, another refused (extra `openai-agents`).

    python examples/agents/openai_agents_agent.py

The model is the SDK's scripted one, so that it runs offline; replace it with your own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from agents import Agent, Runner, function_tool
from agents.testing import ScriptedModel, assistant_message, function_call
from agents.tracing import set_tracing_disabled

from scaffold import Gate, Goal, Task
from scaffold.adapters.openai_agents import actions_of, check, gated, thinking


@function_tool
async def pay(invoice: str, cents: int) -> str:
    """Pay an invoice."""
    return f"paid {cents} for {invoice}"


BOTH = [
    function_call("pay", {"invoice": "i1", "cents": 100}, call_id="1"),
    function_call("pay", {"invoice": "i2", "cents": 900}, call_id="2"),
]
TASK = Task(
    prompt="Pay what is due",
    goals=(Goal(kind="constraint", statement="at most 500", rule="action.name != 'pay' || args.cents <= 500"),),
)


async def main() -> None:
    """Pay two invoices, one of which is over the limit."""
    set_tracing_disabled(disabled=True)  # the SDK's own, which goes to OpenAI
    tools = [pay]
    async with Gate(actions=actions_of(tools), monitors=["rules"]) as gate, gate.run(TASK) as run:
        model = ScriptedModel([[assistant_message("Both are due."), *BOTH], [assistant_message("One is paid.")]])
        agent = Agent(name="clerk", model=model, tools=gated(run, tools))
        check(agent)  # no tool bypasses the gate
        answer = await Runner.run(agent, TASK.prompt, hooks=thinking(run))
        run.answer(answer.final_output)
    items: list[Any] = list(answer.to_input_list())
    told = [item["output"] for item in items if "output" in item]
    print(*told, sep="\n")
    assert told == ["paid 100 for i1", "at most 500"]
    print(run.outcome.status, [each.status for each in run.outcome.actions], run.outcome.trace)


if __name__ == "__main__":
    asyncio.run(main())
