"""Assembles the streamed pieces of several samples into whole lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.cli.speech import line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.machinery.asking.showing import Piece

_LONGEST = 2_000


class Overheard:
    """Assembles pieces of samples, which come in any order, into whole lines labelled with their source."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int, str], str] = {}

    def lines(self, piece: Piece) -> Iterator[str]:
        """Yield the lines that a piece completes."""
        for kind, words in (("reasoning", piece.reasoning), ("answer", piece.text)):
            at = (piece.key, piece.sample, kind)
            *whole, rest = (self._begun.pop(at, "") + words).split("\n")
            if rest and (piece.over or len(rest) > _LONGEST):
                whole.append(rest)
            elif rest:
                self._begun[at] = rest
            yield from (f"{self._whose(piece)}, {kind}: {line(each)}" for each in whole if each.strip())
        if piece.withdrawn:
            yield f"{self._whose(piece)}: withdrawn: {line(piece.withdrawn)}"

    @staticmethod
    def _whose(piece: Piece) -> str:
        return f"{piece.step} {piece.key}" + (f" #{piece.sample}" if piece.sample else "")
