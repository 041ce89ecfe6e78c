"""Interprets spans as agents' runs: the GenAI semantic conventions in several versions, and OpenInference.

Sources: OpenTelemetry semantic conventions for GenAI, v1.28 (span events) to v1.41 (messages as attributes);
OpenInference semantic conventions, "Span kinds" and "LLM spans"; Traceloop's `gen_ai.prompt.N`, `gen_ai.completion.N`.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import msgspec

from scaffold.errors import BadInput
from scaffold.foreign.spans import Span
from scaffold.foreign.told import Deed, Story, Turn, call_as_text
from scaffold.vocabulary.models import Message, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scaffold.vocabulary.models import Role

KIND, OPERATION = "openinference.span.kind", "gen_ai.operation.name"
_MODEL_OPERATIONS = {"chat", "text_completion", "generate_content", "completion"}
_AGENT_OPERATIONS = {"invoke_agent", "create_agent", "invoke_workflow"}
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
}
_UNTOLD = "its result is not recorded"
_CUT = {"length", "max_tokens", "MAX_TOKENS"}
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Span).decode


def stories(*files: Iterable[Span]) -> Iterator[Story]:
    """Yield the story of each trace, the earliest first; traces without a model's answer or a tool's call have none.

    Spans of one trace may be anywhere in the files, so all are first stored on disk; one trace at a time is in memory.

    Raises:
        BadInput: a file cannot be read, and so none of it counts; or the attributes of a trace's spans have an unknown
            form. The next trace can still be read.
    """
    return _Stories(files)


class _Stories:
    """An iterator of stories that goes on after one that cannot be read."""

    def __init__(self, files: Iterable[Iterable[Span]]) -> None:
        self._aside = sqlite3.connect("", isolation_level=None)  # a file without a name, once it is larger than a cache
        self._aside.executescript("PRAGMA journal_mode = MEMORY; CREATE TABLE spans (trace TEXT, at REAL, span BLOB)")
        self._files = iter(files)
        self._traces: Iterator[str] | None = None

    def __del__(self) -> None:
        self._aside.close()  # also if the iteration is abandoned

    def __iter__(self) -> Iterator[Story]:
        return self

    def __next__(self) -> Story:
        for spans in self._files:
            self._lay_aside(spans)
        if self._traces is None:
            self._traces = self._found()
        for trace in self._traces:
            rows = self._aside.execute("SELECT span FROM spans WHERE trace = ? ORDER BY at, rowid", (trace,))
            try:
                story = _story(trace, _once(_decode(span) for (span,) in rows))
            except (TypeError, AttributeError, ValueError, LookupError, OverflowError, RecursionError) as error:
                raise BadInput(f"the spans of trace {trace} have an unknown form: {error}") from error
            if story.items:
                return story
        raise StopIteration

    def _lay_aside(self, spans: Iterable[Span]) -> None:
        """Store a file's spans, or none of them."""
        self._aside.execute("BEGIN")
        try:
            for span in spans:
                self._store(span)
        except BadInput:
            self._aside.execute("ROLLBACK")
            raise
        self._aside.execute("COMMIT")

    def _store(self, span: Span) -> None:
        try:
            row = (span.trace, span.at, _encode(span))
            self._aside.execute("INSERT INTO spans VALUES (?, ?, ?)", row)
        except (TypeError, ValueError, OverflowError, RecursionError, sqlite3.Error) as error:
            raise BadInput(f"the span {span.name!r} of trace {span.trace} cannot be kept: {error}") from error

    def _found(self) -> Iterator[str]:
        self._aside.execute("CREATE INDEX by_trace ON spans (trace, at)")
        traces = self._aside.execute("SELECT trace FROM spans GROUP BY trace ORDER BY min(at)").fetchall()
        return iter([trace for (trace,) in traces])


def _once(spans: Iterable[Span]) -> list[Span]:
    """Return a trace's spans, of those with one id the last: exporters repeat what they are not sure has arrived."""
    return list({span.id or number: span for number, span in enumerate(spans)}.values())


