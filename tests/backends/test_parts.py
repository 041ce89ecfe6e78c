"""The small parts that backends are made of, by themselves."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

from hypothesis import given
from hypothesis import strategies as st

from scaffold.vocabulary.characters import clean
from scaffold_backends.constraints import bounded, can_be_strict, closed
from scaffold_backends.http.pricing import is_private
from scaffold_backends.http.refusals import Origin, refusal, retry_after
from scaffold_backends.llamacpp.slots import Slots
from scaffold_backends.stops import StopFinder

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_a_turn_that_comes_as_its_task_is_cancelled_is_given_back() -> None:
    """A slot handed to a task in the very instant of its cancellation is not lost."""

    async def inner() -> int:
        slots = Slots(1)
        await slots.take(1)
        waiting = asyncio.create_task(slots.take(1))
        await asyncio.sleep(0)
        slots.give(1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return slots.free

    assert asyncio.run(inner()) == 1


def test_a_cancelled_wait_holds_up_nobody() -> None:
    """A large request holds up the small one behind it, until it gives up waiting."""

    async def inner() -> list[str]:
        slots, order = Slots(2), list[str]()

        async def take(name: str, count: int) -> None:
            await slots.take(count)
            order.append(name)

        await slots.take(1)
        large = asyncio.create_task(take("large", 2))
        await asyncio.sleep(0)
        small = asyncio.create_task(take("small", 1))
        await asyncio.sleep(0.01)
        assert order == []
        large.cancel()
        await asyncio.wait_for(small, 60)
        return order

    assert asyncio.run(inner()) == ["small"]


@given(st.text(alphabet="abE", max_size=12), st.lists(st.integers(1, 4), min_size=1))
def test_stops_do_not_depend_on_how_text_is_cut(text: str, cuts: list[int]) -> None:
    """However a text is cut into pieces, what passes is what stands before the first stop text."""
    finder, got, rest, finish = StopFinder(("aE", "bbE")), "", text, None
    for length in [*cuts, len(text) or 1]:
        piece, rest = rest[:length], rest[length:]
        passed, finish = finder.feed(piece, None if rest else "length")
        got += passed
        if not rest:
            break
    places = [place for stop in ("aE", "bbE") if (place := text.find(stop)) >= 0]
    assert got == text[: min(places, default=len(text))]
    assert finish == ("stop" if places else "length")


@given(st.text(st.characters(exclude_categories=()), max_size=20))
def test_cleaned_text_can_be_encoded(text: str) -> None:
    """Whatever surrogates a text holds, it can be encoded afterwards; a text without any is left as it is."""
    assert clean(text).encode().decode() == clean(text)
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert clean(text) == text


def test_retry_after_is_read_or_left() -> None:
    """Seconds, dates in the past and in the future, and nonsense."""
    assert retry_after("2.5", NOW) == 2.5
    assert retry_after("-3", NOW) == 0.0
    assert retry_after("Thu, 01 Jan 2026 00:01:00 GMT", NOW) == 60.0
    assert retry_after("Thu, 01 Jan 2020 00:00:00 GMT", NOW) == 0.0
    assert [retry_after(value, NOW) for value in (None, "soon", "", "nan", "inf")] == [None] * 5


def test_words_of_a_server_are_shortened_and_harmless() -> None:
    """A server's words come on one line, without control characters, and not by the megabyte."""
    said = json.dumps({"error": {"message": "a\x1b[31m\nb" + "x" * 10_000}}).encode()
    message = str(refusal(400, said, Origin("it")))
    assert message.isprintable()
    assert len(message) < 600
    told = "x" * 498 + "sk-secret"  # cut in the middle of the key, half of it would still be there
    assert "sk" not in str(refusal(400, {"message": told}, Origin("it", key="sk-secret")))


def test_schemas_are_only_ever_narrowed() -> None:
    """Closing reaches every depth and leaves properties called `title` or `default` alone; maps stay open."""
    schema = {
        "title": "T",
        "type": "object",
        "properties": {"title": {"type": "string", "default": "x"}, "default": {"$ref": "#/$defs/D"}},
        "$defs": {"D": {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}},
    }
    narrowed = closed(schema)
    assert narrowed["required"] == ["title", "default"]
    assert narrowed["properties"]["title"] == {"type": "string"}
    assert narrowed["$defs"]["D"]["additionalProperties"] is False
    assert can_be_strict(narrowed)
    assert not can_be_strict(closed({"type": "object"}))
    limits = bounded(schema, 10)
    assert limits["properties"]["title"]["maxLength"] == 10
    assert limits["$defs"]["D"]["properties"]["a"]["maxItems"] == 64
    assert bounded({"type": "string", "minLength": 30}, 10)["maxLength"] == 30
    assert bounded({"type": "string", "enum": ["a"]}, 10) == {"type": "string", "enum": ["a"]}


def test_hosts_of_our_own_are_known_by_name() -> None:
    """Loopback, private networks and bare names are ours; anything else is not."""
    for host in ("127.0.0.1", "[::1]", "10.1.2.3", "192.168.0.9", "localhost", "vllm", "box.local"):
        assert is_private(f"http://{host}:8000/v1")
    for host in ("api.openai.com", "8.8.8.8", "localhost.example.com"):
        assert not is_private(f"https://{host}/v1")
