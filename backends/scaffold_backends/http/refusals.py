"""Maps a server's error to one of ours, and says whether a retry can help."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import math
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from scaffold.errors import BackendError, BackendUnavailable, BadRequest, ContextOverflow, NotAuthorised
from scaffold.vocabulary.characters import clean
from scaffold.wrapping.scrubbing import hiding
from scaffold_backends.http.recognise import recognised

if TYPE_CHECKING:
    from collections.abc import Mapping

# 409 is a lock that timed out; a retry is harmless, since generating has no side effects.
_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})

_STATUSES = range(400, 600)  # of errors
_AT_THE_DOOR = frozenset({401, 402, 403, 404, 407, 429})  # sent before any work is begun

# An error inside a stream often has a word in place of a status:
# https://docs.claude.com/en/api/errors and https://platform.openai.com/docs/guides/error-codes.
_WORDS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "invalid_prompt": 422,
}

_OVERFLOW = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|available context size"
    r"|context window|exceed context limit|prompt is too long|input is too long|too many (input )?tokens"
    r"|exceeds the maximum number of tokens|longer than the (model's context|maximum model) length"
    r"|exceeds the maximum allowed length|too long to fit|maximum prompt length|model token limit"
    r"|max_new_tokens` must be <=|`inputs` must have less than|context length of only|exceeds max length",
    re.IGNORECASE,
)
_UNPAID = re.compile(r"insufficient_quota|billing_not_active|billing_hard_limit|credit balance is too low")
_NOT_TAKEN = re.compile(
    r"unsupported|not support|not permitted|not allowed|un(known|recognized)|extra_forbidden", re.IGNORECASE
)
# Fields that a request can omit, and the option for that.
_SPARED = {"n": "n: false", "response_format": "schema: false", "text": "schema: false"}
_NEEDED = frozenset({"model", "messages", "input", "stream"})
_BAD_KEY = re.compile(r"API key not valid|API_KEY_INVALID")  # Gemini says 400

_LONGEST = 500  # characters of a server's message that go into ours


@dataclass(frozen=True)
class Origin:
    """The server, for messages.

    Attributes:
        name: such as `https://api.openai.com/v1`.
        key_env: the environment variable that holds the key; empty if none is sent.
        key: the key, only to keep it out of messages.
        dialect: the dialect used.
        secrets: what else to keep out of messages.
    """

    name: str
    key_env: str = ""
    key: str = field(default="", repr=False)
    dialect: str = "chat"
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def hide(self, text: str) -> str:
        """Remove secrets from a server's message, and shorten it to one line."""
        text = hiding(dict.fromkeys((self.key, *self.secrets), "***"))(_on_one_line(text))
        return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


class Refused(Exception):
    """A server's refusal.

    Attributes:
        error: the error to raise after the last attempt.
        passing: whether a retry can help.
        retry_after: seconds that the server asks us to wait; None if it does not say.
        at_the_door: whether no work was begun, so that nothing must be paid.
    """

    def __init__(
        self, error: BackendError, *, passing: bool, retry_after: float | None = None, at_the_door: bool = False
    ) -> None:
        super().__init__(str(error))
        self.at_the_door = at_the_door
        self.error = error
        self.passing = passing
        self.retry_after = retry_after


def retry_after(value: str | None, now: dt.datetime) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3): seconds, or an HTTP date.

    Returns:
        Seconds from now, never negative; None if the header is absent or not valid.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        pass
    else:
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=dt.UTC)
    return max(0.0, (until - now).total_seconds())


def asked_to_wait(headers: Mapping[str, str], body: bytes, now: dt.datetime) -> float | None:
    """Return how many seconds a server asks us to wait; None if it does not say.

    OpenAI and Azure also use milliseconds; Google gives it in the body
    (https://cloud.google.com/apis/design/errors, `google.rpc.RetryInfo`).
    """
    exact = headers.get("retry-after-ms", "")
    if re.fullmatch("[0-9]{1,12}", exact):
        return int(exact) / 1000
    if (told := retry_after(headers.get("retry-after"), now)) is not None:
        return told
    found = re.search(rb'"retryDelay"\s*:\s*"([0-9.]{1,9})s"', body)
    return float(found[1]) if found and found[1].count(b".") < 2 else None  # noqa: PLR2004 - a number has one at most


