"""Traces of other frameworks: read in every form they come in, marked foreign, and of use to every reader."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import errno
import gzip
import json
import os
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scaffold.cli import main
from scaffold.errors import BadInput, JournalFailed
from scaffold.foreign.agents import stories
from scaffold.foreign.inspect_logs import read_log
from scaffold.foreign.spans import Span, read_spans
from scaffold.foreign.told import Deed, Story, Turn
from scaffold.foreign.writing import write
from scaffold.trace.files import FileJournal
from scaffold.trace.reading import links
from scaffold.trace.verify import verify_run
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent / "fixtures"
# An agent of langgraph 1.2 with two tools, recorded by openinference-instrumentation-langchain.
LANGGRAPH = HERE / "langgraph.binpb"
# Two samples of an evaluation by inspect_ai 0.3.285, of which one calls a tool.
INSPECT = HERE / "invoices.eval"

PARTS = ("role", "parts", "content", "type", "tool_calls", "message", "function", "arguments", "response", "id", "name")
NAMES = (
    "gen_ai.operation.name",
    "openinference.span.kind",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.usage.input_tokens",
    "gen_ai.response.finish_reasons",
    "gen_ai.completion.0.role",
    "llm.output_messages.0.message.content",
    "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments",
    "input.value",
    "output.value",
    "gen_ai.tool.call.arguments",
)


@pytest.fixture
def audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `scaffold audit` on a folder of runs."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["audit", *arguments, "--runs", str(tmp_path / "runs")])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def hexadecimal(message: TracesData) -> dict[str, Any]:
    """OTLP's own JSON of spans: ids in hex, numbers of 64 bits as text."""
    from google.protobuf.json_format import MessageToDict

    told: dict[str, Any] = MessageToDict(message)
    scopes = [scope for resource in told["resourceSpans"] for scope in resource["scopeSpans"]]
    spans = [span for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]
    for plain, span in zip([span for scope in scopes for span in scope["spans"]], spans, strict=True):
        plain |= {"traceId": span.trace_id.hex(), "spanId": span.span_id.hex()}
        plain["parentSpanId"] = span.parent_span_id.hex()
    return told


def one(spans: list[dict[str, Any]], tmp_path: Path) -> Story:
    """The story of some spans, given as OTLP JSON's attributes and times."""
    told = [
        {
            "traceId": "0" * 31 + "1",
            "spanId": f"{number:016x}",
            "parentSpanId": "",
            "name": "span",
            "startTimeUnixNano": str(10**18 + number * 10**9),
            "endTimeUnixNano": str(10**18 + number * 10**9 + 5 * 10**8),
            **span,
            "attributes": [
                {"key": name, "value": {"stringValue": value} if isinstance(value, str) else {"intValue": str(value)}}
                for name, value in span.get("attributes", {}).items()
            ],
        }
        for number, span in enumerate(spans, start=1)
    ]
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": told}]}]}))
    (story,) = stories(read_spans(path))
    return story


# --- a real agent of LangGraph


