"""The live view of a run in a terminal: past events scroll by, and below them is what is under way."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from scaffold.cli.narration import Narrator, is_shown
from scaffold.cli.overhearing import Overheard
from scaffold.cli.speech import line, plain
from scaffold.errors import count
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.models import NO_USAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.machinery.asking.showing import Piece
    from scaffold.vocabulary.events import Event

_STYLES = {"plain": "", "good": "green", "bad": "bold red", "wait": "yellow", "quiet": "dim"}
_SHOWN = 8
_MINUTE = 60


class LiveView:
    """Shows one run; `rich` draws it again a few times a second."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._verbose = verbose
        self._narrator = Narrator()
        self._overheard = Overheard()
        self._started = time.monotonic()
        self._steps: dict[str, tuple[str, float, int]] = {}
        self._acting: dict[str, str] = {}
        self._verdict = Text()
        self._answered = 0
        self._votes = 0
        self._spent = {"model": NO_USAGE, "oversight": NO_USAGE}
        self._preparing: tuple[str, float] | None = None
        self._held: list[Text] | None = None
        self._spinner = Spinner("dots", style="cyan")
        self._live = self._begin()

    def _begin(self) -> Live:
        live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=8, transient=True)
        live.start()
        return live

    # --- what comes in

    def event(self, event: Event, body: bytes) -> None:
        self._preparing = None
        told = self._narrator.tell(event, body)
        match event:
            case ev.StepAsked():
                self._steps[event.key] = (
                    event.step if event.ledger == "model" else f"{event.step} (oversight)",
                    time.monotonic(),
                    1,
                )
            case ev.StepReserved() if event.key in self._steps:
                name, since, rounds = self._steps[event.key]
                self._steps[event.key] = (name, since, rounds + 1)
            case ev.StepAnswered():
                self._steps.pop(event.key, None)
                self._answered += event.ledger == "model"
                self._votes += event.samples
                self._spent[event.ledger] = self._spent[event.ledger] + event.usage
            case ev.StepCut():
                self._steps.pop(event.key, None)
                self._spent[event.ledger] = self._spent[event.ledger] + event.usage
            case ev.Reviewed():
                self._verdict = _verdicts(event)
            case ev.ActionIntent():
                self._acting[event.key] = event.action
            case ev.ActionOutcome() | ev.ActionWithdrawn():
                self._acting.pop(event.key, None)
            case _:
                pass
        if told is not None and is_shown(event, told, verbose=self._verbose):
            self._print(Text(told.text, style=_STYLES[told.tone]))

    def earlier(self, event: Event, body: bytes) -> None:
        self._narrator.tell(event, body)

    def piece(self, piece: Piece) -> None:
        for text in self._overheard.lines(piece):
            self._print(Text(text, style=_STYLES["quiet"]))

    def preparing(self, what: str, fraction: float) -> None:
        self._preparing = (line(what), fraction)

    def say(self, text: str) -> None:
        self._print(Text(text))

    def _print(self, text: Text) -> None:
        if self._held is None:
            self._console.print(text)
        else:
            self._held.append(text)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal to a prompt; events during it are shown afterwards."""
        self._live.stop()
        held: list[Text] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            for text in held:
                self._console.print(text)
            # A new display, since the old one would erase as many lines as it had before.
            self._live = self._begin()

    def close(self) -> None:
        self._live.stop()

    # --- what is drawn

    def _draw(self) -> RenderableType:
        if self._preparing is not None:
            return self._bar(*self._preparing)
        rows = Table.grid(padding=(0, 1))
        under_way = list(self._steps.items())
        for key, (name, since, rounds) in under_way[:_SHOWN]:
            more = f"round {rounds}" if rounds > 1 else ""
            rows.add_row(self._spinner, name, Text(key, style="dim"), more, Text(_elapsed(since), style="dim"))
        for key, action in list(self._acting.items())[:_SHOWN]:
            rows.add_row(self._spinner, Text(plain(action), style="bold"), Text(key, style="dim"), "acting", "")
        if len(under_way) > _SHOWN:
            rows.add_row("", Text(f"and {len(under_way) - _SHOWN} more", style="dim"), "", "", "")
        return Group(rows, self._footer())

    def _bar(self, what: str, fraction: float) -> RenderableType:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(Text(what), ProgressBar(total=1.0, completed=fraction, width=30), f"{fraction:.0%}")
        return bar

    def _footer(self) -> RenderableType:
        model, oversight = self._spent["model"], self._spent["oversight"]
        parts = [
            count(self._answered, "step"),
            f"{self._votes:,} samples",
            f"{model.tokens + oversight.tokens:,} tokens",
        ]
        usd = (model.usd or 0.0) + (oversight.usd or 0.0)
        if usd:
            parts.append(f"${usd:.4f}")
        parts.append(_elapsed(self._started))
        footer = Text(" · ".join(parts), style="dim")
        return Group(footer, self._verdict) if self._verdict else footer


def _verdicts(event: ev.Reviewed) -> Text:
    said = Text(f"{event.subject}: ", style="dim")
    for fact in event.verdicts:
        style = {"allow": "green", "flag": "yellow"}.get(fact.decision, "bold red")
        said.append(f"{plain(fact.monitor)} {fact.decision} ", style=style)
    return said


def _elapsed(since: float) -> str:
    minutes, seconds = divmod(round(time.monotonic() - since), _MINUTE)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