def refusal(status: int, body: Any, origin: Origin, *, wait: float | None = None) -> Refused:
    """Convert an error status, or an error inside a stream, to a refusal.

    Args:
        status: the HTTP status; 0 if the error came inside a stream without a number.
        body: the answer's body as bytes, or the decoded value of an `error` key.
        origin: the server.
        wait: seconds from a Retry-After header.
    """
    said, code, param = _read(body)
    said = origin.hide(said)
    told = f"{origin.name} answered {status or 'with an error'}: {said or 'no reason given'}"
    kind, cure = _meaning(status, said, code, origin)
    if kind is BadRequest and param and _NOT_TAKEN.search(f"{code} {said}"):
        cure = _without(param)
    if kind is BadRequest and status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
        hint = recognised(body, origin.dialect) if isinstance(body, bytes) else ""
        cure += hint.removeprefix(".") if "speaks" in hint else ""
    passing = kind is BackendUnavailable and not cure and (status in _PASSING or status == 0)
    error = kind(f"{told.rstrip('.')}. {cure}" if cure else told)
    return Refused(error, passing=passing, retry_after=wait, at_the_door=status in _AT_THE_DOOR)


def _meaning(status: int, said: str, code: str, origin: Origin) -> tuple[type[BackendError], str]:
    """Return the error class and the advice; no advice for passing errors and faults of the server."""
    if status in {401, 403} or (status == HTTPStatus.BAD_REQUEST and _BAD_KEY.search(said)):
        return NotAuthorised, _cure(origin)
    if status in {0, 400, 413, 422} and _OVERFLOW.search(f"{code} {said}"):
        return ContextOverflow, "Shorten the prompt, or use a model with more context."
    if status == HTTPStatus.PAYMENT_REQUIRED or _UNPAID.search(f"{code} {said}"):
        return BackendUnavailable, "Check the account's plan and billing."
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return (
            BackendUnavailable,
            "The proxy needs a name and a password: put them into its URL in HTTPS_PROXY or HTTP_PROXY.",
        )
    if status in _PASSING or status == 0 or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return BackendUnavailable, ""
    lost = status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
    return BadRequest, "Check the model's name and the URL, which usually ends in /v1." if lost else ""


def _without(field: str) -> str:
    """Say how to send a request without a field that the server refuses."""
    option = _SPARED.get(field, f"omit: [{field}]")
    return f"Set option '{option}' to ask without it."


def stream_refusal(error: Any, origin: Origin) -> Refused:
    """Convert an error inside a stream; its `code` is often an HTTP status, its `type` a word for one."""
    code = error.get("code") if isinstance(error, dict) else None
    if not isinstance(code, int) or code not in _STATUSES:
        words = [str(error.get(name)) for name in ("type", "code")] if isinstance(error, dict) else []
        code = next((_WORDS[word] for word in words if word in _WORDS), 0)
    return refusal(code, error, origin)


def _cure(origin: Origin) -> str:
    if origin.key_env:
        return f"Check the key in the environment variable {origin.key_env}."
    return "If it needs a key, name the environment variable that holds it in the option 'key_env'."


def _read(body: Any) -> tuple[str, str, str]:
    """Return a server's message, its error code, and the field of the request that it is about."""
    if isinstance(body, bytes):
        text = body.decode("utf-8", "replace")
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            return re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE), "", ""
    if isinstance(body, list) and body:  # Gemini, where it was not asked for events
        body = body[0]
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict):
            said = inner.get("message") or inner.get("detail") or inner
            code = f"{inner.get('code') or ''} {inner.get('type') or ''}".strip()
            return str(said), code, _field(inner.get("param") or said)
        return str(inner), str(body.get("code") or ""), ""
    return str(body), "", ""


def _field(told: Any) -> str:
    """Return the field that an error names, directly or, as FastAPI and pydantic do, by its location."""
    if isinstance(told, dict):
        told = told.get("detail")
    if isinstance(told, list) and told and isinstance(told[0], dict):
        place = told[0].get("loc")
        told = place[1] if isinstance(place, list) and len(place) > 1 else None
    known = isinstance(told, str) and re.fullmatch(r"[a-z_]{1,40}", told) and told not in _NEEDED
    return told if known else ""


def _on_one_line(text: str) -> str:
    """Put a text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in clean(text)).split())