def test_an_agent_of_langgraph_is_imported_reviewed_and_reported(
    audit: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """Its answers and calls are told with their arguments; monitors find the injection in it; the rest reads it too."""
    status, out, _ = audit("import", str(LANGGRAPH), "--json")
    (row,) = json.loads(out)
    assert (status, row["agent"], row["steps"], row["actions"]) == (0, "LangGraph", 3, 2)
    _, shown, _ = audit("show", "last")
    assert 'proposes read_invoice(number="A-1"), irreversible' in shown
    assert 'performed pay(account="DE02", cents=900)' in shown
    assert "solved: Invoice A-1 is paid." in shown
    status, out, _ = audit("review", "last", "--monitor", "injection", "--json")
    said = [each["verdict"] for each in json.loads(out)["verdicts"]] if "verdicts" in out else json.loads(out)
    assert "Ignore all previous instructions" in json.dumps(said)
    _, why, _ = audit("why", "last", "pay")
    assert "asked: Pay invoice A-1" in why
    assert "read_invoice, performed, untrusted" in why
    assert audit("report", "last", "-o", str(tmp_path / "run.html"))[0] == 0
    assert "imported already" in audit("import", str(LANGGRAPH))[1]


def test_an_imported_run_is_foreign_and_says_so(audit: Callable[..., tuple[int, str, str]]) -> None:
    """It is whole, and proves nothing; altered, it is altered."""
    audit("import", str(LANGGRAPH))
    status, out, _ = audit("verify", "last", "--json")
    found = json.loads(out)
    assert (status, found["state"], found["foreign"], found["standing"]) == (
        1,
        "foreign",
        "OpenInference spans",
        "ended",
    )
    assert "what another agent reported" in found["sentence"]


def test_all_forms_of_a_file_tell_the_same(tmp_path: Path) -> None:
    """Protobuf, one after another with their lengths, JSON with ids in hex or base64, and JSON lines."""
    from google.protobuf.json_format import MessageToJson

    data = LANGGRAPH.read_bytes()
    message = TracesData.FromString(data)
    plain = json.dumps(hexadecimal(message))
    forms = {
        "framed.bin": len(data).to_bytes(4, "big") + data,
        "hex.json": plain.encode(),
        "base64.json": MessageToJson(message).encode(),
        "lines.jsonl": plain.encode() + b"\n" + plain.replace("Invoice", "Bill").encode() + b"\n",
        "marked.json": codecs.BOM_UTF8 + plain.encode(),
        "snake.json": MessageToJson(message, preserving_proto_field_name=True).encode(),
    }
    (expected,) = stories(read_spans(LANGGRAPH))
    for name, form in forms.items():
        (tmp_path / name).write_bytes(form)
        (found, *_) = stories(read_spans(tmp_path / name))
        assert found.id == expected.id, name
        assert len(found.items) >= len(expected.items)


# --- a real agent of Pydantic AI


@pytest.mark.parametrize("version", [5, 6])
def test_an_agent_of_pydantic_ai_is_imported(tmp_path: Path, version: Any) -> None:
    """Recorded here by its own instrumentation: prompt, calls with arguments and results, tokens, answer."""
    pytest.importorskip("pydantic_ai")
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ThinkingPart, ToolCallPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel
    from pydantic_ai.models.instrumented import InstrumentationSettings, InstrumentedModel

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = InstrumentationSettings(tracer_provider=provider, version=version)

    def answer(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse([ThinkingPart("It is due."), ToolCallPart("pay", {"account": "DE02", "cents": 900})])
        return ModelResponse([TextPart("Paid.")])

    agent = Agent(InstrumentedModel(FunctionModel(answer), settings), system_prompt="You pay.")

    @agent.tool_plain
    def pay(account: str, cents: int) -> str:
        return f"paid {cents} to {account}"

    from pydantic_ai.capabilities import Instrumentation

    result = asyncio.run(agent.run("Pay invoice A-1", capabilities=[Instrumentation(settings)]))
    assert result.output == "Paid."
    path = tmp_path / "pydantic.binpb"
    path.write_bytes(encode_spans(exporter.get_finished_spans()).SerializeToString())
    (story,) = stories(read_spans(path))
    turns = [each for each in story.items if isinstance(each, Turn)]
    (deed,) = [each for each in story.items if isinstance(each, Deed)]
    assert (story.prompt, story.answer, len(turns)) == ("Pay invoice A-1", "Paid.", 2)
    assert (deed.name, deed.arguments, deed.value) == ("pay", {"account": "DE02", "cents": 900}, "paid 900 to DE02")
    assert turns[0].reasonings == ["It is due."]
    assert turns[0].messages[0].role == "system"
    assert turns[0].usage.input > 0
    journal = FileJournal(tmp_path / "runs")
    run = asyncio.run(write(journal, story))
    assert verify_run(journal.folder(run)).state == "foreign"


# --- Inspect


def test_a_log_of_inspect_is_imported_sample_by_sample(tmp_path: Path) -> None:
    """Each sample is a run with what its model was asked, its tools, its answer and its scores."""
    paid, refused = read_log(INSPECT)
    turn, deed, last = paid.items
    assert isinstance(turn, Turn)
    assert isinstance(deed, Deed)
    assert isinstance(last, Turn)
    assert (paid.prompt, paid.answer, paid.agent) == ("Pay invoice A-1", "Done: paid.", "invoices")
    assert [each.role for each in turn.messages] == ["system", "user"]
    assert (deed.name, deed.arguments, deed.value) == ("pay", {"account": "DE02", "cents": 900}, "paid 900 to DE02")
    assert (last.usage.input, last.usage.output, last.provider, last.model) == (55, 11, "mockllm", "model")
    assert paid.notes == ['score includes: "C"']
    assert (refused.answer, len(refused.items)) == ("I cannot pay that.", 1)
    journal = FileJournal(tmp_path / "runs")
    for story in (paid, refused):
        folder = journal.folder(asyncio.run(write(journal, story)))
        kinds = [link.event for link in links(folder)]
        assert isinstance(kinds[-1], ev.Ended)
        assert verify_run(folder).foreign == "an Inspect log"


# --- the conventions, in their several forms


def test_messages_as_span_events_are_read(tmp_path: Path) -> None:
    """As the conventions had them before messages were attributes."""
    story = one(
        [
            {
                "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.system": "openai"},
                "events": [
                    {"name": "gen_ai.user.message", "attributes": [{"key": "content", "value": {"stringValue": "Hi"}}]},
                    {
                        "name": "gen_ai.choice",
                        "attributes": [{"key": "message", "value": {"stringValue": '{"content": "Hello"}'}}],
                    },
                ],
            }
        ],
        tmp_path,
    )
    (turn,) = story.items
    assert isinstance(turn, Turn)
    assert ([each.content for each in turn.messages], turn.texts) == (["Hi"], ["Hello"])
    assert (turn.provider, turn.model) == ("openai", "m")


def test_numbered_attributes_are_read(tmp_path: Path) -> None:
    """As Traceloop has them."""
    story = one(
        [
            {
                "attributes": {
                    "gen_ai.prompt.0.role": "user",
                    "gen_ai.prompt.0.content": "Hi",
                    "gen_ai.completion.0.role": "assistant",
                    "gen_ai.completion.0.content": "Hello",
                    "gen_ai.completion.0.finish_reason": "length",
                }
            }
        ],
        tmp_path,
    )
    (turn,) = story.items
    assert isinstance(turn, Turn)
    assert (turn.texts, turn.finish) == (["Hello"], "length")


def test_calls_that_only_messages_tell_of_are_actions(tmp_path: Path) -> None:
    """Where nothing traces tools: the call from one answer, its result from what was asked next, or none."""
    first = [
        {
            "role": "assistant",
            "finish_reason": "tool_calls",
            "parts": [
                {"type": "tool_call", "id": "1", "name": "pay", "arguments": {"cents": 9}},
                {"type": "tool_call", "id": "2", "name": "post", "arguments": "{}"},
            ],
        }
    ]
    then = [*first, {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "paid"}]}]
    chat = {"gen_ai.operation.name": "chat"}
    story = one(
        [
            {"attributes": {**chat, "gen_ai.output.messages": json.dumps(first)}},
            {"attributes": {**chat, "gen_ai.input.messages": json.dumps(then)}},
        ],
        tmp_path,
    )
    deeds = {each.name: each for each in story.items if isinstance(each, Deed)}
    assert (deeds["pay"].arguments, deeds["pay"].value, deeds["pay"].error) == ({"cents": 9}, "paid", "")
    assert deeds["post"].error == "its result is not recorded"


