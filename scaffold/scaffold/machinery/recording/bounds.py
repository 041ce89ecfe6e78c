"""Limits on the size of a verdict. An oversized one is cut, and its check counts as truncated."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from scaffold.vocabulary.review import ALLOW

if TYPE_CHECKING:
    from scaffold.vocabulary.review import Evidence, Verdict

_MOST_SPANS = 100
_MOST_OBJECTIONS = 10_000
_MOST_TEXT = 20_000  # characters


def bounded(verdict: Verdict) -> Verdict:
    """Return a verdict within the limits, in which each evidence span has the hash of its words.

    A cut verdict decides no less strictly than before. But if it let something pass, the full reason is lost, so its
    status is `truncated`.
    """
    if verdict is ALLOW:  # most are, and it holds nothing
        return verdict
    evidence, objections = verdict.evidence, verdict.objections
    if (
        len(verdict.rationale) > _MOST_TEXT
        or len(verdict.feedback) > _MOST_TEXT
        or len(objections) > _MOST_OBJECTIONS
        or len(evidence) > _MOST_SPANS
        or (evidence and any(len(span.quote) > _MOST_TEXT for span in evidence))
    ):
        verdict = msgspec.structs.replace(
            verdict,
            status="truncated" if verdict.status == "ok" else verdict.status,
            rationale=verdict.rationale[:_MOST_TEXT],
            feedback=verdict.feedback[:_MOST_TEXT],
            objections=objections[:_MOST_OBJECTIONS],
        )
    if not evidence:
        return verdict
    return msgspec.structs.replace(verdict, evidence=tuple([_hashed(span) for span in evidence[:_MOST_SPANS]]))


def _hashed(span: Evidence) -> Evidence:
    """Return an evidence span with the hash of all its words and a quote within the limit."""
    known = span.sha256 or sha256(span.quote.encode("utf-8", "surrogatepass")).hexdigest()
    return msgspec.structs.replace(span, quote=span.quote[:_MOST_TEXT], sha256=known)
