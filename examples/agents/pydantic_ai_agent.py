"""A Pydantic AI agent behind the gate: one call is allowed, another refused (extra `pydantic-ai`).

    python examples/agents/pydantic_ai_agent.py

The model is a function, so that it runs offline; replace it with your own.
"""

from __future__ import annotations

import asyncio

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from scaffold import Gate, Goal, Task
from scaffold.adapters.pydantic_ai import actions_of, check, gated, thinking


async def pay(invoice: str, cents: int) -> str:
    """Pay an invoice."""
    return f"paid {cents} for {invoice}"


def say(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """The model's reply to a conversation."""
    if len(messages) > 1:
        return ModelResponse(parts=[TextPart("One is paid.")])
    both = [{"invoice": "i1", "cents": 100}, {"invoice": "i2", "cents": 900}]
    return ModelResponse(parts=[TextPart("Both are due."), *(ToolCallPart("pay", args) for args in both)])


TASK = Task(
    prompt="Pay what is due",
    goals=(Goal(kind="constraint", statement="at most 500", rule="action.name != 'pay' || args.cents <= 500"),),
)


async def main() -> None:
    """Pay two invoices, one of which is over the limit."""
    tools = [pay]
    async with Gate(actions=actions_of(tools), monitors=["rules"]) as gate, gate.run(TASK) as run:
        agent = Agent(FunctionModel(say), tools=gated(run, tools), capabilities=[thinking(run)])
        check(agent)  # no tool bypasses the gate
        answer = await agent.run(TASK.prompt)
        run.answer(answer.output)
    parts = [part for message in answer.all_messages() for part in message.parts]
    told = [part.content for part in parts if isinstance(part, ToolReturnPart)]
    print(*told, sep="\n")
    assert told == ["paid 100 for i1", "at most 500"]
    print(run.outcome.status, [each.status for each in run.outcome.actions], run.outcome.trace)


if __name__ == "__main__":
    asyncio.run(main())
