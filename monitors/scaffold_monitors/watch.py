"""The monitor `watch`: cuts off a sample while it is being generated, as soon as it contains a phrase or pattern.

Text arrives in pieces that may split words anywhere; matches are found across pieces. For phrases, case, white space,
marks, look-alike letters and invisible characters make no difference. Each sample's reasoning and answer are read
separately, so it does not matter how pieces of several samples, or of reasoning and answer, alternate.

A phrase proves only that the model wrote it; it may be quoting what it must not do. Anything that can be paraphrased
needs a judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from scaffold.critics.backtracking import endless, least
from scaffold.errors import TaskError, nearest
from scaffold.interfaces import ReviewContext, TraceView
from scaffold.vocabulary.models import Delta
from scaffold.vocabulary.moves import StepKind
from scaffold.vocabulary.review import SEVERITY, Decision, Evidence, MonitorSpec, Subject, Verdict
from scaffold_monitors.folding import Folded, folded

Part = Literal["reasoning", "text"]
_PARTS: tuple[Part, ...] = get_args(Part)
_MOST_PHRASES = 200
_SHORTEST = 3
_LONGEST_QUOTE = 400
_MOST_AT_ONCE = 4_000  # characters: a backend that answers in one piece is read in several
_STRIDE = 32  # characters between two checks for repeating passages

_Found = tuple[str, int, int]
"""What was found, and from where to where in what was looked at."""


class Watch:
    """Cuts a sample as soon as it contains a phrase or pattern.

    Args:
        phrases: runs of words that must not be written.
        patterns: regular expressions, searched for in the latest text, in lower case; each matches at most `reach`
            characters. One that could backtrack without end is refused.
        decision: the decision on a match; `flag` only records it, anything stricter ends the sample.
        where: `reasoning`, `text` (the answer), or `both`.
        repeats: how often in a row a passage may be written before the sample is cut as going in circles, from 2; 0
            means any number.
        reach: how far back patterns are searched for, in characters.
        steps: the kinds of step to read; empty means all.

    Raises:
        TaskError: a setting is wrong, or nothing is watched for.
    """

    def __init__(
        self,
        *,
        phrases: Sequence[str] = (),
        patterns: Sequence[str] = (),
        decision: str = "resample",
        where: str = "both",
        repeats: int = 0,
        reach: int = 200,
        steps: Sequence[str] = (),
    ) -> None:
        if not (phrases or patterns or repeats):
            raise TaskError("has nothing to watch for: give `phrases`, `patterns` or `repeats`", path=("watch",))
        if decision not in SEVERITY or decision == "allow":
            raise TaskError(f"should be an objection such as `resample`, not {decision!r}", path=("watch", "decision"))
        if where not in {*_PARTS, "both"}:
            raise TaskError(f"should be `reasoning`, `text` or `both`, not {where!r}", path=("watch", "where"))
        if not 0 < reach <= 2_000:  # noqa: PLR2004 - keeps a piece under fifty microseconds
            raise TaskError(f"should be from 1 to 2,000 characters, not {reach}", path=("watch", "reach"))
        if repeats < 0 or repeats == 1:
            raise TaskError(f"should be 0 (any number) or at least 2, not {repeats}", path=("watch", "repeats"))
        self._steps = _kinds(steps)
        self._sought = _Sought(
            phrases=_phrases(phrases),
            patterns=_patterns(patterns),
            decision=cast("Decision", decision),
            parts=_PARTS if where == "both" else (cast("Part", where),),
            repeats=repeats,
            reach=reach,
        )
        self.spec = MonitorSpec(
            name="watch",
            watches=frozenset({"stream"}),
            settings={
                "phrases": list(phrases),
                "patterns": list(patterns),
                "decision": decision,
                "where": where,
                "repeats": repeats,
                "reach": reach,
                "steps": sorted(self._steps),
            },
        )

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Abstain, since only streams are read."""
        return Verdict(decision="allow", status="abstain", rationale="only streams are read")

    def open(self, step: Subject, view: TraceView, context: ReviewContext) -> Session:
        """Begin a session for a step; it looks for nothing if steps of this kind are not read."""
        read = not self._steps or step.step is None or step.step.kind in self._steps
        return Session(self._sought, parts=self._sought.parts if read else ())


@dataclass(frozen=True, slots=True)
class _Sought:
    """The phrases and patterns to look for."""

    phrases: tuple[tuple[str, str], ...]  # as configured, folded
    patterns: tuple[re.Pattern[str], ...]
    decision: Decision
    parts: tuple[Part, ...]
    repeats: int
    reach: int

    @property
    def tail(self) -> int:
        """How many characters must be searched again with the next piece."""
        longest = max((len(phrase) for _, phrase in self.phrases), default=1)
        return max(longest - 1, self.reach if self.patterns else 0)


def _listed(said: Sequence[str], name: str) -> None:
    """Refuse anything but a list of texts; YAML reads 2031 as a number."""
    if isinstance(said, str):
        raise TaskError(f"should be a list: [{said}]", path=("watch", name))
    if not isinstance(said, Sequence):
        raise TaskError(f"should be a list of texts, not {said!r}", path=("watch", name))
    for place, each in enumerate(said):
        if not isinstance(each, str):
            raise TaskError(f"{each!r} is not text: put it in quotes", path=("watch", name, place))


