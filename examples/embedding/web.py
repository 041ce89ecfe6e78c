"""A web app that streams a run to its client: one JSON line per event, the outcome last (extra `web`).

    uvicorn --app-dir examples/embedding web:app
    curl -N localhost:8000/solve -d 'What is it?'

If the client hangs up, the run pauses; `/resume/RUN` continues it. The host keeps its own logging and OpenTelemetry
tracing: a run that begins within one of its spans records that span, and nothing sets a provider or a log handler.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from scaffold import Outcome, Planning, Scaffold, Task, think
from scaffold.testing import Scripted

log = logging.getLogger("host")


def asking(task: Task) -> Planning[str]:
    """Ask twice."""
    first = yield from think("understand", task.prompt)
    second = yield from think("answer", first)
    return str(second.value)


def agent_of(script: Scripted) -> Scaffold:
    """An agent for the app; another app in this process may have another."""
    return Scaffold(asking, backends={"default": script}, monitors=[])


def app_of(agent: Scaffold) -> Starlette:
    """The app around an agent, which it closes when it ends."""

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        async with agent:
            yield

    async def solve(request: Request) -> StreamingResponse:
        """Solve what the body asks."""
        return StreamingResponse(lines(Task(prompt=(await request.body()).decode())), media_type="application/jsonl")

    async def resume(request: Request) -> StreamingResponse:
        """Resume a run that was paused."""
        return StreamingResponse(lines("", request.path_params["run"]), media_type="application/jsonl")

    async def lines(task: Task | str, run: str = "") -> AsyncIterator[bytes]:
        async with aclosing(agent.stream(task, resume=run)) as happenings:
            async for each in happenings:
                if isinstance(each, Outcome):
                    log.info("run %s: %s", each.run, each.status)
                    said = {"run": each.run, "status": each.status, "answer": each.answer}
                else:
                    said = {"run": each.run, "event": msgspec.to_builtins(each.event), "content": each.content}
                yield json.dumps(said).encode() + b"\n"

    routes = [Route("/solve", solve, methods=["POST"]), Route("/resume/{run}", resume, methods=["POST"])]
    return Starlette(routes=routes, lifespan=life)


app = app_of(agent_of(Scripted("forty two")))