def chat(**messages: list[dict[str, Any]]) -> dict[str, Any]:
    """A span of a model's answer, by the conventions: `input` and `output` messages."""
    told = {f"gen_ai.{way}.messages": json.dumps(each) for way, each in messages.items()}
    return {"attributes": {"gen_ai.operation.name": "chat", **told}}


def test_a_result_in_a_message_of_its_own_is_the_calls(tmp_path: Path) -> None:
    """As chat completions have it: its id beside the content, and the call's function in an object of its own."""
    call = {"id": "1", "type": "function", "function": {"name": "pay", "arguments": '{"cents": 9}'}}
    asked: dict[str, Any] = {"role": "assistant", "content": "I pay", "tool_calls": [call]}
    back = {"role": "tool", "tool_call_id": "1", "content": "paid"}
    story = one([chat(output=[asked]), chat(input=[asked, back])], tmp_path)
    first, *_ = (each for each in story.items if isinstance(each, Turn))
    assert first.texts == ['I pay\n→ pay({"cents": 9})']
    (deed,) = (each for each in story.items if isinstance(each, Deed))
    assert (deed.name, deed.arguments, deed.value, deed.error) == ("pay", {"cents": 9}, "paid", "")


@pytest.mark.parametrize("ids", [("", "", ""), ("call_0", "call_1", "call_0")], ids=["missing", "used again"])
def test_calls_whose_ids_do_not_tell_them_apart_are_all_told(tmp_path: Path, ids: tuple[str, ...]) -> None:
    """Each with its own result, though every request repeats the earlier ones; the last has none."""
    parts = [
        {"type": "tool_call", "id": identity, "name": "pay", "arguments": {"cents": cents}}
        for cents, identity in enumerate(ids, start=1)
    ]
    back = [
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": identity, "response": f"paid {cents}"}]}
        for cents, identity in enumerate(ids[:2], start=1)
    ]
    first, then = [{"role": "assistant", "parts": parts[:2]}], [{"role": "assistant", "parts": parts[2:]}]
    story = one([chat(output=first), chat(input=[*first, *back], output=then), chat(input=[*first, *back])], tmp_path)
    deeds = [each for each in story.items if isinstance(each, Deed)]
    told = sorted((each.arguments["cents"], each.value, each.error) for each in deeds)
    assert told == [(1, "paid 1", ""), (2, "paid 2", ""), (3, None, "its result is not recorded")]


