"""Names for requests and samples, the same in every run that asks the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from scaffold.vocabulary.canonical import canonical, digest

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Request

_CODE = re.compile(r"(?<=<data )[0-9a-f]{8}(?=>)|(?<=</data )[0-9a-f]{8}(?=>)")


def request_name(request: Request, of: str = "") -> str:
    """Name a request by all that it asks, however many samples of it and with whatever seed.

    The codes in the marks around data differ from run to run. Each is taken as the first, the second, and so on that
    occurs, so that two prompts have one name only if they differ in nothing but the choice of codes.

    Args:
        request: what is asked.
        of: who is asked, where that matters.
    """
    codes: dict[str, int] = {}
    turns = []
    for turn in request.messages:
        numbers = [codes.setdefault(code, len(codes)) for code in _CODE.findall(turn.content)]
        turns.append((turn.role, _CODE.split(turn.content), numbers, turn.blocks))
    rest = msgspec.structs.replace(request, messages=(), n=1, seed=None)
    return digest(canonical([of, turns, rest]))[:32]


def sample_name(request: Request, index: int) -> str:
    """Name one of a request's samples by what decides it.

    That is its seed, the same whether it is asked for alone or among others. Without a seed, and where the
    answer is the likeliest whatever the seed is, it is its number.
    """
    if request.seed is None or request.temperature == 0:
        return str(index)
    return f"seed {request.seed + index}"
