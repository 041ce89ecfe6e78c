"""Answers: a text states a value of the type that was wanted, or is refused; it is never repaired."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field

from scaffold import Planning, Task, Thought, once, think
from scaffold.machinery.asking.answers import choices_of, json_schema_of, read_answer

if TYPE_CHECKING:
    from tests.core.conftest import World


class Payment(BaseModel):
    """A model with everything that makes a round trip hard."""

    model_config = ConfigDict(extra="forbid")
    to: str
    cents: int = Field(gt=0)
    source: str = Field(alias="from")

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's documentation writes it
    @property
    def euros(self) -> float:
        """In euros."""
        return self.cents / 100


PAYMENT = Payment.model_validate({"to": "bob", "cents": 5, "from": "me"})


class Colour(StrEnum):
    """A closed set."""

    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    """A dataclass."""

    x: int
    y: int


@given(st.integers())
def test_a_whole_number_reads_as_itself(number: int) -> None:
    """Any integer that is written plainly, with space around it, is read."""
    assert read_answer(int, f" {number}\n") == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_as_itself(number: float) -> None:
    """Any finite number as Python writes it is read."""
    assert read_answer(float, str(number)) == number


@pytest.mark.parametrize(
    ("returns", "text"),
    [
        (int, "The answer is 42."),
        (int, "42."),
        (int, "4 2"),
        (int, "1_000"),
        (int, "1e3"),
        (int, "**42**"),
        (int, ""),
        (int, "٤٢"),
        (int, "9" * 5000),
        (float, "3,14"),
        (float, "about 3"),
        (float, "nan"),
        (float, "inf"),
        (float, "1e999"),
        (float, "."),
        (bool, "True."),
        (bool, "yes"),
        (bool, ""),
        (Literal["red", "green"], "red or green"),
        (Literal["red", "green"], "Red"),
        (Payment, "Pay bob 5 cents"),
        (Payment, '```json\n{"to": "bob", "cents": 5, "from": "me"}\n```'),
        (Payment, '{"to": "bob", "cents": 0, "from": "me"}'),
        (Payment, '{"to": "bob", "cents": 5, "from": "me", "extra": 1}'),
        (list[int], "[1, 2,"),
        (list[float], "[1, NaN]"),
        (Any, '{"mean": NaN}'),
        (dict, '{"mean": 1e999, "of": null}'),
    ],
)
def test_prose_and_what_is_out_of_bounds_is_refused(returns: Any, text: str) -> None:
    """What does not state a value of the type, and nothing else, is refused in a few words."""
    with pytest.raises(ValueError, match=r"\w") as refused:
        read_answer(returns, text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("returns", "text", "value"),
    [
        (int, "+7", 7),
        (float, "2.5e-3", 0.0025),
        (bool, "true", True),
        (bool, " false ", False),
        (Literal["red", "green"], "red", "red"),
        (Literal[1, 2], "2", 2),
        (str, "  any text  ", "any text"),
        (str, "", ""),
        (list[int], "[1, 2]", [1, 2]),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (dict[str, int], '{"a": 1}', {"a": 1}),
    ],
)
def test_what_states_a_value_is_read(returns: Any, text: str, value: Any) -> None:
    """Numbers, truth values, choices, models and containers are read from their plain forms."""
    assert read_answer(returns, text) == value


def test_a_flood_of_what_does_not_fit_is_counted() -> None:
    """A model that goes on for ever holds up nobody while each of a million faults is written out."""
    text = f"[{'1,' * 300_000}1]"
    started = time.process_time()
    with pytest.raises(ValueError, match=r"^300,001 of its parts are not valid$"):
        read_answer(list[str], text)
    assert time.process_time() - started < 1.5
    with pytest.raises(ValueError, match=r"^1: Input should be a valid string$"):
        read_answer(list[str], '["a", 1]')


@pytest.mark.parametrize("text", ['{"x": 1, "y": 2, "x": 3}', '{"x": 1, "\\u0078": 3, "y": 2}', '[{"y": 1, "y": 1}]'])
def test_a_repeated_key_is_malformed(text: str) -> None:
    """Parsers disagree on which of its values counts, so that one reader could be shown another answer."""
    with pytest.raises(ValueError, match="appears twice"):
        read_answer(list[dict[str, int]] if text[0] == "[" else Point, text)


def test_choices_bind_whatever_the_type() -> None:
    """A step that names the only texts accepts no other."""
    assert read_answer(str, "a", ("a", "b")) == "a"
    with pytest.raises(ValueError, match="not one of a, b"):
        read_answer(str, "c", ("a", "b"))


def test_decoding_is_constrained_where_the_form_is_known() -> None:
    """JSON of any kind gives a schema to decode by, and closed sets of texts give choices."""
    schema = json_schema_of(Payment)
    assert schema is not None
    assert schema["required"] == ["to", "cents", "from"]
    assert json_schema_of(list[str]) == {"type": "array", "items": {"type": "string"}}
    assert (json_schema_of(Colour) or {})["enum"] == ["red", "blue"]
    assert (json_schema_of(int | None) or {})["anyOf"] == [{"type": "integer"}, {"type": "null"}]
    assert [json_schema_of(kind) for kind in (str, int, float, bool, Any, Literal["x"])] == [None] * 6
    assert choices_of(bool) == ("true", "false")
    assert choices_of(Literal["x", "y"]) == ("x", "y")
    assert choices_of(int) == ()


@pytest.mark.parametrize(
    ("returns", "text", "value"),
    [
        (
            Payment,
            '{"to": "bob", "cents": 5, "from": "me"}',
            PAYMENT,
        ),
        (
            list[Payment],
            '[{"to": "bob", "cents": 5, "from": "me"}]',
            [PAYMENT],
        ),
        (Point, '{"x": 1, "y": 2}', Point(1, 2)),
        (int, "1" + "0" * 30, 10**30),
        (float, "0.1", 0.1),
        (Literal["a"], "a", "a"),
    ],
)
def test_what_the_planner_is_sent_is_the_value_that_was_read(world: World, returns: Any, text: str, value: Any) -> None:
    """A value survives being recorded: aliases, computed fields and large numbers come back as they were."""
    told: list[Any] = []

    def planner(task: Task) -> Planning[str]:
        thought: Thought[Any] = yield from think("solve", task.request, returns=returns)
        told.append(thought.value)
        return "done"

    outcome = world.solve(planner, text)
    assert outcome.status == "solved", outcome.reason
    assert told == [value]
    assert type(told[0]) is type(value)


class Line(str):
    """A library's own kind of text, as LangChain's messages give."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Whole(int):
    """A library's own kind of number."""


