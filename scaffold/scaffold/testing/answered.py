"""Reads a backend's stream to its end, and finds faults in the order of its pieces."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from scaffold.vocabulary.models import NO_USAGE, Delta, Finish, Request, Sample, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.interfaces import Backend


@dataclass(frozen=True)
class Answered:
    """A request and its whole answer.

    Attributes:
        request: the request.
        deltas: the deltas, in order.
    """

    request: Request
    deltas: tuple[Delta, ...]

    @property
    def texts(self) -> list[str]:
        """The text of each sample."""
        return [sample.text for sample in self.samples]

    @property
    def samples(self) -> list[Sample]:
        """The samples, each assembled from its deltas."""
        return [_sample(self.deltas, index) for index in sorted({delta.index for delta in self.deltas})]

    @property
    def usage(self) -> Usage:
        """The usage."""
        return sum((delta.usage for delta in self.deltas if delta.usage is not None), NO_USAGE)

    @property
    def charged(self) -> Usage:
        """The usage, including what recorded answers cost when first given."""
        saved = [sample.origin.saved for sample in self.samples if sample.origin is not None]
        return sum((usage for usage in saved if usage is not None), self.usage)


def _sample(deltas: Sequence[Delta], index: int) -> Sample:
    pieces = [delta for delta in deltas if delta.index == index]
    finishes = [piece.finish for piece in pieces if piece.finish is not None]
    origins = [piece.origin for piece in pieces if piece.origin is not None]
    return Sample(
        index=index,
        text="".join(piece.text for piece in pieces),
        reasoning="".join(piece.reasoning for piece in pieces),
        finish=finishes[-1] if finishes else "cut",
        blocks=tuple(piece.block for piece in pieces if piece.block is not None),
        origin=origins[-1] if origins else None,
    )


async def read(backend: Backend, request: Request) -> Answered:
    """Read a stream to its end."""
    async with aclosing(backend.generate(request)) as stream:
        return Answered(request, tuple([delta async for delta in stream]))


def faults(request: Request, deltas: Sequence[Delta]) -> list[str]:
    """Find faults in the order of a stream; none if it is as the Protocol requires."""
    wrong = []
    over: set[int] = set()
    for place, delta in enumerate(deltas):
        if type(delta) is not Delta:
            return [f"piece {place} should be a Delta, but is a {type(delta).__name__}"]
        if not 0 <= delta.index < request.n:
            wrong.append(f"piece {place} belongs to sample {delta.index}, but the request asks for {request.n}")
        if delta.index in over and (delta.text or delta.reasoning or delta.finish):
            wrong.append(f"piece {place} comes after the end of its sample {delta.index}")
        if delta.finish is not None:
            over.add(delta.index)
            if delta.finish not in get_args(Finish):
                wrong.append(f"sample {delta.index} has finish {delta.finish!r}, not one of {get_args(Finish)}")
        if delta.usage is not None and place < len(deltas) - 1:
            wrong.append(f"piece {place} of {len(deltas)} has a usage, but only the last may have one")
    open_ = set(range(request.n)) - over
    if open_:
        wrong.append(f"samples {sorted(open_)} have no piece with a finish")
    if not deltas or deltas[-1].usage is None:
        wrong.append("the last piece has no usage")
    return wrong
