"""A LangGraph agent behind the gate: one call is allowed, another refused (extra `langgraph`, and `langchain`).

    python examples/agents/langgraph_agent.py

The chat model is scripted, so that it runs offline; replace it with your own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool

from scaffold import Gate, Goal, Task
from scaffold.adapters.langgraph import actions_of, check, gated, thinking


@tool
async def pay(invoice: str, cents: int) -> str:
    """Pay an invoice."""
    return f"paid {cents} for {invoice}"


class Script(FakeMessagesListChatModel):
    """A scripted chat model."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        """Ignore the tools: the script is fixed."""
        return self


def call(name: str, **args: Any) -> dict[str, Any]:
    """A tool call as models make it."""
    return {"name": name, "args": args, "id": str(args), "type": "tool_call"}


BOTH = [call("pay", invoice="i1", cents=100), call("pay", invoice="i2", cents=900)]
TASK = Task(
    prompt="Pay what is due",
    goals=(Goal(kind="constraint", statement="at most 500", rule="action.name != 'pay' || args.cents <= 500"),),
)


async def main() -> None:
    """Pay two invoices, one of which is over the limit."""
    tools = [pay]
    async with Gate(actions=actions_of(tools), monitors=["rules"]) as gate, gate.run(TASK) as run:
        model = Script(responses=[AIMessage("Both are due.", tool_calls=BOTH), AIMessage("One is paid.")])
        agent = create_agent(model, gated(run, tools))
        check(agent)  # no tool bypasses the gate
        question: Any = {"messages": [("user", TASK.prompt)]}
        answer = await agent.ainvoke(question, {"callbacks": [thinking(run)]})
        run.answer(str(answer["messages"][-1].text))
    told = [message.text for message in answer["messages"] if isinstance(message, ToolMessage)]
    print(*told, sep="\n")
    assert told == ["paid 100 for i1", "at most 500"]
    statuses = sorted(each.status for each in run.outcome.actions)  # LangGraph may start either one first
    print(run.outcome.status, statuses, run.outcome.trace)


if __name__ == "__main__":
    asyncio.run(main())
