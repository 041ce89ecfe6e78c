"""Shows a model's output to a person during a run: as it is generated, or once oversight has released it.

The planner never sees pieces: it is sent whole Thoughts, whatever a person watches.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaffold.machinery.asking.streams import Reading
    from scaffold.vocabulary.models import Delta
    from scaffold.vocabulary.moves import Thought
    from scaffold.vocabulary.review import Verdict

Words = Literal["live", "cleared"]


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a model's output, for a person to see.

    Attributes:
        run: the run.
        key: the step's key.
        step: its kind.
        sample: which of its samples.
        reasoning: more of the readable reasoning.
        text: more of the answer.
        over: this sample is complete.
        withdrawn: why what was shown of it does not count; empty if it does so far.
    """

    run: str
    key: str
    step: str
    sample: int = 0
    reasoning: str = ""
    text: str = ""
    over: bool = False
    withdrawn: str = ""


class Showing:
    """Shows the steps of one run to whoever watches.

    Args:
        run: the run's id.
        words: `live` shows each piece once stream monitors have read it; `cleared` shows a step whole, once every
            review has passed it.
        show: called with each piece. If it raises, nothing more is shown, and the run goes on.
    """

    def __init__(self, run: str, words: Words, show: Callable[[Piece], None]) -> None:
        self._run = run
        self._show: Callable[[Piece], None] | None = show
        self._live = words == "live"

    def watch(self, key: str, step: str, readings: Sequence[Reading]) -> Sequence[Reading | Watched]:
        """Return the readings of a step's samples, wrapped to show the samples if they are shown live."""
        return (Watched(self, key, step, readings),) if self._live else readings

    def cleared(self, key: str, step: str, thought: Thought[object], sample: int) -> None:
        """Show a step's thought, once it is released."""
        if not self._live:
            said = {"reasoning": thought.reasoning, "text": thought.text}
            self.show(Piece(run=self._run, key=key, step=step, sample=sample, over=True, **said))

    def withdrawn(self, key: str, step: str, why: str, sample: int) -> None:
        """Show that a step's thought is withheld, or drawn again."""
        if self._live:
            self.show(Piece(run=self._run, key=key, step=step, sample=sample, over=True, withdrawn=why))

    def piece(self, key: str, step: str, delta: Delta, withdrawn: str) -> None:
        """Show one delta that monitors have read; for one that gets its sample cut off, show only that."""
        over = delta.finish is not None or bool(withdrawn)
        if withdrawn:
            said = {}
        elif delta.text or delta.reasoning or over:
            said = {"reasoning": delta.reasoning, "text": delta.text}
        else:
            return
        self.show(Piece(run=self._run, key=key, step=step, sample=delta.index, over=over, withdrawn=withdrawn, **said))

    def show(self, piece: Piece) -> None:
        """Show one piece."""
        if self._show is None:
            return
        try:
            self._show(piece)
        except Exception as error:  # noqa: BLE001 - a viewer's fault must not end the run
            self._show = None
            warnings.warn(f"showing the model's words failed, so no more of them are shown: {error!r}", stacklevel=2)


class Watched:
    """The readings of one step, and a person who sees what they let pass."""

    def __init__(self, showing: Showing, key: str, step: str, readings: Sequence[Reading]) -> None:
        self._showing = showing
        self._key = key
        self._step = step
        self._readings = readings

    @property
    def halts(self) -> Verdict | None:
        """The verdict that ends the run, if there is one."""
        return next((reading.halts for reading in self._readings if reading.halts is not None), None)

    def feed(self, delta: Delta) -> str:
        """Feed a piece to all readings, and show it."""
        said = [reading.feed(delta) for reading in self._readings]
        why = next((reason for reason in said if reason), "")
        self._showing.piece(self._key, self._step, delta, why)
        return why

    def close(self, sample: int) -> str:
        """Tell all readings that a sample is complete."""
        said = [reading.close(sample) for reading in self._readings]
        why = next((reason for reason in said if reason), "")
        if why:
            self._showing.withdrawn(self._key, self._step, why, sample)
        return why