def _story(trace: str, spans: list[Span]) -> Story:
    by_id = {span.id: span for span in spans if span.id}
    turns = [(span, _turn(span)) for span in _outermost(spans, by_id, _is_model)]
    deeds = [_deed(span) for span in _outermost(spans, by_id, _is_tool)]
    if not deeds:
        deeds = list(_deeds_in(span for span, _ in turns))
    _fill_in(deeds, [span for span, _ in turns])
    items: list[Turn | Deed] = [*(turn for _, turn in turns), *deeds]
    roots = [span for span in spans if span.parent not in by_id]
    agents = [span for span in spans if _operation(span) in _AGENT_OPERATIONS] or roots or spans
    root = agents[0]
    return Story(
        source=f"{'OpenInference' if any(KIND in span.attributes for span in spans) else 'GenAI'} spans",
        id=trace,
        at=min(span.at for span in spans),
        until=max(span.until for span in spans),
        agent=str(root.attributes.get("gen_ai.agent.name") or root.name or root.service),
        prompt=_prompt(root, [turn for _, turn in turns]),
        items=items,
        answer=_answer(root, [turn for _, turn in turns]),
        error=next((span.error for span in roots if span.error), ""),
    )


def _outermost(spans: Iterable[Span], by_id: dict[str, Span], kind: Callable[[Span], bool]) -> list[Span]:
    """Return the spans of a kind that stand below no other of it: libraries below libraries tell the same thing twice.

    All that stand in a circle of parents are returned, or below it: none of them is the outermost.
    """
    below: dict[int, bool] = {}
    for span in spans:
        path: dict[int, Span] = {}
        above: Span | None = span
        while above is not None and id(above) not in below and id(above) not in path:
            path[id(above)] = above
            above = by_id.get(above.parent)
        circle = above is not None and id(above) in path
        within = above is not None and not circle and (below[id(above)] or kind(above))
        for each in reversed(path.values()):
            below[id(each)] = within
            within = not circle and (within or kind(each))
    return [span for span in spans if kind(span) and not below[id(span)]]


def _operation(span: Span) -> str:
    return str(span.attributes.get(OPERATION, ""))


def _is_model(span: Span) -> bool:
    kind = span.attributes.get(KIND)
    return (
        kind == "LLM"
        if kind
        else _operation(span) in _MODEL_OPERATIONS or "gen_ai.completion.0.role" in span.attributes
    )


def _is_tool(span: Span) -> bool:
    kind = str(span.attributes.get(KIND, ""))
    return kind in {"TOOL", "RETRIEVER"} if kind else _operation(span) == "execute_tool"


# --- models


def _turn(span: Span) -> Turn:
    attributes = span.attributes
    said, answers = (_openinference if KIND in attributes else _conventional)(span)
    texts, reasonings = [], []
    for answer in answers:
        text, reasoning = _texts(answer)
        texts.append(text)
        reasonings.append(reasoning)
    finish = _first(attributes.get("gen_ai.response.finish_reasons"))
    finish = finish or next((each.get("finish_reason") for each in answers), None)
    return Turn(
        at=span.at,
        until=span.until,
        provider=str(_known(attributes, "gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system") or ""),
        model=str(_known(attributes, "gen_ai.response.model", "gen_ai.request.model", "llm.model_name") or span.name),
        messages=[Message(_ROLES.get(str(each.get("role")), "user"), _text(each)) for each in said],
        texts=texts,
        reasonings=reasonings,
        finish="length" if str(finish) in _CUT else "stop",
        usage=_usage(attributes),
        error=span.error,
    )


def _usage(attributes: dict[str, Any]) -> Usage:
    def count(*names: str) -> int:
        said = _known(attributes, *names)
        return int(said) if isinstance(said, int | float) else 0

    return Usage(
        input=count("gen_ai.usage.input_tokens", "llm.token_count.prompt", "gen_ai.usage.prompt_tokens"),
        output=count("gen_ai.usage.output_tokens", "llm.token_count.completion", "gen_ai.usage.completion_tokens"),
        reasoning=count(
            "gen_ai.usage.reasoning.output_tokens",
            "gen_ai.usage.details.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
        ),
        cached=count("gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read"),
        usd=None,
    )