@pytest.mark.parametrize(
    ("attributes", "messages", "texts"),
    [
        (
            {"gen_ai.system_instructions": "Be brief", "gen_ai.input.messages": '[{"role": "user", "content": "Hi"}]'},
            [("system", "Be brief"), ("user", "Hi")],
            [],
        ),
        (
            {"gen_ai.system_instructions": '[{"type": "text", "content": "Be brief"}]'},
            [("system", "Be brief")],
            [],
        ),
        (
            {"openinference.span.kind": "LLM", "input.value": "Hi", "output.value": "Hello"},
            [("user", "Hi")],
            ["Hello"],
        ),
        (
            {
                "openinference.span.kind": "LLM",
                "llm.input_messages.0.message.role": "developer",
                "llm.input_messages.0.message.contents.0.message_content.type": "text",
                "llm.input_messages.0.message.contents.0.message_content.text": "Be brief",
                "llm.input_messages.1.message.role": "user",
                "llm.input_messages.1.message.content": "Hi",
                "input.value": "all of it again",
                "output.value": "Hello",
            },
            [("system", "Be brief"), ("user", "Hi")],
            ["Hello"],
        ),
        (
            {
                "gen_ai.input.messages": json.dumps(
                    [{"role": "user", "content": [{"type": "text", "text": "Look"}, "here"]}]
                ),
                "gen_ai.output.messages": json.dumps(
                    [{"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm"}, {"content": "Yes"}]}]
                ),
            },
            [("user", "Look\nhere")],
            ["Yes"],
        ),
        (
            {
                "events": json.dumps(
                    [
                        {"event.name": "gen_ai.user.message", "role": "user", "content": "Hi"},
                        {"event.name": "gen_ai.choice", "role": "assistant", "content": "Hello"},
                    ]
                )
            },
            [("user", "Hi")],
            ["Hello"],
        ),
        (
            {f"gen_ai.prompt.{n}.content": f"line {n}" for n in (10, 9, 2)},
            [("user", f"line {n}") for n in (2, 9, 10)],
            [],
        ),
    ],
    ids=["system text", "system parts", "bare values", "contents", "lists", "events", "ten and more"],
)
def test_messages_in_any_convention_are_told_with_their_roles(
    tmp_path: Path, attributes: dict[str, Any], messages: list[tuple[str, str]], texts: list[str]
) -> None:
    """What the model was sent, in order, and what it answered; reasoning apart."""
    (turn,) = one([{"attributes": {"gen_ai.operation.name": "chat", **attributes}}], tmp_path).items
    assert isinstance(turn, Turn)
    assert [(each.role, each.content) for each in turn.messages] == messages
    assert turn.texts == texts


def test_a_run_is_named_for_its_agent_and_fails_as_its_outermost_span(tmp_path: Path) -> None:
    """Not for the framework's span around the agent, nor for what failed within and was got over."""
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "clerk"}
    failed = {"code": 2, "message": "tried again"}
    outer = {"spanId": "a" * 16, "name": "workflow"}
    inner = {"spanId": "b" * 16, "parentSpanId": "a" * 16, "attributes": agent, "status": failed}
    model = {**chat(output=[{"role": "assistant", "content": "Yes"}]), "parentSpanId": "b" * 16}
    story = one([outer, inner, model], tmp_path)
    assert (story.agent, story.error, story.answer, story.source) == ("clerk", "", "Yes", "GenAI spans")
    assert one([{**outer, "status": failed}, inner, model], tmp_path).error == "tried again"


