"""The small parts that the HTTP backends are made of, by themselves."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold.vocabulary.models import Delta, Message, ReasoningBlock, Request
from scaffold_backends.chunks import ChunkReader
from scaffold_backends.constraints import only_keywords
from scaffold_backends.http.dialects.chat import Chat, ChatOptions
from scaffold_backends.http.dialects.gemini import Gemini, GeminiOptions
from scaffold_backends.http.dialects.messages import Messages, MessagesOptions
from scaffold_backends.http.dialects.responses import Responses, ResponsesOptions
from scaffold_backends.http.recognise import recognise
from scaffold_backends.http.refusals import Origin, asked_to_wait
from scaffold_backends.http.sse import EventDecoder
from scaffold_backends.thinking import ThinkSplitter, ThinkTags

from .conftest import ask


def cut(whole: Any, places: list[int]) -> list[Any]:
    """Cut bytes or text at places, which may be beyond its end."""
    at = sorted({min(place, len(whole)) for place in places})
    return [whole[begin:end] for begin, end in zip([0, *at], [*at, len(whole)], strict=True)]


EVENTS = (
    b"\xef\xbb\xbf: hello\nevent: x\ndata: {1}\n\ndata:two\ndata: lines\nid: 4\n\nretry: 3\n\ndata\n\ndata: last\n\n"
)
CUTS = st.lists(st.integers(0, len(EVENTS) + 9), max_size=6)


@given(CUTS, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_do_not_depend_on_how_bytes_are_cut(places: list[int], line_end: bytes) -> None:
    """However a stream is cut, and whatever ends its lines, the same events come out of it."""
    decoder = EventDecoder()
    found = [event for piece in cut(EVENTS.replace(b"\n", line_end), places) for event in decoder.feed(piece)]
    assert found + decoder.end() == [b"{1}", b"two\nlines", b"last"]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_events_may_be_cut_anywhere(line_end: bytes) -> None:
    """Also between the two bytes of one line end."""
    whole = EVENTS.replace(b"\n", line_end)
    for place in range(len(whole)):
        decoder = EventDecoder()
        found = [*decoder.feed(whole[:place]), *decoder.feed(whole[place:]), *decoder.end()]
        assert found == [b"{1}", b"two\nlines", b"last"]


def test_an_event_without_its_blank_line_is_read_at_the_end() -> None:
    """A server that closes right after its last line has still said it."""
    decoder = EventDecoder()
    assert decoder.feed(b"data: a\n\ndata: b") == [b"a"]
    assert decoder.end() == [b"b"]


def split(tags: ThinkTags, pieces: list[str]) -> tuple[str, str]:
    """Give the whole reasoning and text of a sample that came in pieces."""
    splitter = ThinkSplitter(tags)
    found = [splitter.feed(piece, last=False) for piece in pieces] + [splitter.feed("", last=True)]
    return "".join(thought for thought, _ in found), "".join(text for _, text in found)


THINKING = [
    ("tags", "<think>\nLet me see.\n</think>\n\n4", ("Let me see.\n", "4")),
    ("tags", " \n<think>a</think>b<think>c</think>", ("a", "b<think>c</think>")),
    ("tags", "<think></think>4", ("", "4")),
    ("tags", "<think>it never ends </th", ("it never ends </th", "")),
    ("tags", "<thin ice> and </think>", ("", "<thin ice> and </think>")),
    ("tags", "4, as <think> says", ("", "4, as <think> says")),
    ("tags", "  plain", ("", "  plain")),
    ("tags", "<thi", ("", "<thi")),
    ("tags", "", ("", "")),
    ("tags", "[THINK]Let me see.[/THINK]4", ("Let me see.", "4")),
    ("tags", "[1, 2]", ("", "[1, 2]")),
    ("tags", "<seed:think>so</think> </seed:think>4", ("so</think> ", "4")),
    ("tags", "\u25c1think\u25b7so\u25c1/think\u25b7 4", ("so", "4")),
    ("tags", "<|channel>thought\nso<channel|>4", ("thought\nso", "4")),
    (
        "tags",
        "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final<|message|>4 <|end|>",
        ("so", "4 <|end|>"),
    ),
    (
        "tags",
        "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>[4]",
        ("so", "[4]"),
    ),
    ("tags", "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final", ("so", "")),
    ("tags", "<|channel|>final<|message|>4", ("", "4")),
    ("tags", "<|channel|>final <|constrain|>json<|message|>[4]", ("", "[4]")),
    ("tags", f"<|channel|>final {'word ' * 20}<|messages", ("", f"<|channel|>final {'word ' * 20}<|messages")),
    ("tags", "<|channel|>final", ("", "<|channel|>final")),
    (
        "tags",
        "<reasoning>a planner may ask for that</reasoning>",
        ("", "<reasoning>a planner may ask for that</reasoning>"),
    ),
    ("open", "Let me see.\n</think>\n\n4", ("Let me see.\n", "4")),
    ("open", "<think>\nLet me see.</think>4", ("Let me see.", "4")),
    ("open", "it never ends", ("it never ends", "")),
    ("none", "<think>a</think>b", ("", "<think>a</think>b")),
]


@pytest.mark.parametrize(("tags", "whole", "expected"), THINKING)
@given(places=st.lists(st.integers(0, 100), max_size=6))
def test_think_tags_do_not_depend_on_how_text_is_cut(
    tags: ThinkTags, whole: str, expected: tuple[str, str], places: list[int]
) -> None:
    """Reasoning between tags that a sample begins with is taken out of it, however its pieces cut the tags."""
    if tags == "none":
        reader = ChunkReader(ask("hi"), None)
        choice = {"index": 0, "delta": {"content": whole}, "finish_reason": "stop"}
        assert list(reader.read({"choices": [choice]})) == []
        assert (reader.end().text, reader.end().reasoning) == (whole, "")
        return
    assert split(tags, cut(whole, places)) == expected


def test_white_space_without_end_is_looked_at_once() -> None:
    """A model that begins with nothing but line breaks, one at a time, costs no more for each of them."""
    began = time.process_time()
    assert split("tags", ["\n"] * 300_000 + ["<think>a</think>b"]) == ("a", "b")
    assert split("tags", ["\n"] * 300_000 + ["b"]) == ("", "\n" * 300_000 + "b")
    assert time.process_time() - began < 10


def read(request: Request, *deltas: dict[str, Any], tags: ThinkTags = "none") -> list[Delta]:
    """Fold the pieces of one sample of a chat completion."""
    reader = ChunkReader(request, None, think_tags=tags)
    found = []
    for place, delta in enumerate(deltas):
        finish = "stop" if place == len(deltas) - 1 else None
        found += reader.read({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    return [*found, reader.end()]


def test_stop_texts_are_looked_for_in_the_answer_only() -> None:
    """A stop text inside the reasoning does not end a sample."""
    pieces = [{"content": "<think>an END"}, {"content": " in it</think>one E"}, {"content": "ND two"}]
    deltas = read(ask("hi", stop=("END",)), *pieces, tags="tags")
    assert "".join(delta.text for delta in deltas) == "one "
    assert "".join(delta.reasoning for delta in deltas) == "an END in it"


def test_reasoning_details_are_joined_and_kept() -> None:
    """OpenRouter's details, which come in pieces, are one block: whole ones, in their order, and what can be read."""
    deltas = read(
        ask("hi"),
        {"reasoning": "First", "reasoning_details": [{"type": "reasoning.text", "text": "First", "index": 0}]},
        {
            "reasoning": " this",
            "reasoning_details": [
                {"type": "reasoning.text", "text": " this", "index": 0, "signature": "sig", "format": None},
            ],
        },
        {"content": "4"},
    )
    assert "".join(delta.reasoning for delta in deltas) == "First this"
    (block,) = [delta.block for delta in deltas if delta.block]
    assert (block.kind, block.text) == ("text", "First this")
    assert json.loads(block.data) == [{"type": "reasoning.text", "text": "First this", "index": 0, "signature": "sig"}]


