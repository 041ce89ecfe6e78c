"""Reads samples while they are generated: what monitors of streams say, and what their silence means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.review import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.interfaces import StreamSession
    from scaffold.vocabulary.models import Delta
    from scaffold.vocabulary.review import MonitorSpec


_verdicts = msgspec.json.Decoder(Verdict)


def whole(said: Any) -> Verdict:
    """What a monitor said, if it is a verdict down to its last field; nothing else can be relied on."""
    if type(said) is not Verdict:
        raise TypeError(f"said a {type(said).__name__}, not a Verdict")
    if said.score is not None and not 0 <= said.score <= 1:
        raise ValueError(f"said a score of {said.score!r}: it has to lie between 0 and 1")
    return _verdicts.decode(canonical(said))


class Reading:
    """One monitor's reading of one step; once it has failed, it fails every sample, as its spec says.

    Attributes:
        verdicts: what it has said so far.
    """

    def __init__(self, spec: MonitorSpec, settings: str, begin: Callable[[], StreamSession], *, binds: bool) -> None:
        self._spec = spec
        self._settings = settings
        self._binds = binds
        self._session: StreamSession | None = None
        self._failed: Verdict | None = None
        self.verdicts: list[Verdict] = []
        try:
            self._session = begin()
        except Exception as error:  # noqa: BLE001 - a monitor's fault is a finding, not ours to raise
            self._fail(error)

    def feed(self, delta: Delta) -> str:
        """Have a piece read; gives why its sample is to be cut off, or nothing."""
        return self._hear("feed", delta)

    def close(self, sample: int) -> str:
        """Say that a sample is whole; gives why it does not count, or nothing."""
        return self._hear("close", sample)

    def _hear(self, what: str, about: Any) -> str:
        verdict = self._failed
        if verdict is None:
            try:
                said = getattr(self._session, what)(about)
                verdict = None if said is None else self._signed(whole(said))
            except Exception as error:  # noqa: BLE001 - as above
                verdict = self._fail(error)
            else:
                if verdict is None:
                    return ""
                self.verdicts.append(verdict)
        if not self._binds or verdict.decision in {"allow", "flag"}:
            return ""
        return f"cut by {verdict.monitor}: {verdict.decision}"

    def _fail(self, error: Exception) -> Verdict:
        said = f"{type(error).__name__}: {error}"
        self._failed = self._signed(Verdict(decision=self._spec.on_error, status="error", rationale=said))
        self.verdicts.append(self._failed)
        return self._failed

    def _signed(self, verdict: Verdict) -> Verdict:
        return msgspec.structs.replace(verdict, monitor=self._spec.name, settings=self._settings)