def test_spans_that_stand_below_one_another_in_a_circle_are_read(tmp_path: Path) -> None:
    """Nothing promises that a stranger's spans are a tree."""
    model = chat(output=[{"role": "assistant", "content": "Yes"}])
    outer = {"spanId": "a" * 16, "parentSpanId": "b" * 16}
    inner = {"spanId": "b" * 16, "parentSpanId": "a" * 16}
    story = one([outer, inner, {**model, "parentSpanId": "b" * 16}], tmp_path)
    assert (story.answer, len(story.items)) == ("Yes", 1)


def test_no_call_is_hidden_by_how_spans_are_tied(tmp_path: Path) -> None:
    """In a circle of parents none is the outermost, and a span without an id is nobody's parent: each is told."""
    tool = {"gen_ai.operation.name": "execute_tool"}
    tied = [
        {"spanId": "a" * 16, "parentSpanId": "b" * 16, "attributes": {**tool, "gen_ai.tool.name": "pay"}},
        {"spanId": "b" * 16, "parentSpanId": "a" * 16, "attributes": {**tool, "gen_ai.tool.name": "look"}},
        {"spanId": "", "parentSpanId": "", "attributes": {**tool, "gen_ai.tool.name": "hide"}},
        {"spanId": "c" * 16, "parentSpanId": "", "attributes": {**tool, "gen_ai.tool.name": "send"}},
    ]
    story = one(tied, tmp_path)
    assert sorted(each.name for each in story.items if isinstance(each, Deed)) == ["hide", "look", "pay", "send"]


@pytest.mark.parametrize("frames", [bytes(4_000), b"\0\0\0\0\x0a"])
def test_frames_of_nothing_are_no_spans(tmp_path: Path, frames: bytes) -> None:
    """A file of zeros has no end to wait for."""
    (tmp_path / "zeros.bin").write_bytes(frames)
    with pytest.raises(BadInput, match="cut off, or not protobuf"):
        list(read_spans(tmp_path / "zeros.bin"))


@pytest.mark.parametrize("at", ["9" * 30, "-1"])
def test_a_time_that_otlp_does_not_have_is_refused(tmp_path: Path, at: str) -> None:
    """What it was imported to could not be shown."""
    with pytest.raises(BadInput, match="is not a time"):
        one([{**chat(output=[]), "endTimeUnixNano": at}], tmp_path)


@pytest.mark.parametrize("inline", [False, True])
def test_a_log_that_refers_to_the_same_endlessly_is_refused(tmp_path: Path, *, inline: bool) -> None:
    """A file of two megabytes may stand for terabytes."""
    text = "x" * 1_000_000
    model = {"event": "model", "input_refs": [[0, 1]] * 1_000, "output": {}, "timestamp": "2026-01-01T00:00:00+00:00"}
    sample = {
        "id": 1,
        "events": [model],
        "events_data": {"messages": [{"role": "user", "content": text if inline else "attachment://a"}]},
        "attachments": {"a": text},
    }
    (tmp_path / "log.json").write_text(json.dumps({"eval": {"eval_id": "x"}, "samples": [sample]}))
    with pytest.raises(BadInput, match="larger than 512 MB: leave it out"):
        list(read_log(tmp_path / "log.json"))


