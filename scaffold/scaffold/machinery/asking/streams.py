"""Stream monitors: feeds them samples as they are generated, and handles their verdicts and failures."""

from __future__ import annotations

import time
from asyncio import CancelledError
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.machinery.recording.bounds import bounded
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.review import ALLOW, SEVERITY, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from scaffold.interfaces import StreamSession
    from scaffold.vocabulary.models import Delta
    from scaffold.vocabulary.review import MonitorSpec


_verdicts = msgspec.json.Decoder(Verdict)
_MOST = 100
# A monitor's fault is a finding. It does not wait for anything, so a cancellation that it raises is its own.
_ITS_FAULT = (Exception, SystemExit, CancelledError)
_clock = time.perf_counter


def whole(said: Any) -> Verdict:
    """Return what a monitor said if it is a valid Verdict in every field; raise otherwise."""
    if said is ALLOW:  # the most frequent, and known to be valid
        known: Verdict = said
        return known
    if type(said) is not Verdict:
        raise TypeError(f"returned a {type(said).__name__}, not a Verdict")
    if said == ALLOW:  # most do; return our own object, whatever theirs is made of
        return ALLOW
    if said.score is not None and not 0 <= said.score <= 1:
        raise ValueError(f"gave a score of {said.score!r}, which should be between 0 and 1")
    return _verdicts.decode(canonical(said))


def _at_once(what: str, said: Any) -> Any:
    """Return what a stream monitor's method returned, unless that has yet to be awaited."""
    if iscoroutine(said):
        said.close()  # else Python warns that it was never awaited
        raise TypeError(f"`{what}` is `async def`: a model's words are read as they come, so write it as plain `def`")
    return said


def unmade(verdict: Verdict, spec: MonitorSpec) -> Verdict:
    """Return what a verdict with another status than ok counts as: a check that was not made is never a pass."""
    lenient = SEVERITY[verdict.decision] < SEVERITY[spec.on_error]
    if verdict.status in {"ok", "abstain"} or not lenient:
        return verdict
    return msgspec.structs.replace(verdict, decision=spec.on_error)


class Reading:
    """One monitor's reading of one step. Once it has failed, it fails every sample, as its spec says.

    Attributes:
        verdicts: its verdicts so far; beyond a hundred, only those that end a sample.
        halts: the verdict that ends the run, if there is one.
    """

    def __init__(self, spec: MonitorSpec, settings: str, begin: Callable[[], StreamSession], *, binds: bool) -> None:
        self._spec = spec
        self._settings = settings
        self._binds = binds
        self._session: StreamSession | None = None
        self._failed: Verdict | None = None
        self._seconds = 0.0
        self.verdicts: list[Verdict] = []
        self.halts: Verdict | None = None
        try:
            self._session = _at_once("open", begin())
        except _ITS_FAULT as error:
            self._fail(error)

    def feed(self, delta: Delta) -> str:
        """Feed it a piece; return why its sample is to be cut off, or ""."""
        return self._hear("feed", delta)

    def close(self, sample: int) -> str:
        """Tell it that a sample is complete; return why the sample does not count, or ""."""
        return self._hear("close", sample)

    def _hear(self, what: str, about: Any) -> str:
        verdict = self._failed
        if verdict is None:
            began = _clock()
            try:
                said = getattr(self._session, what)(about)
                self._seconds += _clock() - began
                if said is None:
                    return ""
                verdict = self._signed(bounded(unmade(whole(_at_once(what, said)), self._spec)))
            except _ITS_FAULT as error:
                verdict = self._fail(error)
            else:
                self._keep(verdict)
        if not self._binds or verdict.decision in {"allow", "flag"}:
            return ""
        if verdict.decision == "halt":
            self.halts = verdict
        return f"cut by {verdict.monitor}: {verdict.decision}"

    def _keep(self, verdict: Verdict) -> None:
        """Keep a verdict; of a flood of verdicts that change nothing, keep the first ones and a note."""
        kept = len(self.verdicts)
        if kept < _MOST or verdict.decision not in {"allow", "flag"}:
            self.verdicts.append(verdict)
        elif kept == _MOST:
            said = (
                f"it gave more than {_MOST} verdicts on one step; of the rest, those that let a sample pass are not "
                "kept"
            )
            self.verdicts.append(self._signed(Verdict(decision="flag", status="truncated", rationale=said)))

    def _fail(self, error: BaseException) -> Verdict:
        said = f"{type(error).__name__}: {error}"
        self._failed = self._signed(bounded(Verdict(decision=self._spec.on_error, status="error", rationale=said)))
        self.verdicts.append(self._failed)
        return self._failed

    def _signed(self, verdict: Verdict) -> Verdict:
        """Add the monitor's name and settings, and the seconds it has read since its last verdict."""
        seconds, self._seconds = round(self._seconds, 6), 0.0
        return msgspec.structs.replace(
            verdict, monitor=self._spec.name, version=self._spec.version, settings=self._settings, seconds=seconds
        )
