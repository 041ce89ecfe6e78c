"""How much of a backend's reasoning can be read: what its profile says, corrected by what its replies show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from scaffold.vocabulary.models import ReasoningVisibility

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scaffold.vocabulary.models import Profile, Sample, Usage

_ORDER: tuple[ReasoningVisibility, ...] = get_args(ReasoningVisibility)


def least(said: Iterable[ReasoningVisibility]) -> ReasoningVisibility:
    """The least readable of some; `absent` where there are none."""
    return max(said, key=_ORDER.index, default="absent")


def shown_by(samples: Sequence[Sample], usage: Usage) -> ReasoningVisibility | None:
    """What replies show of the reasoning behind them; None where they give no sign that there was any.

    A token is at least a character: a text with fewer characters than the reasoning tokens that were billed is
    not the whole of it. What a recorded answer was billed when it was given counts as if it were given now.
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
    """What one step's replies are told as: what they show, at most what their backend is known to; "" for no sign."""
    known = believed or ("full" if "reasoning" in profile.guessed else profile.reasoning)
    if shown is None:
        return "" if known == "full" else known
    return least((known, shown))


def corrected(
    profile: Profile, believed: ReasoningVisibility | None, shown: ReasoningVisibility
) -> ReasoningVisibility:
    """What to believe from now on.

    The least that was shown counts: a backend that hid something once may do so again. Only what the profile merely
    guessed can turn out better than it said.
    """
    if believed is None:
        if "reasoning" in profile.guessed:
            return shown
        believed = profile.reasoning
    return least((believed, shown))
