"""Maps the trace to the names and formats of the GenAI semantic conventions.

Source: OpenTelemetry semantic conventions for generative AI, status Development: names as of v1.41, and the span `plan`
as maintained since 2026 in open-telemetry/semantic-conventions-genai. Used are the spans `invoke_agent`, `plan`, `chat`
and `execute_tool`, the event `gen_ai.evaluation.result`, and the JSON schemas of input and output messages. Whatever
they do not define is named under `scaffold.`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from scaffold.vocabulary.events import VerdictFact
    from scaffold.vocabulary.models import Usage

Attribute: TypeAlias = str | bool | int | float | Sequence[str]
Attributes: TypeAlias = dict[str, Attribute]
Content: TypeAlias = Mapping[str, Any]

# The conventions have no value for a generation cut off by its caller, and require `error` then.
_FINISH = {"stop": "stop", "length": "length", "cut": "error", "error": "error"}

_encode = msgspec.json.encode


def as_json(value: Any) -> str:
    """Render a value as JSON text, which a span can hold."""
    return _encode(value).decode()


def as_text(value: Any) -> str:
    """Return a text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else as_json(value)


def _text(holder: Content, name: str) -> Content:
    return {"type": "text", "content": holder.get(name, "")}


def _parts(sample: Content) -> list[Content]:
    text = _text(sample, "text")
    reasoning = sample.get("reasoning")
    return [{"type": "reasoning", "content": reasoning}, text] if reasoning else [text]


def input_messages(messages: Sequence[Content]) -> str:
    """Render a prompt in the schema of input messages."""
    return as_json([{"role": turn.get("role", "user"), "parts": [_text(turn, "content")]} for turn in messages])


def _finish(sample: Content) -> str:
    return _FINISH.get(sample.get("finish", "stop"), "error")


def output_messages(samples: Sequence[Content]) -> str:
    """Render samples in the schema of output messages: one message each, reasoning before text."""
    return as_json(
        [{"role": "assistant", "parts": _parts(sample), "finish_reason": _finish(sample)} for sample in samples]
    )


def finish_reasons(samples: Sequence[Content]) -> tuple[str, ...]:
    """Return why each sample ended, in the conventions' terms."""
    return tuple(map(_finish, samples))


def response_model(samples: Sequence[Content]) -> str:
    """Return the model that answered if a wrapper chose it and all samples are from it; else an empty text."""
    models = {(sample.get("origin") or {}).get("model", "") for sample in samples}
    return str(models.pop()) if len(models) == 1 else ""


def usage_attributes(usage: Usage) -> Attributes:
    """Return attributes for the tokens of one model call, and its cost if known, which has no convention."""
    attributes: Attributes = {
        "gen_ai.usage.input_tokens": usage.input,
        "gen_ai.usage.output_tokens": usage.output,
    }
    if usage.cached:
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached
    if usage.reasoning:
        attributes["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning
    if usage.usd is not None:
        attributes["scaffold.usd"] = usage.usd
    return attributes


def ledger_attributes(ledger: str, usage: Usage) -> Attributes:
    """Return attributes for one ledger of a session, with names of their own so that no tokens count twice."""
    prefix = f"scaffold.usage.{ledger}"
    attributes: Attributes = {f"{prefix}.input_tokens": usage.input, f"{prefix}.output_tokens": usage.output}
    if usage.usd is not None:
        attributes[f"{prefix}.usd"] = usage.usd
    return attributes


def evaluation_attributes(fact: VerdictFact, rationale: str) -> Attributes:
    """Render a verdict as an evaluation result.

    The label is the decision; for a failed check it is the status, so that it never looks like a pass.
    """
    attributes: Attributes = {
        "gen_ai.evaluation.name": fact.property or fact.monitor,
        "gen_ai.evaluation.score.label": fact.decision if fact.status == "ok" else fact.status,
    }
    if fact.score is not None:
        attributes["gen_ai.evaluation.score.value"] = fact.score
    if rationale:
        attributes["gen_ai.evaluation.explanation"] = rationale
    return attributes
