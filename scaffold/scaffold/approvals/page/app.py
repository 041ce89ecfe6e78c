"""The page's web application: its files, the queue, one question with its background, answers, and updates."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from scaffold.approvals.dossier import dossier
from scaffold.approvals.page.guarding import SIGNED
from scaffold.approvals.page.watching import Watch
from scaffold.approvals.queue import Queue
from scaffold.approvals.saying import find, say
from scaffold.approvals.webhook import Secret, Untrusted
from scaffold.errors import AnswerRefused, BadInput, JournalFailed, TraceError, UnknownRun
from scaffold.interfaces import Answer
from scaffold.palette import PALETTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from scaffold.approvals.queue import Waiting
    from scaffold.interfaces import KeptRuns, Question
    from scaffold.trace.heads import Signer

_OURS = Path(__file__).with_name("files")
_FILES = {
    "icon.svg": (_OURS / "icon.svg", "image/svg+xml"),
    "page.css": (_OURS / "page.css", "text/css"),
    "page.html": (_OURS / "page.html", "text/html"),
    "page.js": (_OURS / "page.js", "text/javascript"),
    PALETTE.name: (PALETTE, "text/css"),
}
_LARGEST = 65_536
_PAGE = 50
_STATUSES = {"unknown": 404, "expired": 410, "wrong person": 403, "misfit": 422}


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What a browser sends as an answer."""

    digest: str
    granted: bool = False
    value: str = ""
    comment: str = ""
    scope: bool = False


class Page:
    """The page's request handlers, for people with their keys."""

    def __init__(self, journal: KeptRuns, signers: Mapping[str, Signer | None]) -> None:
        self._journal = journal
        self._signers = signers
        self._watch = Watch(Queue(journal))
        self.close = self._watch.close
        self._one_at_a_time = asyncio.Lock()
        said = os.environ.get("SCAFFOLD_WEBHOOK_SECRET", "")
        self._secret = Secret.read(said) if said else None

    def app(self) -> Starlette:
        """Return the application, which must be put behind a guard."""
        return Starlette(
            routes=[
                Route("/", self.file),
                Route("/{name}", self.file),
                Route("/api/queue", self.queue),
                Route("/api/news", self.news),
                Route("/api/runs/{run}/{name}", self.question),
                Route("/api/runs/{run}/{name}", self.answer, methods=["POST"]),
                Route(SIGNED, self.signed_answer, methods=["POST"]),
            ],
            exception_handlers={BadInput: _refused, TraceError: _refused, OSError: _unreadable},
        )

    async def file(self, request: Request) -> Response:
        """Serve one of the page's static files."""
        name = request.path_params.get("name", "page.html")
        if name not in _FILES:
            return Response("There is no such page.", 404)
        path, kind = _FILES[name]
        return FileResponse(path, media_type=kind)

    async def queue(self, request: Request) -> Response:
        """Return a part of the queue, from the index `from` on, filtered by the text `find`."""
        wanted = request.query_params.get("find", "").casefold()
        said = request.query_params.get("from", "0")
        start = int(said) if said.isascii() and said.isdigit() and len(said) < 10 else 0  # noqa: PLR2004 - digits
        waiting = await self._watch.waiting()
        person = request.state.person
        items = [_item(each, person) for each in waiting if not wanted or wanted in _found_by(each.question).casefold()]
        return _json(
            {
                "person": person,
                "all": len(waiting),
                "found": len(items),
                "from": start,
                "items": items[start : start + _PAGE],
                "faults": self._watch.faults,
                "version": self._watch.version,
            }
        )

    async def news(self, request: Request) -> Response:
        """Stream a server-sent event for each change of the queue."""
        return StreamingResponse(self._watch.news(), media_type="text/event-stream")

    async def question(self, request: Request) -> Response:
        """Return one question with its background."""
        run, name = self._place(request)
        each = await asyncio.to_thread(find, self._journal, run, name)
        led = await asyncio.to_thread(dossier, self._journal, run, name)
        asked = each.question
        detail = {
            **_item(each, request.state.person),
            "digest": asked.digest,
            "title": asked.title,
            "needs": asked.needs,
            "approvers": list(asked.approvers),
            "signs": self._signers.get(request.state.person) is not None,
            "wants_key": bool(asked.approvers.get(request.state.person)),
            "answers": [{"by": said.by, "granted": said.granted, "comment": said.comment} for said in each.answers],
            "detail": asked.detail,
            "shown": _shown(asked.detail),
            "dossier": led,
        }
        return _json(detail)

    async def answer(self, request: Request) -> Response:
        """Take an answer from the person whom the request's cookie identifies."""
        run, name = self._place(request)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            return _json({"error": "the answer should be JSON"}, 415)
        said = _decode(await _body(request), Said)
        answer = Answer(id=name, by=request.state.person, **msgspec.structs.asdict(said))
        return await self._take(run, answer, self._signers.get(request.state.person))

    async def signed_answer(self, request: Request) -> Response:
        """Take an answer signed with the webhook's secret."""
        body = await _body(request)
        if self._secret is None:
            return _json({"error": "$SCAFFOLD_WEBHOOK_SECRET is not set here, so it cannot be checked"}, 403)
        try:
            name = self._secret.check(request.headers, body)
        except Untrusted as problem:
            return _json({"error": str(problem)}, 403)
        said = _decode(body, _SignedAnswer)
        if name != said.answer.id:
            return _json({"error": "its webhook-id is not the question's id"}, 422)
        return await self._take(self._known(said.run), said.answer, None)

    async def _take(self, run: str, answer: Answer, signer: Signer | None) -> Response:
        async with self._one_at_a_time:  # of two people at once, the second is told the first one's answer
            await say(self._journal, run, answer, signer=signer)
        with contextlib.suppress(Exception):  # it was taken all the same; whoever loads the queue is told
            await self._watch.refresh()
        return _json({"taken": True})

    def _place(self, request: Request) -> tuple[str, str]:
        return self._known(request.path_params["run"]), request.path_params["name"]

    def _known(self, run: str) -> str:
        """Check that a run exists and return its id, so that a request cannot name any other folder."""
        if run not in self._journal.runs():
            raise UnknownRun(f"there is no run {run!r}")
        return run