@pytest.mark.parametrize(
    ("kinds", "kind"),
    [
        (["reasoning.encrypted"], "redacted"),
        (["reasoning.summary", "reasoning.encrypted"], "summary"),
        (["reasoning.text", "reasoning.encrypted"], "redacted"),
    ],
)
def test_reasoning_details_say_what_can_be_read(kinds: list[str], kind: str) -> None:
    """What is encrypted cannot be read, unless a summary stands for it."""
    values = {
        "reasoning.encrypted": {"data": "gA"},
        "reasoning.summary": {"summary": "s"},
        "reasoning.text": {"text": "t"},
    }
    details = [{"type": name, "index": place, **values[name]} for place, name in enumerate(kinds)]
    deltas = read(ask("hi"), {"reasoning_details": details}, {"content": "4"})
    assert [delta.block.kind for delta in deltas if delta.block] == [kind]


def test_how_long_to_wait_is_read_wherever_it_is_said() -> None:
    """In milliseconds, in seconds, or in Google's body; nonsense says nothing."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert asked_to_wait({"retry-after-ms": "1500", "retry-after": "9"}, b"", now) == 1.5
    assert asked_to_wait({"retry-after": "9"}, b"", now) == 9
    assert asked_to_wait({}, b'{"error":{"details":[{"retryDelay": "17.5s"}]}}', now) == 17.5
    for body in (b"", b'{"retryDelay": "soon"}', b'{"retryDelay": "1.2.3s"}'):
        assert asked_to_wait({"retry-after-ms": "-3"}, body, now) is None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"choices": []}, "chat"),
        ({"object": "chat.completion.chunk"}, "chat"),
        ({"type": "response.created"}, "responses"),
        ({"type": "message_start"}, "messages"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, "messages"),
        ({"usageMetadata": {}}, "gemini"),
        ([{"candidates": []}], "gemini"),
        ({"error": {"status": "NOT_FOUND"}}, "gemini"),
        ({"message": {}, "done": False}, "ollama"),
        ({"error": {"message": "no"}}, None),
        ({"error": "no"}, None),
        ([], None),
        ([3], None),
        ("choices", None),
        (None, None),
    ],
)
def test_apis_are_recognised_by_their_shape(value: Any, name: str | None) -> None:
    """Each API has a shape of its own; what might be any is none."""
    assert recognise(value) == name


def test_an_origin_hides_its_key() -> None:
    """Neither its repr nor the words that pass through it show the key."""
    origin = Origin("it", "MY_KEY", "sk-secret")
    assert "sk-secret" not in f"{origin!r} {origin}"
    assert origin.hide("a sk-secret b") == "a *** b"


def test_keywords_are_left_out_at_every_depth() -> None:
    """Unknown keywords go; properties that are called like one stay."""
    schema = {
        "type": "object",
        "properties": {"pattern": {"type": "string", "pattern": "x"}, "list": {"items": {"minLength": 3}}},
        "$defs": {"D": {"anyOf": [{"minLength": 1, "type": "string"}]}},
    }
    kept = only_keywords(schema, frozenset({"type", "properties", "items", "$defs", "anyOf"}))
    assert kept == {
        "type": "object",
        "properties": {"pattern": {"type": "string"}, "list": {"items": {}}},
        "$defs": {"D": {"anyOf": [{"type": "string"}]}},
    }


def _folded(dialect: Any, *events: Any) -> list[Delta]:
    """What a dialect makes of some events, the last one included."""
    reader = dialect.reader(Request(messages=(Message("user", "hi"),)), None)
    deltas = [delta for event in events for delta in reader.read(dialect.decode(json.dumps(event).encode()))]
    return [*deltas, reader.end()]


CLAUDE = Messages("claude-sonnet-4-5", MessagesOptions(), official=True)
GEMINI = Gemini("gemini-3-pro", GeminiOptions(), official=True)
RESPONSES = Responses("gpt-5", ResponsesOptions(), official=True)
CHAT = Chat("gpt-4o", ChatOptions(), official=True)
CALL = {"name": "pay", "arguments": "{}"}


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        (CLAUDE, [{"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}]),
        (GEMINI, [{"candidates": [{"content": {"parts": [{"functionCall": CALL}]}, "finishReason": "STOP"}]}]),
        (
            RESPONSES,
            [
                {"type": "response.output_item.done", "item": {"type": "function_call", **CALL}},
                {"type": "response.completed", "response": {}},
            ],
        ),
        (CHAT, [{"choices": [{"delta": {"tool_calls": [{"function": CALL}]}, "finish_reason": "tool_calls"}]}]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_call_of_a_function_that_nobody_offered_is_no_answer(dialect: Any, events: list[Any]) -> None:
    """It is not taken for an answer that is empty, whatever the API says of how it ended."""
    assert _folded(dialect, *events)[-1].finish == "error"


def test_a_reason_for_the_end_that_is_empty_is_none() -> None:
    """Some servers say "" with every piece: the sample goes on until one is given."""
    pieces = [
        {"choices": [{"delta": {"content": text}, "finish_reason": why}]} for text, why in (("a", ""), ("b", "stop"))
    ]
    assert [(delta.text, delta.finish) for delta in _folded(CHAT, *pieces)] == [("a", None), ("b", "stop")]
    parts = [
        {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": why}]}
        for text, why in (("a", ""), ("b", "STOP"))
    ]
    assert [(delta.text, delta.finish) for delta in _folded(GEMINI, *parts)] == [("a", None), ("b", "stop")]


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        (CHAT, [{"choices": [{"index": None, "delta": {"content": "a"}, "finish_reason": "stop", "logprobs": None}]}]),
        (
            GEMINI,
            [
                {
                    "candidates": [
                        {
                            "index": None,
                            "content": {"parts": [{"text": "a", "thought": None, "functionCall": None}]},
                            "finishReason": "STOP",
                            "logprobsResult": None,
                        }
                    ],
                    "usageMetadata": None,
                    "promptFeedback": None,
                }
            ],
        ),
        (
            RESPONSES,
            [
                {"type": "response.reasoning_text.delta", "delta": "", "item_id": None, "summary_index": None},
                {"type": "response.output_text.delta", "delta": "a", "item_id": None, "logprobs": None, "item": None},
                {"type": "response.completed", "response": {"output": [{"type": None, "content": None}]}},
            ],
        ),
        (
            RESPONSES,
            [{"type": "response.completed", "response": {"output": [{"type": "message", "content": "a"}]}}],
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_a_server_has_no_value_for_may_be_null(dialect: Any, events: list[Any]) -> None:
    """Proxies write out every field that they know of."""
    deltas = _folded(dialect, *events)
    assert ("".join(delta.text for delta in deltas), deltas[-1].finish) == ("a", "stop")


def test_a_response_that_is_called_completed_may_be_cut() -> None:
    """VLLM says so only in the details."""
    for reason, finish in (("max_output_tokens", "length"), ("content_filter", "cut"), (None, "stop")):
        response = {"status": "incomplete", "incomplete_details": {"reason": reason}}
        events = [{"type": "response.output_text.delta", "delta": "a"}, {"type": "response.completed"}]
        assert _folded(RESPONSES, events[0], {**events[1], "response": response})[-1].finish == finish


def test_redacted_thinking_without_data_is_sent_back_as_none() -> None:
    """Nothing is put in the place of what was not there."""
    begun = {"type": "content_block_start", "content_block": {"type": "redacted_thinking"}}
    events = [begun, {"type": "content_block_stop"}, {"type": "message_stop"}]
    block = next(delta.block for delta in _folded(CLAUDE, *events) if delta.block)
    assert block == ReasoningBlock(kind="redacted")
    turns = (Message("user", "a"), Message("assistant", "b", (block,)), Message("user", "c"))
    assert CLAUDE.body(Request(messages=turns))["messages"][1]["content"] == [{"type": "text", "text": "b"}]
