"""How much of a backend's reasoning can be read: what its profile says, corrected by what its replies show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from scaffold.vocabulary.models import ReasoningVisibility

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scaffold.vocabulary.models import Profile, Sample, Usage

_ORDER: tuple[ReasoningVisibility, ...] = get_args(ReasoningVisibility)


def least(said: Iterable[ReasoningVisibility]) -> ReasoningVisibility:
    """Return the least readable; `absent` if there are none."""
    return max(said, key=_ORDER.index, default="absent")


def shown_by(samples: Sequence[Sample], usage: Usage) -> ReasoningVisibility | None:
    """Return how much of the reasoning behind them replies show; None if there is no sign of any.

    A token has at least one character, so a text with fewer characters than billed reasoning tokens is incomplete. A
    recorded answer counts with what it was billed originally.
    """
    for sample in samples:
        if sample.reasoning or sample.blocks or sample.origin is not None:
            break
    else:  # as of most steps
        if not usage.reasoning:
            return None
    kinds = {block.kind for sample in samples for block in sample.blocks}
    length = sum(len(sample.reasoning) for sample in samples)
    saved = [sample.origin.saved for sample in samples if sample.origin is not None]
    billed = usage.reasoning + sum(each.reasoning for each in saved if each is not None)
    if "redacted" in kinds:
        return "redacted"
    if not length:
        return "absent" if billed else None
    return "summary" if "summary" in kinds or length < billed else "full"


def told(
    profile: Profile, believed: ReasoningVisibility | None, shown: ReasoningVisibility | None
) -> ReasoningVisibility | Literal[""]:
    """Return what one step shows: its replies, but at most what is known of its backend; "" for no sign."""
    known = believed or ("full" if "reasoning" in profile.guessed else profile.reasoning)
    if shown is None:
        return "" if known == "full" else known
    return least((known, shown))


def corrected(
    profile: Profile, believed: ReasoningVisibility | None, shown: ReasoningVisibility
) -> ReasoningVisibility:
    """Return what to assume from now on.

    The least that was shown counts: a backend that hid something once may do so again. Only a profile's guess can turn
    out better than it said.
    """
    if believed is None:
        if "reasoning" in profile.guessed:
            return shown
        believed = profile.reasoning
    return least((believed, shown))