def test_a_device_is_not_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link may lead anywhere."""
    (tmp_path / "log.json").symlink_to("/dev/zero")
    assert main(["audit", "import", str(tmp_path / "log.json"), "--runs", str(tmp_path / "runs")]) == 2
    assert "not a regular file" in capsys.readouterr().err


def test_what_failed_is_told_as_not_known_to_have_happened(tmp_path: Path) -> None:
    """A tool of another agent that failed may have done something: its outcome is unknown, and the run failed."""
    story = one(
        [
            {
                "attributes": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "pay"},
                "status": {"code": 2, "message": "no route"},
            }
        ],
        tmp_path,
    )
    journal = FileJournal(tmp_path / "runs")
    events = [link.event for link in links(journal.folder(asyncio.run(write(journal, story))))]
    (outcome,) = [event for event in events if isinstance(event, ev.ActionOutcome)]
    assert outcome.status == "unknown"
    assert isinstance(events[-1], ev.Ended)
    assert events[-1].status == "failed"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has no spans"),
        (b"{}", "has no spans"),
        (b"not a trace at all", "has no readable OTLP spans"),
        (b'{"resourceSpans": 3}', "has no readable OTLP spans"),
        (
            b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}',
            "has no readable OTLP spans",
        ),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "GET /"}]}]}]}', "none of a model's answer"),
        (gzip.compress(b"{}", mtime=0), "it is compressed: unpack it first"),
        (b"PK\x03\x04 not a zip", "not a readable Inspect log"),
        (b'{"eval": {}, "samples": [{}]}', "not a readable Inspect log"),
        (b'{"eval": 3, "samples": [', "not a readable Inspect log"),
    ],
)
def test_what_cannot_be_read_is_bad_input(
    audit: Callable[..., tuple[int, str, str]], tmp_path: Path, data: bytes, said: str
) -> None:
    """One line that says what is wanted, and no run."""
    (tmp_path / "file").write_bytes(data)
    status, _, err = audit("import", str(tmp_path / "file"))
    assert (status, said in err, err.count("\n")) == (2, True, 1), err
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_cut_anywhere_is_bad_input_or_tells_part(tmp_path: Path) -> None:
    """No cut of a real file ends in a traceback."""

    def spans(path: Path) -> list[Story]:
        return list(stories(read_spans(path)))

    def log(path: Path) -> list[Story]:
        return list(read_log(path))

    for source, read in ((LANGGRAPH, spans), (INSPECT, log)):
        data = source.read_bytes()
        for length in range(0, len(data), max(1, len(data) // 40)):
            (tmp_path / "cut").write_bytes(data[:length])
            with contextlib.suppress(BadInput):
                read(tmp_path / "cut")


# --- large files, and imports that end in the middle


def chats(trace: int, count: int, weight: int = 10, first: int = 1) -> str:
    """A line of OTLP with answers of a model in one trace, each so many letters long, numbered from the first."""
    told = [
        {
            "traceId": f"{trace:032x}",
            "spanId": f"{number:016x}",
            "startTimeUnixNano": str(10**18 + trace * 10**12 + number * 10**9),
            "endTimeUnixNano": str(10**18 + trace * 10**12 + number * 10**9),
            "attributes": [
                {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
                {"key": "gen_ai.completion.0.content", "value": {"stringValue": "x" * weight}},
            ],
        }
        for number in range(first, first + count)
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": told}]}]}) + "\n"


def test_a_file_is_read_part_by_part(tmp_path: Path) -> None:
    """Ten times the lines take no more memory, though the spans of each trace stand all over the file."""
    peaks = []
    for rounds in (4, 20):
        path = tmp_path / f"{rounds}.jsonl"
        with path.open("w") as file:
            for number in range(rounds):
                file.writelines(chats(trace, 1, 20_000, number + 1) for trace in range(1, rounds + 1))
        tracemalloc.start()
        try:
            found = [len(story.items) for story in stories(read_spans(path))]
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert found == [rounds] * rounds
    assert peaks[1] < peaks[0] + 20 * 4 * 20_000  # of one trace


def test_a_part_that_is_too_large_to_be_read_at_once_is_named_with_the_cure(
    audit: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line, JSON over several lines, a message of protobuf, a sample of Inspect: which, and what to do."""
    monkeypatch.setattr("scaffold.foreign.spans.LARGEST", 4000)
    monkeypatch.setattr("scaffold.foreign.inspect_logs.LARGEST", 4000)
    plain = json.dumps(hexadecimal(TracesData.FromString(LANGGRAPH.read_bytes())))
    forms = {
        "line": (plain.encode(), "a line of it is larger than"),
        "pretty": (json.dumps(json.loads(plain), indent=1).encode(), "its JSON is larger than"),
        "protobuf": (LANGGRAPH.read_bytes(), "a message in it is larger than"),
        "inspect": (INSPECT.read_bytes(), "in it is larger than"),
    }
    for name, (data, said) in forms.items():
        (tmp_path / name).write_bytes(data)
        status, _, err = audit("import", str(tmp_path / name))
        assert (status, said in err, ": " in err.partition(" MB")[2]) == (2, True, True), err


