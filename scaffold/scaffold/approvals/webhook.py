"""Escalates to a webhook: sends the question in a signed message, and may get a signed answer back.

Both are signed after Standard Webhooks (https://www.standardwebhooks.com): headers `webhook-id`, `webhook-timestamp`
and `webhook-signature`; the last is `v1,` and the base64 of HMAC-SHA256(secret, "id.timestamp.body").
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import BadInput
from scaffold.interfaces import Answer
from scaffold.proxies import proxy_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from scaffold.interfaces import Question

_log = logging.getLogger(__name__)
_PREFIX = "whsec_"
_TOLERANCE_S = 300.0
_LARGEST = 65_536
_OK, _TOO_MANY, _BROKEN = 200, 429, 500


class Untrusted(Exception):
    """A message is unsigned, signed with another secret, or too old."""


@dataclass(frozen=True, slots=True)
class Secret:
    """The secret that both sides share."""

    value: bytes = field(repr=False)

    @classmethod
    def read(cls, text: str) -> Secret:
        """Read a secret: `whsec_` and base64, or any text of 16 characters or more.

        Raises:
            BadInput: it is too short, or not valid base64.
        """
        try:
            value = base64.b64decode(text.removeprefix(_PREFIX), validate=True) if text.startswith(_PREFIX) else b""
        except ValueError:
            raise BadInput("SCAFFOLD_WEBHOOK_SECRET should be base64 after `whsec_`") from None
        value = value or text.encode()
        if len(value) < 16:  # noqa: PLR2004 - bytes needed to be hard to guess
            raise BadInput("SCAFFOLD_WEBHOOK_SECRET is too short: it should have 16 bytes or more")
        return cls(value)

    def headers(self, name: str, body: bytes, now: float | None = None) -> dict[str, str]:
        """Return the headers that sign a message."""
        at = str(int(time.time() if now is None else now))
        return {"webhook-id": name, "webhook-timestamp": at, "webhook-signature": self._signature(name, at, body)}

    def check(self, headers: Mapping[str, str], body: bytes, now: float | None = None) -> str:
        """Check a message's signature and age; return its id.

        Raises:
            Untrusted: the signature or the age is not valid.
        """
        name, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        wanted = self._signature(name, at, body).encode()
        given = headers.get("webhook-signature", "").split(" ")
        if not any(hmac.compare_digest(wanted, each.encode()) for each in given):
            raise Untrusted("it is not signed with the webhook's secret")
        if not at.isascii() or not at.isdigit() or abs((time.time() if now is None else now) - int(at)) > _TOLERANCE_S:
            raise Untrusted("it was signed too long ago, or in the future")
        return name

    def _signature(self, name: str, at: str, body: bytes) -> str:
        mark = hmac.new(self.value, f"{name}.{at}.".encode() + body, hashlib.sha256)
        return "v1," + base64.b64encode(mark.digest()).decode()


class Webhook:
    """An approver behind a URL. Whatever happens to the message, the question stays open in the run's trace.

    The approvers after it are asked while the message is being sent.

    Args:
        url: where questions are sent.
        secret: signs questions and answers.
        answer_at: address of the approvals page, for the message's reader.
        seconds: most seconds that all tries for one question may take together.
        tries: most tries for one question.

    Raises:
        BadInput: the address is not one of http.
    """

    def __init__(self, url: str, secret: Secret, *, answer_at: str = "", seconds: float = 10.0, tries: int = 4) -> None:
        if not url.startswith(("https://", "http://")):
            raise BadInput(f"SCAFFOLD_WEBHOOK_URL {url!r} is not an http or https address")
        self._url = url
        self._secret = secret
        self._answer_at = answer_at
        self._seconds = seconds
        self._tries = tries
        self._delivered: set[str] = set()
        self.beside = True

    async def ask(self, question: Question) -> Answer | None:
        """Send the question once; return the answer if the reply contains a signed one."""
        import httpx

        if question.id in self._delivered:
            return None
        body = msgspec.json.encode(self._message(question))
        try:
            way = httpx.AsyncHTTPTransport(proxy=proxy_of(self._url))
            async with httpx.AsyncClient(timeout=self._seconds, transport=way) as client:
                status, headers, reply = await self._send(client, question.id, body)
        except (httpx.HTTPError, TimeoutError) as error:
            _log.warning("the webhook could not be reached (%s): %s keeps waiting", type(error).__name__, question.id)
            return None
        if status >= 300:  # noqa: PLR2004 - anything but success
            _log.warning("the webhook answered with status %d: %s keeps waiting", status, question.id)
            return None
        self._delivered.add(question.id)
        return self._read(question, headers, reply) if status == _OK and reply else None

    def _message(self, question: Question) -> dict[str, Any]:
        run, name = question.run, question.id
        approve = f"scaffold approvals approve {run} {name}"
        return {
            "type": "approval.asked",
            "question": {
                "id": name,
                "run": run,
                "kind": question.kind,
                "digest": question.digest,
                "expires": None if question.expires == float("inf") else question.expires,
                "title": question.title,
                "detail": question.detail,
                "needs": question.needs,
                "approvers": list(question.approvers),
            },
            "answer": {"page": self._answer_at or None, "command": approve},
        }

    async def _send(self, client: httpx.AsyncClient, name: str, body: bytes) -> tuple[int, httpx.Headers, bytes]:
        """Try a few times within a bounded time; return status, headers and body of the reply."""
        import asyncio

        import httpx
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        trying = AsyncRetrying(
            stop=stop_after_attempt(self._tries),
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            retry=retry_if_exception_type((httpx.TransportError, httpx.HTTPStatusError)),
            reraise=True,
        )
        async with asyncio.timeout(self._seconds):
            async for attempt in trying:
                with attempt:
                    return await self._send_once(client, name, body)
        raise AssertionError("unreachable")  # pragma: no cover - tenacity raises when tries are over

    async def _send_once(self, client: httpx.AsyncClient, name: str, body: bytes) -> tuple[int, httpx.Headers, bytes]:
        headers = {"content-type": "application/json", **self._secret.headers(name, body)}
        async with client.stream("POST", self._url, content=body, headers=headers) as reply:
            if reply.status_code == _TOO_MANY or reply.status_code >= _BROKEN:
                reply.raise_for_status()
            read = b""
            async for piece in reply.aiter_bytes():
                read += piece
                if len(read) > _LARGEST:
                    return reply.status_code, reply.headers, b""
            return reply.status_code, reply.headers, read

    def _read(self, question: Question, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Return the answer in a reply, if it is signed and answers this question."""
        try:
            name = self._secret.check(headers, body)
            answer = msgspec.json.decode(body, type=Answer)
        except (Untrusted, msgspec.MsgspecError) as error:
            _log.warning("the webhook's answer to %s does not count: %s", question.id, error)
            return None
        return answer if name == question.id else None


def from_environment() -> Webhook:
    """Make the webhook of `$SCAFFOLD_WEBHOOK_URL`.

    Raises:
        BadInput: the URL is not valid, or `$SCAFFOLD_WEBHOOK_SECRET` is missing or too short.
    """
    secret = os.environ.get("SCAFFOLD_WEBHOOK_SECRET", "")
    if not secret:
        raise BadInput(
            "SCAFFOLD_WEBHOOK_URL is set, but SCAFFOLD_WEBHOOK_SECRET is not: messages to the webhook are signed "
            "with it"
        )
    return Webhook(
        os.environ["SCAFFOLD_WEBHOOK_URL"], Secret.read(secret), answer_at=os.environ.get("SCAFFOLD_APPROVALS_PAGE", "")
    )
