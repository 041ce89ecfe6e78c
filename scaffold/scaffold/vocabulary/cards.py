"""What a backend says of itself before it is made, or even imported."""

from __future__ import annotations

from typing import Literal

import msgspec

from scaffold.vocabulary.models import Ability, ReasoningVisibility

Pricing = Literal["free", "listed", "unknown"]


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `scaffold plugins` tells of a backend: its profile, as far as that does not hang on the model named.

    An entry point of the group `scaffold.cards`, of the backend's own name, gives it. Its module must import nothing
    heavy: that is the point.

    Attributes:
        about: one sentence.
        example: a spec to use it by.
        can: what it can do, with the settings that it has by itself.
        may: what it can do besides, with an option or with some models.
        reasoning: how much of the reasoning can be read: what its models show, from most to least.
        prices: `free`, `listed` in a price table, or `unknown` unless an option says.
        trust: whether its answers may steer irreversible actions unseen, unless an option says otherwise.
        around: it is made around other backends: its profile follows from theirs.
        modules: what has to be importable.
        install: the command that installs them.
        keys: environment variables of which one has to hold a key.
        places: environment variables of which one has to say where it is.
        model: the model, by its name under `scaffold models`, that is downloaded on first use.
    """

    about: str
    example: str = ""
    can: frozenset[Ability] = frozenset()
    may: frozenset[Ability] = frozenset()
    reasoning: tuple[ReasoningVisibility, ...] = ()
    prices: Pricing = "unknown"
    trust: Literal["trusted", "untrusted"] = "untrusted"
    around: bool = False
    modules: tuple[str, ...] = ()
    install: str = ""
    keys: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    model: str = ""
