"""Backends that record another's answers, replay them without it, or cache them."""

from __future__ import annotations

import warnings
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from scaffold.errors import BackendUnavailable, BadInput
from scaffold.vocabulary.models import NO_USAGE, Origin
from scaffold.wrapping.answers import Answer, AnswerFile, Piece
from scaffold.wrapping.around import Around
from scaffold.wrapping.naming import request_name, sample_name
from scaffold.wrapping.scrubbing import scrubbed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from pathlib import Path

    from scaffold.interfaces import Backend
    from scaffold.vocabulary.models import Delta, Profile, Request, Usage

_SHOWN = 80  # characters of a prompt's end, for people who look into the file


class Recording(Around):
    """Passes on another backend's answers and records them, each request's once it is complete.

    What looks like a secret is replaced in the file, not in what is passed on.

    Args:
        inner: the backend that answers.
        path: the file to append to.
    """

    def __init__(self, inner: Backend, path: Path | str) -> None:
        super().__init__(inner)
        self.inner = inner
        self._file = AnswerFile(path, inner.profile)

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer, and record the answer before its last piece is passed on.

        Raises:
            BackendUnavailable: it cannot be recorded.
        """
        name = request_name(request)
        taken = _Taken(request)
        async with aclosing(self.inner.generate(request)) as stream:
            async for delta in stream:
                taken.take(delta)
                if delta.usage is not None:
                    names = [sample_name(request, index) for index in range(request.n)]
                    self._write([_without_secrets(each) for each in taken.answers(name, names, delta.usage)])
                yield delta

    def _write(self, answers: Sequence[Answer]) -> None:
        try:
            self._file.add(answers)
        except OSError as error:
            said = f"the answer could not be recorded in {str(self._file.path)!r}: {error.strerror}"
            raise BackendUnavailable(said) from error


class Recorded(Around):
    """Replays a recording, without the backend that made it.

    A sample requested with the seed that it was recorded with is replayed; otherwise the request's recorded answers
    come in turn, over and over. Usage is as recorded, so that budgets run as they did.

    Args:
        path: the file.

    Raises:
        BadInput: it is not a recording, or is empty.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = AnswerFile(path)
        self._used: dict[str, int] = {}
        super().__init__()

    def describe(self) -> Profile:
        """The profile of the backend that was recorded."""
        return self._file.profile

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer as recorded.

        Raises:
            BackendUnavailable: the recording does not hold this request, or cannot be read any more.
        """
        name = request_name(request)
        try:
            answers = [self._answer(request, name, index) for index in range(request.n)]
        except BadInput as error:
            raise BackendUnavailable(str(error)) from error
        usage = sum((answer.usage for answer in answers if answer.usage is not None), NO_USAGE)
        for index, answer in enumerate(answers):
            last = index == request.n - 1
            for delta in _again(answer, index, self.profile, usage if last else None):
                yield delta

    def _answer(self, request: Request, name: str, index: int) -> Answer:
        found = self._file.find(name, sample_name(request, index))
        if found is not None and request.seed is not None:
            return found
        known = self._file.find_all(name)
        if not known:
            said = request.messages[-1].content[-200:]
            raise BackendUnavailable(f"{self._file.path} has no answer to: {said!r}; record it again")
        place = self._used.get(name, 0)
        self._used[name] = place + 1
        return known[place % len(known)]


class Cached(Around):
    """Answers from a file what was asked before, and asks another backend for the rest, sample by sample.

    A sample is the same if everything in its request is, including the seed unless the temperature is 0; give runs a
    seed so that they find each other's samples. A sample from the file costs nothing, and its origin says so. Only
    complete samples are stored, and none with what looks like a secret.

    Args:
        inner: the backend that answers.
        path: the file of answers; several processes may share it.
        of: what else decides the answers, such as the backend's settings.
        most_bytes: the file grows no larger; what is in it stays. None means no limit.
    """

    def __init__(self, inner: Backend, path: Path | str, *, of: str = "", most_bytes: int | None = None) -> None:
        super().__init__(inner)
        self.inner = inner
        self._of = f"{inner.profile.backend}:{inner.profile.model}:{of}"
        self._file = AnswerFile(path, inner.profile, most_bytes=most_bytes)
        self._is_out = False  # of use: full, or not to be written or read

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Replay the samples that are known, and pass on the others as they come."""
        name = request_name(request, self._of)
        known = self._known(name, request)
        parts = list(_runs([index for index, answer in known.items() if answer is None]))
        found = [(index, answer) for index, answer in known.items() if answer is not None]
        for number, (index, answer) in enumerate(found):
            last = not parts and number == len(found) - 1
            for delta in _again(answer, index, self.profile, NO_USAGE if last else None, saves=True):
                yield delta
        usage = NO_USAGE
        for first, count in parts:
            last = (first, count) == parts[-1]
            async with aclosing(self._ask(request, name, first, count)) as stream:
                async for delta in stream:
                    if delta.usage is None:
                        yield delta
                        continue
                    usage += delta.usage
                    yield msgspec.structs.replace(delta, usage=usage if last else None)

    def _known(self, name: str, request: Request) -> dict[int, Answer | None]:
        try:
            return {index: self._file.find(name, sample_name(request, index)) for index in range(request.n)}
        except BadInput as error:
            if not self._is_out:
                warnings.warn(f"answers are neither looked up nor kept: {error}", stacklevel=2)
            self._is_out = True
            return dict.fromkeys(range(request.n))

    async def _ask(self, request: Request, name: str, first: int, count: int) -> AsyncGenerator[Delta]:
        """Ask for `count` samples from number `first` on, and keep them."""
        seed = None if request.seed is None else request.seed + first
        part = msgspec.structs.replace(request, n=count, seed=seed)
        taken = _Taken(part)
        names = [sample_name(request, first + index) for index in range(count)]
        async with aclosing(self.inner.generate(part)) as stream:
            async for delta in stream:
                taken.take(delta)
                if delta.usage is not None:
                    self._keep(taken.answers(name, names, delta.usage, only_whole=True))
                yield msgspec.structs.replace(delta, index=first + delta.index)

    def _keep(self, answers: Sequence[Answer]) -> None:
        fit = [answer for answer in answers if _without_secrets(answer) is answer]
        if self._is_out or not fit:
            return
        try:
            self._is_out = not self._file.add(fit)
        except OSError as error:
            warnings.warn(f"answers are not kept in {str(self._file.path)!r}: {error.strerror}", stacklevel=2)
            self._is_out = True
        else:
            if self._is_out:
                warnings.warn(f"{str(self._file.path)!r} is full: no further answers are kept", stacklevel=2)