class Share(float):
    """As numpy's are."""


def test_a_librarys_own_texts_and_numbers_are_recorded_as_what_they_are(world: World) -> None:
    """In a step's inputs and in an answer, as the text or the number that each of them is."""

    def planner(_: Task) -> Planning[Any]:
        yield from think("solve", Line("a line"))
        return [Line("a line"), Whole(10**30), Share(0.5)]

    outcome = world.solve(planner)
    assert (outcome.status, outcome.answer) == ("solved", ["a line", 10**30, 0.5])

    def unwritten(_: Task) -> Planning[Any]:
        yield from think("solve", "x")
        return Share("nan")

    assert "nan is not a number that can be recorded" in world.solve(unwritten).reason


@pytest.mark.parametrize(("returns", "text"), [(float, "1e999"), (list[float], "[Infinity]"), (Point, '{"x": 1}')])
def test_what_cannot_be_recorded_is_discarded_like_any_malformed_sample(world: World, returns: Any, text: str) -> None:
    """A value that JSON cannot hold fails its sample, not the run."""

    def planner(task: Task) -> Planning[str]:
        thought: Thought[Any] = yield from think("solve", task.request, returns=returns, sampling=once(tries=1))
        return str(thought.value)

    outcome = world.solve(planner, text)
    assert "the last was discarded: malformed" in outcome.reason
    assert not math.isnan(outcome.steps)