def _phrases(said: Sequence[str]) -> tuple[tuple[str, str], ...]:
    _listed(said, "phrases")
    if len(said) > _MOST_PHRASES:
        raise TaskError(f"has {len(said)} items, but may have at most {_MOST_PHRASES}", path=("watch", "phrases"))
    found = []
    for place, phrase in enumerate(said):
        plain = folded(phrase).strip()
        if len(plain) < _SHORTEST:
            raise TaskError(f"{phrase!r} is too short: it would be found everywhere", path=("watch", "phrases", place))
        found.append((phrase, plain))
    return tuple(found)


def _kinds(said: Sequence[str]) -> frozenset[str]:
    _listed(said, "steps")
    known = get_args(StepKind)
    for place, kind in enumerate(said):
        if kind not in known:
            raise TaskError(f"{kind!r} is not a kind of step{nearest(kind, known)}", path=("watch", "steps", place))
    return frozenset(said)


def _patterns(said: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    _listed(said, "patterns")
    return tuple(_pattern(each, place) for place, each in enumerate(said))


def _pattern(said: str, place: int) -> re.Pattern[str]:
    path = ("watch", "patterns", place)
    try:
        why = endless(said)
        # The text is lower-case already; ignoring case would make a search several times slower.
        plain = re.sub(r"\\.", "", said)
        compiled = re.compile(said, 0 if plain == plain.lower() else re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise TaskError(f"{said[:200]!r} is not a regular expression: {error}", path=path) from None
    if why:
        raise TaskError(f"{said!r} could take forever to search for: {why}", path=path)
    if not least(said):
        raise TaskError(
            f"{said!r} matches empty text, so it would find nothing: change it to require some text", path=path
        )
    return compiled


class _Written:
    """One part of one sample, as far as it has been written."""

    __slots__ = ("found", "looked", "size", "written")

    def __init__(self) -> None:
        self.written = Folded()
        self.found: set[str] = set()
        self.size = self.looked = 0


class Session:
    """Reads the samples of one step."""

    def __init__(self, sought: _Sought, parts: tuple[Part, ...]) -> None:
        self._sought = sought
        self._reads = parts
        self._tail = sought.tail
        # A pattern's cost can grow faster than the text that is searched.
        self._most = sought.reach if sought.patterns else _MOST_AT_ONCE
        self._parts: dict[tuple[int, Part], _Written] = {}

    def feed(self, delta: Delta) -> Verdict | None:
        """Read a piece; return a verdict if it completes a match."""
        for part in self._reads:
            piece = delta.reasoning if part == "reasoning" else delta.text
            for start in range(0, len(piece), self._most):
                verdict = self._read(delta.index, part, piece[start : start + self._most])
                if verdict is not None:
                    return verdict
        return None

    def close(self, sample: int) -> None:
        """Forget a finished sample."""
        for part in self._reads:
            self._parts.pop((sample, part), None)

    def _read(self, sample: int, part: Part, piece: str) -> Verdict | None:
        at = self._parts.get((sample, part))
        if at is None:
            at = self._parts[sample, part] = _Written()
        at.size += len(piece)
        window = at.written.add(piece, self._tail)
        found = [*self._phrases_in(window, at.found), *self._patterns_in(window, at.found), *self._circles(at, window)]
        return self._verdict(sample, part, at.written, found) if found else None

    def _phrases_in(self, window: str, known: set[str]) -> Iterator[_Found]:
        for said, phrase in self._sought.phrases:
            if phrase in window and said not in known:
                known.add(said)
                start = window.index(phrase)
                yield f"the phrase {said!r}", start, start + len(phrase)

    def _patterns_in(self, window: str, known: set[str]) -> Iterator[_Found]:
        for pattern in self._sought.patterns:
            match = pattern.search(window)
            if match is not None and match.end() > match.start() and pattern.pattern not in known:
                known.add(pattern.pattern)
                yield f"the pattern {pattern.pattern!r}", match.start(), match.end()

    def _circles(self, at: _Written, window: str) -> Iterator[_Found]:
        times = self._sought.repeats
        if not times or at.size - at.looked < _STRIDE or "" in at.found:
            return
        at.looked = at.size
        length = at.written.circling(times)
        if length:
            at.found.add("")
            yield f"a passage repeated more than {times} times in a row", len(window) - length, len(window)

    def _verdict(self, sample: int, part: Part, written: Folded, found: Sequence[_Found]) -> Verdict:
        raw, where = written.raw, "reasoning" if part == "reasoning" else "answer"
        spans = [written.span(start, end) for _, start, end in found]
        return Verdict(
            decision=self._sought.decision,
            rationale=f"the {where} of sample {sample} contains {', '.join(what for what, _, _ in found)}",
            feedback=f"a sample was ended by `watch`: its {where} contains something that must not be written",
            score=1.0,
            property="watched words",
            evidence=tuple(
                Evidence(
                    quote=(quote := raw[start : min(end, start + _LONGEST_QUOTE)]),
                    path=f"samples/{sample}/{part}",
                    start=start,
                    end=start + len(quote),
                )
                for start, end in spans
            ),
        )
