"""Cards: what a backend or a monitor declares about itself, readable without importing the plug-in."""

from __future__ import annotations

from typing import Literal

import msgspec

from scaffold.vocabulary.models import Ability, ReasoningVisibility
from scaffold.vocabulary.review import SubjectKind

Pricing = Literal["free", "listed", "unknown"]


class Card(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A backend's card, shown by `scaffold plugins`: its profile, as far as that does not depend on the model chosen.

    It is given by an entry point in the group `scaffold.cards` under the backend's own name. The module that defines it
    must import nothing heavy.

    Attributes:
        about: one sentence.
        example: a spec that uses it.
        can: its abilities with default settings.
        may: further abilities, with an option or with some models.
        reasoning: how much of the reasoning its models show, from most to least.
        prices: `free`, `listed` in a price table, or `unknown` unless an option gives them.
        trust: whether its answers may steer irreversible actions unseen, unless an option says otherwise.
        around: it wraps other backends, and its profile follows from theirs.
        modules: modules that must be importable.
        install: the command that installs them.
        keys: environment variables, one of which must hold an API key.
        places: environment variables, one of which must hold the address.
        model: the model that is downloaded on first use, by its name under `scaffold models`.
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
        data: the data set, its number of cases, and the command that scores it.
        found: share of the bad cases that it objects to, between 0 and 1.
        spared: share of the good cases that it lets pass, between 0 and 1.
        note: what else is needed to interpret the two figures.
    """

    data: str
    found: float
    spared: float
    note: str = ""


class MonitorCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A monitor's card, shown by `scaffold plugins`: how reliable its verdicts are, and what it cannot see.

    It is given by an entry point in the group `scaffold.monitor_cards` under the monitor's own name. The module that
    defines it must import nothing heavy.

    Attributes:
        about: one sentence.
        property: what its verdicts are about, so that nobody takes one property for another.
        watches: the kinds of subject it reads.
        needs: roles of the backends it asks.
        probes: whether it asks the model that answered a step about that step, whatever role that model has.
        cost: what one review takes, in words: time, or questions to a model.
        rates: measured base rates; if empty, `scaffold plugins` says that nothing was measured.
        blind: what it cannot see, one sentence each.
        example: how a task names it, with settings if it needs any.
        default: it is on when a task names no monitors, as its spec says too. A monitor whose card says False is not
            even imported then.
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
