"""Records what a backend says, to say it again without one.

A recording is a JSON-lines file: one line a request, named by the digest of the request, with all its deltas. Nothing
of how the backend was reached (keys, addresses) is in it.
"""

from __future__ import annotations

import re
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scaffold.errors import BackendUnavailable
from scaffold.vocabulary.canonical import canonical, digest
from scaffold.vocabulary.models import Delta, Profile, Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scaffold.interfaces import Backend


class _Line(msgspec.Struct):
    request: str
    prompt: str
    deltas: list[Delta]


_MARK = re.compile(r"(</?data) [0-9a-f]{8}>")


def _name(request: Request) -> str:
    """Name a request by what it asks; its seed and the code in its data marks differ from run to run."""
    messages = [(message.role, _MARK.sub(r"\1>", message.content)) for message in request.messages]
    return digest(canonical(msgspec.structs.replace(request, seed=None, messages=())) + canonical(messages))[:32]


class Recording:
    """Passes on another backend's answers and appends them to a file."""

    def __init__(self, inner: Backend, path: Path | str) -> None:
        self.inner = inner
        self.profile = inner.profile
        self._path = Path(path)
        if not self._path.exists():
            self._path.write_bytes(msgspec.json.encode({"profile": inner.profile}) + b"\n")

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer, and write down the answer once it is whole."""
        deltas: list[Delta] = []
        async with aclosing(self.inner.generate(request)) as stream:
            async for delta in stream:
                deltas.append(delta)
                yield delta
        line = _Line(_name(request), request.messages[-1].content[-80:], deltas)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    async def close(self) -> None:
        """Close who answers."""
        await self.inner.close()


class Recorded:
    """Says again what a recording holds; the same request more than once gets its recorded answers in turn."""

    profile: Profile

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        first, *rest = self._path.read_bytes().splitlines()
        self.profile = msgspec.convert(msgspec.json.decode(first)["profile"], Profile)
        self._answers: dict[str, list[list[Delta]]] = {}
        for line in rest:
            said = msgspec.json.decode(line, type=_Line)
            self._answers.setdefault(said.request, []).append(said.deltas)
        self._used: dict[str, int] = {}

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer as recorded.

        Raises:
            BackendUnavailable: the recording does not hold this request.
        """
        name = _name(request)
        known = self._answers.get(name)
        if known is None:
            raise BackendUnavailable(
                f"{self._path} has no answer to: {request.messages[-1].content[-200:]!r}; record it again"
            )
        place = self._used.get(name, 0)
        self._used[name] = place + 1
        for delta in known[place % len(known)]:
            yield delta

    async def close(self) -> None:
        """Nothing to free."""
