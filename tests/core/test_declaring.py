"""What an action may declare."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from scaffold import action


def pay(invoice: str) -> str:
    """Pay an invoice."""
    return invoice


@pytest.mark.parametrize("said", [{"effect": "irreversable"}, {"idempotency": "target-key"}])
def test_a_word_misspelt_is_refused(said: dict[str, str]) -> None:
    """An effect that there is not would pass for one that can be taken back."""
    (field, word), *_ = said.items()
    with pytest.raises(ValueError, match=f"pay: '{word}' is not a known {field}; expected one of "):
        action(**said)(pay)  # type: ignore[call-overload]  # that is what is tried


@pytest.mark.parametrize(
    "said",
    [
        *({"cost": said} for said in (-1.0, float("nan"), float("inf"), "1")),
        *({"timeout_s": said} for said in (0, -1.0, float("nan"), "5")),
    ],
)
def test_a_cost_or_a_time_that_is_none_is_refused(said: dict[str, Any]) -> None:
    """With a cost below nothing, or NaN, any budget does; with no time at all each effect is unknown."""
    (field, _), *_ = said.items()
    with pytest.raises(ValueError, match=rf"^pay: its {field} should be a number of (dollars|seconds) "):
        action(effect="reversible", **said)(pay)


def test_what_is_declared_has_its_own_place() -> None:
    """The commonest slips: a comma forgotten, which had each letter looked for; the effect without its name."""
    with pytest.raises(TypeError, match=r"identity should be a tuple of names, such as \('invoice',\), not text"):
        action(effect="read", identity=("invoice"))(pay)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"are given by name, as in @action\(effect='read'\), not as 'irreversible'"):
        action("irreversible")(pay)  # type: ignore[call-overload]


class Wire:
    """What no JSON says."""


def along(wire: Wire) -> None:
    """Take what no JSON says."""


def by(how: Callable[[], None]) -> None:
    """Take code."""


def whatever(*names: str) -> None:
    """Take what has no name."""


def of_a_class(self, name: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - as methods are written
    """Do something with an object."""


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (along, "Wire"),
        (by, "CallableSchema"),
        (whatever, "every parameter of an action needs a name"),
        (of_a_class, "action(effect=...)(thing.of_a_class)"),
    ],
)
def test_a_signature_that_no_model_could_fill_is_refused(function: Callable[..., None], told: str) -> None:
    """In a line that names the function and what was wrong, with none of pydantic's advice."""
    with pytest.raises(TypeError) as caught:
        action(effect="read")(function)
    said = str(caught.value)
    assert said.startswith(f"{function.__name__}: ")
    assert told in said
    assert "\n" not in said
    assert "arbitrary_types_allowed" not in said


def test_a_type_that_is_imported_for_checking_only_is_told_by_its_name() -> None:
    """As a linter likes to have it: nobody could read the arguments."""

    def ship(parcel: Parcel) -> None:  # type: ignore[name-defined]  # noqa: F821 - the point
        """Ship."""

    with pytest.raises(TypeError, match=r"ship: name 'Parcel' is not defined, .* outside `if TYPE_CHECKING:`"):
        action(ship)


def test_a_generator_is_no_action() -> None:
    """Calling it does nothing, and would be recorded as done."""

    def later(text: str) -> Iterator[str]:
        yield text

    async def streamed(text: str) -> AsyncIterator[str]:
        yield text

    for function in (later, streamed):
        with pytest.raises(TypeError, match=f"{function.__name__} is a generator: calling it does nothing"):
            action(effect="irreversible")(function)
