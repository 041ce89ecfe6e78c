"""The gate in front of the tools of other agents: LangGraph, the OpenAI Agents SDK, Pydantic AI.

    from scaffold.adapters import langgraph as front

    gate = Gate(actions=front.actions_of([search, pay], effects={"search": "read"}))
    async with gate.run("Pay what is due") as run:
        agent = create_agent(model, front.gated(run, [search, pay]))
        front.check(agent)
        await agent.ainvoke(question, {"callbacks": [front.thinking(run)]})

Each library has its own module here, with these four functions. Only that module imports the library.
"""

from __future__ import annotations
