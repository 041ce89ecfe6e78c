"""What an action may declare."""

from __future__ import annotations

import pytest

from scaffold import action


def pay(invoice: str) -> str:
    """Pay an invoice."""
    return invoice


@pytest.mark.parametrize("said", [{"effect": "irreversable"}, {"idempotency": "target-key"}])
def test_a_word_misspelt_is_refused(said: dict[str, str]) -> None:
    """An effect that there is not would pass for one that can be taken back."""
    (field, word), *_ = said.items()
    with pytest.raises(ValueError, match=f"pay: no {field} is called '{word}'; there are "):
        action(**said)(pay)  # type: ignore[call-overload]  # that is what is tried
