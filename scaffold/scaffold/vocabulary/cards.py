"""What a backend or a monitor says of itself before it is made, or even imported."""

from __future__ import annotations

from typing import Literal

import msgspec

from scaffold.vocabulary.models import Ability, ReasoningVisibility
from scaffold.vocabulary.review import SubjectKind

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


class BaseRate(msgspec.Struct, frozen=True, kw_only=True):
    """How often a monitor was right, measured on labelled data.

    Attributes:
        data: which data, with how many cases, and by which command they are scored.
        found: share of what is wrong that it objects to, between 0 and 1.
        spared: share of what is right that it lets pass, between 0 and 1.
        note: what else one has to know to read the two figures.
    """

    data: str
    found: float
    spared: float
    note: str = ""


class MonitorCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `scaffold plugins` tells of a monitor: what its word is worth, and what it cannot see.

    An entry point of the group `scaffold.monitor_cards`, of the monitor's own name, gives it. Its module must import
    nothing heavy: that is the point.

    Attributes:
        about: one sentence.
        property: what its verdicts are about, so that nobody takes one property for another.
        watches: the kinds of subject that it reads.
        needs: roles of the backends it asks.
        probes: whether it asks the model that answered a step about that step, whatever role that has.
        cost: what one review takes, in words: time, or questions to a model.
        rates: what was measured; empty when nothing was, which is then said.
        blind: what it cannot see, one sentence each.
        example: how a task names it, with settings if it needs any.
        default: it is on where a task names no monitors. Its spec says so too; a monitor with a card that does not is
            not even imported then.
    """

    about: str
    property: str
    watches: frozenset[SubjectKind]
    cost: str
    blind: tuple[str, ...]
    needs: tuple[str, ...] = ()
    probes: bool = False
    rates: tuple[BaseRate, ...] = ()
    example: str = ""
    default: bool = False