def test_a_span_that_was_exported_twice_is_one(tmp_path: Path) -> None:
    """Exporters repeat what they are not sure has arrived: that is no second deed."""
    once, twice = tmp_path / "once", tmp_path / "twice"
    once.write_bytes(LANGGRAPH.read_bytes())
    twice.write_bytes(LANGGRAPH.read_bytes() * 2)
    (expected,), (found,) = stories(read_spans(once)), stories(read_spans(twice))
    assert len(found.items) == len(expected.items) > 1


def test_a_trace_may_be_spread_over_files(audit: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """As where a collector begins a new file; one that cannot be read to its end counts for nothing, the others do."""
    (tmp_path / "1.jsonl").write_text(chats(1, 2) + chats(2, 1))
    (tmp_path / "2.jsonl").write_text(chats(1, 3, first=3) + chats(3, 1))
    (tmp_path / "3.jsonl").write_text(chats(2, 4, first=2) + '{"resourceSpans": [{"scopeSpans"')
    status, out, err = audit("import", *(str(tmp_path / f"{number}.jsonl") for number in (1, 2, 3)))
    assert (status, "3.jsonl has no readable OTLP spans" in err) == (2, True), err
    assert [line.partition(": ")[2].partition(",")[0] for line in out.splitlines()] == ["5 steps", "1 step", "1 step"]


def test_one_trace_that_cannot_be_told_does_not_keep_the_others_out(
    audit: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """They are imported, the fault is named, and the command ends as it does with bad input."""
    broken = chats(2, 1).replace("gen_ai.completion.0.content", "gen_ai.input.messages")
    broken = broken.replace("xxxxxxxxxx", json.dumps([{"role": "user", "parts": 5}]).replace('"', '\\"'))
    (tmp_path / "three.jsonl").write_text(chats(1, 1) + broken + chats(3, 1))
    status, out, err = audit("import", str(tmp_path / "three.jsonl"))
    assert (status, len(out.splitlines())) == (2, 2), err
    assert f"trace {2:032x}" in err


def test_an_import_that_was_killed_is_done_again(audit: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """What it left is no run of anybody's: the next import takes its place; a whole one is left as it is."""
    audit("import", str(LANGGRAPH))
    (folder,) = (tmp_path / "runs").glob("2*/")
    whole = (folder / "trace.jsonl").read_bytes().splitlines(keepends=True)
    for left in (whole[:5], []):
        (folder / "trace.jsonl").write_bytes(b"".join(left))
        status, out, _ = audit("import", str(LANGGRAPH))
        assert (status, "imported already" in out) == (0, False)
        assert len((folder / "trace.jsonl").read_bytes().splitlines()) == len(whole)
    assert "imported already" in audit("import", str(LANGGRAPH))[1]


def test_what_cannot_be_recorded_leaves_no_run_behind(tmp_path: Path) -> None:
    """An argument that is no JSON is bad input, a full disk is told, and the next import does not find half a run."""
    journal = FileJournal(tmp_path / "runs")
    deeds = [Deed(at=1.0, until=2.0, name="pay", arguments={"cents": cents}) for cents in (1, object())]
    story = Story(source="x", id="1", at=1.0, until=2.0, items=list(deeds))
    with pytest.raises(BadInput, match="cannot be recorded"):
        asyncio.run(write(journal, story))
    assert journal.runs() == []

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    story = msgspec.structs.replace(story, items=deeds[:1])
    with pytest.raises(JournalFailed, match="No space left on device"):
        asyncio.run(write(FileJournal(tmp_path / "runs", write=full), story))
    assert journal.runs() == []


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(NAMES), PLAIN | PLAIN.map(json.dumps), max_size=6).map(
        lambda each: {"gen_ai.operation.name": "chat", **each}
    )
)
def test_whatever_stands_in_attributes_is_read_or_bad_input(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """No attribute of a known name, whatever it holds, ends in a traceback, also when it is written down."""
    span = Span(trace="1", id="2", parent="", name="x", at=1.0, until=2.0, attributes=attributes)
    try:
        for story in stories([span]):
            with tempfile.TemporaryDirectory(dir=tmp_path) as place:
                asyncio.run(write(FileJournal(place), story))
    except BadInput:
        return