def _known(attributes: dict[str, Any], *names: str) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _conventional(span: Span) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the input and output messages by the GenAI conventions."""
    attributes = span.attributes
    said, answers = (
        _messages(attributes.get("gen_ai.input.messages")),
        _messages(attributes.get("gen_ai.output.messages")),
    )
    system = _parsed(attributes.get("gen_ai.system_instructions"))
    if system:
        parts = system if isinstance(system, list) else [{"type": "text", "content": str(system)}]
        said = [{"role": "system", "parts": parts}, *said]
    if not said and not answers:
        said, answers = _unflattened(attributes, "gen_ai.prompt"), _unflattened(attributes, "gen_ai.completion")
    if not said and not answers:
        told = [*(_as_message(name, about) for name, _, about in span.events), *_messages(attributes.get("events"))]
        messages = [each for each in told if each]
        said = [each for each in messages if not each.get("answer")]
        answers = [each for each in messages if each.get("answer")]
    return said, answers


def _as_message(name: str, about: dict[str, Any]) -> dict[str, Any]:
    """Convert a span event to a message; return nothing for other events."""
    if name == "gen_ai.choice":
        message = _parsed(about.get("message")) or about
        return {**message, "role": "assistant", "answer": True} if isinstance(message, dict) else {}
    if name.startswith("gen_ai.") and name.endswith(".message"):
        return {"role": name.split(".")[1], **about}
    return {}


def _openinference(span: Span) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the input and output messages by OpenInference."""
    attributes = span.attributes
    said = [each.get("message", {}) for each in _unflattened(attributes, "llm.input_messages")]
    answers = [each.get("message", {}) for each in _unflattened(attributes, "llm.output_messages")]
    if not said and "input.value" in attributes:
        said = [{"role": "user", "content": attributes["input.value"]}]
    if not answers and "output.value" in attributes:
        answers = [{"role": "assistant", "content": attributes["output.value"]}]
    return said, answers


def _messages(said: Any) -> list[dict[str, Any]]:
    told = _parsed(said)
    found = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    return [{**each, "answer": True} if each.get("event.name") == "gen_ai.choice" else each for each in found]


def _parsed(said: Any) -> Any:
    """Decode a value that may be JSON in a text."""
    if not isinstance(said, str):
        return said
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        return said


