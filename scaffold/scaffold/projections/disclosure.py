"""Decides what content spans may contain: none, unless the user asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanLimits

from scaffold.projections import environment
from scaffold.projections.conventions import as_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.projections.conventions import Attributes


class Disclosure:
    """Adds content to attributes if it is captured, cut to the length that `OTEL_*_LENGTH_LIMIT` allows.

    Attributes:
        on: whether content is captured; None in the constructor defers to the environment.
    """

    def __init__(self, *, capture: bool | None = None) -> None:
        said = environment.captures_content()
        self._refused = said is False and capture is None
        self._settled = capture is not None
        self.on = bool(said) if capture is None else capture
        self._longest = SpanLimits().max_span_attribute_length

    def ask(self, *, allowed: bool) -> None:
        """Apply the task's setting: a no always holds, a yes unless the environment says no."""
        self.on = allowed and (self.on if self._settled else not self._refused)

    def show(self, attributes: Attributes, name: str, value: Any, render: Callable[[Any], str] = as_text) -> None:
        """Add one piece of content; None and the empty text are skipped."""
        if self.on and value is not None and value != "":
            attributes[name] = render(value)[: self._longest]

    def text(self, value: Any) -> str:
        """Render content as text; empty if it must not be shown."""
        return as_text(value)[: self._longest] if self.on and value is not None else ""