class _Taken:
    """The samples of one request, as they come."""

    def __init__(self, request: Request) -> None:
        self._prompt = scrubbed(request.messages[-1].content)[-_SHOWN:] if request.messages else ""
        self._pieces: dict[int, list[Piece]] = {index: [] for index in range(request.n)}

    def take(self, delta: Delta) -> None:
        """Take down a piece."""
        if delta.index in self._pieces:
            self._pieces[delta.index].append(Piece.of(delta))

    def answers(self, name: str, samples: Sequence[str], usage: Usage, *, only_whole: bool = False) -> list[Answer]:
        """Give the samples as they are to be kept; what they cost together stands on the first."""
        answers: list[Answer] = []
        for pieces, sample in zip(self._pieces.values(), samples, strict=True):
            finish = next((piece.finish for piece in pieces if piece.finish is not None), None)
            if finish in {"stop", "length"} or (finish is not None and not only_whole):
                said = None if answers else usage
                answers.append(
                    Answer(request=name, sample=sample, prompt=self._prompt, pieces=tuple(pieces), usage=said)
                )
        return answers


def _runs(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Group numbers that follow one another: the first of each group, and how many they are."""
    start = 0
    for place, index in enumerate(indices):
        if place + 1 == len(indices) or indices[place + 1] != index + 1:
            yield indices[start], place + 1 - start
            start = place + 1


def _again(
    answer: Answer, index: int, profile: Profile, usage: Usage | None, *, saves: bool = False
) -> Iterator[Delta]:
    """Make a recorded sample's pieces again, as sample `index`; the last says where it is from, and the usage."""
    for piece in answer.pieces[:-1]:
        yield piece.delta(index)
    last = answer.pieces[-1].delta(index)
    gave = last.origin or Origin(backend=profile.backend, model=profile.model)
    origin = msgspec.structs.replace(gave, recorded=True, saved=answer.usage if saves else None)
    yield msgspec.structs.replace(last, usage=usage, origin=origin)


def _without_secrets(answer: Answer) -> Answer:
    """Give an answer without what looks like a secret: the same object when there is none.

    A secret may be spread over several pieces. So what held one becomes a single piece.
    """
    text = "".join(piece.text for piece in answer.pieces)
    reasoning = "".join(piece.reasoning for piece in answer.pieces)
    kept = scrubbed(text), scrubbed(reasoning)
    blocks = [piece.block for piece in answer.pieces if piece.block is not None]
    if kept == (text, reasoning) and all(scrubbed(block.text) == block.text for block in blocks):
        return answer
    bare = [msgspec.structs.replace(piece, text="", reasoning="", block=None) for piece in answer.pieces]
    first = Piece(text=kept[0], reasoning=kept[1])
    return msgspec.structs.replace(answer, pieces=(first, *(piece for piece in bare if piece != Piece())))