def _unflattened(attributes: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Rebuild a list of records from flattened attributes such as `prefix.0.a.b`."""
    whole: dict[str, Any] = {}
    for name, value in attributes.items():
        if not name.startswith(f"{prefix}."):
            continue
        place = whole
        *above, last = name[len(prefix) + 1 :].split(".")
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                break
        else:
            place[last] = value
    listed = _listed(whole)
    return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []


def _listed(value: Any) -> Any:
    """Convert tables with numbers as names to lists."""
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(each) for name, each in value.items()}
    if inner and all(name.isdigit() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


# --- messages


def _parts(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a message in one form: text, reasoning, tool_call, tool_call_response."""
    found = [each for each in message.get("parts", ()) if isinstance(each, dict)]
    content = message.get("content", message.get("contents"))
    if isinstance(content, str):
        found.append({"type": "text", "content": content})
    for each in content if isinstance(content, list) else ():
        inner = each.get("message_content", each) if isinstance(each, dict) else {"text": str(each)}
        found.append({"type": inner.get("type", "text"), "content": inner.get("text", inner.get("reasoning", ""))})
    for each in message.get("tool_calls") or ():
        call = each.get("tool_call", each) if isinstance(each, dict) else {}
        function = call.get("function", call)
        if isinstance(function, dict):
            call = {"id": call.get("id", ""), "name": function.get("name"), "arguments": function.get("arguments")}
            found.append({"type": "tool_call", **call})
    return found


def _texts(message: dict[str, Any]) -> tuple[str, str]:
    """Return a message's text, including its tool calls, and its reasoning."""
    said, reasoning = [], []
    for part in _parts(message):
        kind, content = part.get("type", "text"), part.get("content", part.get("text", ""))
        if kind in {"reasoning", "thinking"}:
            reasoning.append(str(content))
        elif kind == "tool_call":
            said.append(call_as_text(str(part.get("name")), _as_text(part.get("arguments"))))
        elif kind in {"tool_call_response", "tool_result"}:
            said.append(_as_text(part.get("response", part.get("result", content))))
        elif content:
            said.append(_as_text(content))
    return "\n".join(each for each in said if each), "\n".join(reasoning)


def _text(message: dict[str, Any]) -> str:
    return _texts(message)[0]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _calls(message: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the tool calls in a message: id, name, arguments."""
    for part in _parts(message):
        if part.get("type") == "tool_call":
            yield str(part.get("id", "")), str(part.get("name")), _arguments(part.get("arguments"))


def _results(message: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in _parts(message):
        if part.get("type") in {"tool_call_response", "tool_result"}:
            yield str(part.get("id", "")), part.get("response", part.get("result", part.get("content")))
    if message.get("tool_call_id"):
        yield str(message["tool_call_id"]), _text(message)


# --- tools


def _deed(span: Span) -> Deed:
    attributes = span.attributes
    given = _known(attributes, "gen_ai.tool.call.arguments", "tool_arguments", "input.value", "tool.parameters")
    back = _known(attributes, "gen_ai.tool.call.result", "tool_response", "output.value", "retrieval.documents")
    return Deed(
        at=span.at,
        until=span.until,
        name=str(_known(attributes, "gen_ai.tool.name", "tool.name") or span.name),
        arguments=_arguments(given),
        value=_plainest(_parsed(back)),
        error=span.error,
        effect="read" if attributes.get(KIND) == "RETRIEVER" else "irreversible",
        id=str(_known(attributes, "gen_ai.tool.call.id", "tool_call.id", "tool.id") or ""),
    )


def _plainest(value: Any) -> Any:
    """Unwrap a tool's result from a framework's message."""
    match value:
        case {"type": "tool", "data": {"content": content}} | {"type": "tool", "content": content}:
            return content
        case _:
            return value


def _arguments(said: Any) -> dict[str, Any]:
    told = _parsed(said)
    if isinstance(told, dict):
        return told
    return {"input": told} if told else {}


def _deeds_in(turns: Iterable[Span]) -> Iterator[Deed]:
    """Yield tool calls that are recorded only in messages: made in an answer, with results in a later request.

    Ids may be missing, or used again. A request repeats what came before it, so its Nth result with an id is that of
    the Nth call with it.
    """
    made: dict[str, list[Deed]] = {}
    for span in turns:
        said, answers = (_openinference if KIND in span.attributes else _conventional)(span)
        told: Counter[str] = Counter()
        for message in said:
            for identity, value in _results(message):
                for deed in made.get(identity, [])[told[identity] :][:1]:
                    if deed.error:
                        deed.value, deed.until, deed.error = value, span.at, ""
                told[identity] += 1
        for answer in answers:
            for identity, name, arguments in _calls(answer):
                deed = Deed(at=span.until, until=span.until, name=name, arguments=arguments, error=_UNTOLD, id=identity)
                made.setdefault(identity, []).append(deed)
    for deeds in made.values():
        yield from deeds


def _fill_in(deeds: Sequence[Deed], turns: Sequence[Span]) -> None:
    """Add argument names to calls whose spans have bare values, from the answers that made the calls."""
    asked = [
        call
        for span in turns
        for answer in (_openinference if KIND in span.attributes else _conventional)(span)[1]
        for call in _calls(answer)
    ]
    for deed in deeds:
        if set(deed.arguments) != {"input"}:
            continue
        bare = deed.arguments["input"]
        fitting = [
            arguments
            for identity, name, arguments in asked
            if name == deed.name and (identity == deed.id if deed.id else bare in arguments.values())
        ]
        if fitting:
            deed.arguments = fitting[0]


# --- the whole


def _prompt(root: Span, turns: Sequence[Turn]) -> str:
    """Return the agent's request: the first user message of its first turn, else the input of its span."""
    for turn in turns[:1]:
        for message in turn.messages:
            if message.role == "user" and message.content.strip():
                return message.content
    told = _known(root.attributes, "input.value", "gen_ai.input.messages")
    said = _messages(told)
    return next((_text(each) for each in said if each.get("role") == "user"), "") or _as_text(told or "") or root.name


def _answer(root: Span, turns: Sequence[Turn]) -> Any:
    told = _known(root.attributes, "final_result")
    if told is not None:
        return told
    return turns[-1].texts[0] if turns and turns[-1].texts else cast("Any", root.attributes.get("output.value"))
