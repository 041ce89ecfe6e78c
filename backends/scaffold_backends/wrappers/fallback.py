"""`fallback`: tries several backends in order; the first that can answers."""

from __future__ import annotations

import warnings
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import Field

from scaffold.errors import (
    BackendError,
    BackendUnavailable,
    BadInput,
    BadResponse,
    BrokenOff,
    MissingExtra,
    NotAuthorised,
    TaskError,
)
from scaffold.interfaces import Prepares
from scaffold.machinery.asking.visibility import least
from scaffold.vocabulary.models import Origin, Prices, Profile
from scaffold.wrapping import Around
from scaffold_backends.options import Options, read_options
from scaffold_backends.wrappers.inner import member_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from scaffold.interfaces import Backend
    from scaffold.vocabulary.models import Delta, Request


class FallbackOptions(Options):
    """What a task may set.

    Attributes:
        backends: the backends in order: specs such as `smollm2`, or tables with `use` and options.
    """

    backends: list[Any] = Field(min_length=1)


def fallback(model: str = "", **options: Any) -> Fallback:
    """Ask the first of several that can answer: `{use: fallback, backends: [openai:gpt-5-mini, smollm2]}`.

    One that lacks its key or an optional part is left out with a warning, as long as another remains.

    Raises:
        TaskError: an option is wrong.
        BadInput: none of them can be made.
    """
    if model:
        raise TaskError(f"fallback takes a list, `backends: [{model}, ...]`, not a name", path=("use",))
    read = read_options(FallbackOptions, options, "fallback")
    members: list[Backend] = []
    without: dict[str, str] = {}
    for place, said in enumerate(read.backends):
        try:
            members.append(member_of(said, ("backends", place)))
        except (BadInput, NotAuthorised) as error:
            if not _is_lacking(error) or (place == len(read.backends) - 1 and not members):
                raise
            name = str(said.get("use") if isinstance(said, dict) else said)
            without[name] = str(error)
            warnings.warn(f"fallback continues without {name}: {error}", stacklevel=2)
    return Fallback(*members, without=without)


def _is_lacking(error: Exception) -> bool:
    """Whether a backend is named correctly, but something that it needs is missing."""
    return isinstance(error, NotAuthorised | MissingExtra)


class Fallback(Around):
    """Asks its members in turn until one answers; each sample says which it was.

    The next one is asked if one is down, refuses our credentials, or gives no valid answer, and only before a first
    piece was passed on: neither a sample nor a request is ever answered by two models.

    Args:
        members: the backends in order.
        without: names of those that could not be made, and why, for messages.
    """

    def __init__(self, *members: Backend, without: Mapping[str, str] | None = None) -> None:
        super().__init__(*members)
        self._without = [f"{name}: {why}" for name, why in (without or {}).items()]
        self._unready: dict[int, BadInput] = {}

    def describe(self) -> Profile:
        """Return a profile that holds whichever member answers."""
        return weakest([member.profile for member in self.members])

    async def prepare(self, say: Callable[[str, float], None]) -> None:
        """Prepare all members; one that fails is skipped.

        Raises:
            BadInput: none of them can be prepared.
        """
        self._unready = {}
        for place, member in enumerate(self.members):
            if isinstance(member, Prepares):
                try:
                    await member.prepare(say)
                except BadInput as error:
                    self._unready[place] = error
                    warnings.warn(f"fallback continues without {_name(member)}: {error}", stacklevel=2)
        if len(self._unready) == len(self.members):
            raise self._unready[0]
        self.profile = self.describe()

    async def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with the stream of the first member that can.

        Raises:
            NotAuthorised: all refuse our credentials.
            BadResponse: none gives a valid answer.
            BackendUnavailable: none answers; gives each one's error.
            BackendError: another error, of a member whose answer had begun or that refuses the request.
        """
        failed: list[tuple[str, Exception]] = []
        for place, member in enumerate(self.members):
            if place in self._unready:
                failed.append((_name(member), self._unready[place]))
                continue
            begun = False
            try:
                async with aclosing(member.generate(request)) as stream:
                    async for delta in stream:
                        begun = True
                        yield _signed(delta, member.profile)
            except (BackendUnavailable, BadResponse, BadInput) as error:
                if begun:
                    raise
                failed.append((_name(member), error))
            else:
                if begun:
                    return
                failed.append((_name(member), BadResponse("it ended without an answer")))
        raise _of_all(failed, self._without)


def _name(member: Backend) -> str:
    return f"{member.profile.backend}:{member.profile.model}"


def _signed(delta: Delta, profile: Profile) -> Delta:
    if delta.finish is None or delta.origin is not None:
        return delta
    return msgspec.structs.replace(delta, origin=Origin(backend=profile.backend, model=profile.model))


def _of_all(failed: Sequence[tuple[str, Exception]], without: Sequence[str]) -> BackendError:
    said = "; ".join([f"{name}: {error}" for name, error in failed] + list(without))
    errors = [error for _, error in failed]
    if any(isinstance(error, BadResponse) and not isinstance(error, BrokenOff) for error in errors):
        return BadResponse(f"no member of the fallback gave an answer ({said})")
    if all(isinstance(error, NotAuthorised) for error in errors):
        return NotAuthorised(f"every member of the fallback refuses our credentials ({said})")
    reached = any(not isinstance(error, BadInput) and getattr(error, "reached", True) for error in errors)
    return BackendUnavailable(f"no member of the fallback can answer ({said})", reached=reached)


def weakest(profiles: Sequence[Profile]) -> Profile:
    """Return a profile that holds whichever of some backends answers."""
    contexts = [each.context for each in profiles if each.context is not None]
    guessed = {field for each in profiles for field in each.guessed if field != "reasoning"}
    if len(contexts) < len(profiles):
        guessed.add("context")
    # A guess may prove better than stated. A declaration may not, whatever another member's replies show.
    if all("reasoning" in each.guessed for each in profiles):
        guessed.add("reasoning")
    return Profile(
        backend="fallback",
        model=", ".join(f"{each.backend}:{each.model}" for each in profiles),
        context=min(contexts, default=None),
        prices=_dearest([each.prices for each in profiles]),
        trust="trusted" if all(each.trust == "trusted" for each in profiles) else "untrusted",
        reasoning=least(each.reasoning for each in profiles),
        can=frozenset.intersection(*(each.can for each in profiles)),
        guessed=tuple(sorted(guessed)),
    )


def _dearest(prices: Sequence[Prices | None]) -> Prices | None:
    known = [each for each in prices if each is not None]
    if len(known) < len(prices):
        return None
    return Prices(max(each.input for each in known), max(each.output for each in known))
