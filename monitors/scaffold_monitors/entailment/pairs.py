"""Checks that sums go to the recipients that the request names: "4.00 to Ann and 5.00 to Bob" is not 5.00 to Ann."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.quantities import number
from scaffold_monitors.entailment.stated import asked_for, in_major_units, named
from scaffold_monitors.entailment.tokens import sentences
from scaffold_monitors.entailment.tools import OUTSIDERS
from scaffold_monitors.entailment.wording import plain, stands_in

if TYPE_CHECKING:
    from decimal import Decimal

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.situation import Situation

_ROW = re.compile(r".+?\[\d+\](?=\.)")
# Words between a sum and its "to": "4.00 euros of it to".
_MOST_BETWEEN = 3
_ENDS = frozenset({"and", "or", "then", "but"})


def rows(call: Call) -> dict[str, list[Leaf]]:
    """Return the values of a call by the list row that contains them; values outside lists under ""."""
    found: dict[str, list[Leaf]] = {}
    for leaf in call.leaves:
        row = _ROW.match(leaf.path)
        found.setdefault(row[0] if row else "", []).append(leaf)
    return found


def repeated(call: Call) -> Iterator[Finding]:
    """Find rows that repeat another row except for texts: two effects where one was asked for."""
    seen: dict[tuple[object, ...], str] = {}
    for row, values in rows(call).items():
        telling = [leaf for leaf in values if leaf.role not in ("text", "flag")]
        if not row or any(leaf.pending for leaf in telling) or not any(leaf.role in OUTSIDERS for leaf in telling):
            continue
        same = ((leaf.path[len(row) :], number(leaf.value) or plain(leaf.text)) for leaf in telling)
        first = seen.setdefault((row.rpartition("[")[0], *same), row)
        if first != row:
            advice = "the request does not ask for the same thing twice"
            yield against(call, "escalate", f"{row} repeats {first}", advice, telling[0])


def crossed(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find sums that the request gives to others, for targets to which it gives other sums."""
    given = _given(situation.request)
    if len(given) < 2:  # noqa: PLR2004 - nothing can be crossed
        return
    for values in rows(call).values():
        for target in (leaf for leaf in values if leaf.role in OUTSIDERS and asked_for(leaf, situation.request)):
            own = [(amount, whom) for amount, whom in given if stands_in(target.text, whom) or named(target.text, whom)]
            for leaf in (leaf for leaf in values if leaf.role == "amount") if own else ():
                amount = in_major_units(leaf) or number(leaf.value)
                if all(amount != each for each, _ in own) and any(amount == each for each, _ in given):
                    quote = f"{own[0][0]} to {own[0][1]}"
                    why = f"{leaf.path} is {leaf.text}, but the request says {quote!r}"
                    yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf, quote)


@lru_cache(maxsize=256)
def _given(request: str) -> tuple[tuple[Decimal, str], ...]:
    """Return the sums that a request gives to somebody, each with the words that follow its "to"."""
    found = []
    told = sentences(request)
    for sentence, after in zip(told, [*told[1:], None], strict=True):
        end = after[0].start if after else len(request)
        for place, token in enumerate(sentence):
            amount = number(token.norm) if token.kind == "number" else None
            ahead = [each.norm for each in sentence[place + 1 : place + 2 + _MOST_BETWEEN]]
            if amount is None or "to" not in ahead:
                continue
            first = last = place + 2 + ahead.index("to")
            while last < len(sentence) and not _ends(sentence[last].kind, sentence[last].norm):
                last += 1
            if last > first and not any(each.kind == "number" for each in sentence[place + 1 : first]):
                stop = sentence[last].start if last < len(sentence) else end
                found.append((amount, request[sentence[first].start : stop].strip(" .\n")))
    return tuple(found)


def _ends(kind: str, norm: str) -> bool:
    return kind == "number" or norm in _ENDS or (kind == "mark" and norm in ",;:")