class _SignedAnswer(msgspec.Struct):
    run: str
    answer: Answer


def _item(each: Waiting, person: str) -> dict[str, Any]:
    """Render a question for the list."""
    asked = each.question
    calls = asked.detail.get("calls") or []
    what = _calls(calls) if calls else asked.title
    return {
        "run": asked.run,
        "id": asked.id,
        "kind": asked.kind,
        "what": what if len(what) <= _LONGEST_LINE else what[: _LONGEST_LINE - 1] + "…",
        "at": each.at,
        "expires": None if asked.expires == float("inf") else asked.expires,
        "state": each.state,
        "settled": each.settled,
        "may": not asked.approvers or person in asked.approvers,
        "said": any(said.by == person for said in each.answers),
    }


def _found_by(asked: Question) -> str:
    """Return all text by which a question can be found, which is more than the list shows."""
    calls = asked.detail.get("calls") or []
    return " ".join([asked.run, asked.id, asked.kind, asked.title, *(_calls([each]) for each in calls)])


_LONGEST_LINE = 160
_Kind = TypeVar("_Kind")


def _calls(calls: list[dict[str, Any]]) -> str:
    """Render calls on one line: a single one with its arguments, several by their names."""
    if len(calls) == 1:
        return f"{calls[0]['action']} " + ", ".join(f"{name}: {value}" for name, value in calls[0]["arguments"].items())
    counted = Counter(each["action"] for each in calls)
    return "plan: " + ", ".join(name if number == 1 else f"{number} × {name}" for name, number in counted.items())  # noqa: RUF001 - times


def _shown(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Convert calls and values to text, since browsers would round numbers from 2**53 on."""
    previews = detail.get("previews") or {}
    calls = [
        {
            "action": each["action"],
            "arguments": _text(each["arguments"], indent=2),
            "line": _text(each["arguments"]),
            "would": _text(previews[each["id"]], indent=2) if each.get("id") in previews else None,
        }
        for each in detail.get("calls") or []
    ]
    told = {name: _text(detail[name], indent=2) for name in ("value", "error", "about", "form") if name in detail}
    return {"calls": calls, **told}


def _text(value: Any, indent: int | None = None) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=indent)


async def _body(request: Request) -> bytes:
    read = b""
    async for piece in request.stream():
        read += piece
        if len(read) > _LARGEST:
            raise AnswerRefused("the answer is too long", "misfit")
    return read


def _decode(body: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise AnswerRefused(f"this is not an answer: {error}", "misfit") from None


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def _unreadable(_request: Request, error: Exception) -> Response:
    """Return which of a run's files the system denies us."""
    assert isinstance(error, OSError)  # noqa: S101 - it is called for these
    return _json({"error": f"{error.filename}: {error.strerror}" if error.filename else str(error)}, 503)


async def _refused(_request: Request, error: Exception) -> Response:
    """Return an error's message for the person."""
    if isinstance(error, UnknownRun):
        return _json({"error": str(error)}, 404)
    if isinstance(error, JournalFailed):  # for now: whoever sends answers by program may send it again
        return _json({"error": str(error)}, 503)
    status = _STATUSES.get(error.why, 409) if isinstance(error, AnswerRefused) else 409
    return _json({"error": str(error)}, status)
