"""Access control of the page: only browsers on this machine with a token, and no page of another origin.

Every web site that the person has open can reach a page on the loopback. So each request must name this address as its
host (against DNS rebinding), requests that change anything must come from this origin (against CSRF), and everything
but the first visit must have the cookie. Cookies are not separated by port, so the cookie's name contains the port.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
SIGNED = "/hook/answer"
"""Where messages are taken without a cookie: they bring a signature."""


class Guard:
    """Middleware that admits requests of known people to an app; `request.state.person` says whose."""

    def __init__(self, app: ASGIApp, *, port: int, people: Iterable[str]) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
        self._cookie = f"scaffold-approvals-{port}"
        self._port = port
        self._tokens = {person: secrets.token_urlsafe(32) for person in people}
        self._sessions = {person: secrets.token_urlsafe(32) for person in self._tokens}

    def addresses(self) -> dict[str, str]:
        """The address with the token, for each person."""
        return {person: f"http://127.0.0.1:{self._port}/?token={token}" for person, token in self._tokens.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, and pass it on."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._hosts:
            return PlainTextResponse("This page can only be opened by its own address on this machine.", 421)
        if scope["path"] == SIGNED and scope["method"] == "POST":
            # Only programs call this; a web site could not sign, and need not be allowed to try.
            return (
                None
                if "origin" not in headers
                else PlainTextResponse("This address cannot be used from a browser.", 403)
            )
        if not _is_from_here(scope["method"], headers, host):
            return PlainTextResponse("Requests from another origin or site are refused.", 403)
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            return self._let_in(scope["query_string"])
        person = _whose(self._sessions, _cookie(headers.get("cookie", ""), self._cookie))
        if not person:
            return PlainTextResponse(
                "Open the address that `scaffold approvals serve` printed: it contains a token.", 401
            )
        scope.setdefault("state", {})["person"] = person
        return None

    def _let_in(self, query: bytes) -> ASGIApp:
        """Exchange a token for a cookie, so that the browser's address bar and history do not keep the token."""
        person = _whose(self._tokens, parse_qs(query.decode("latin-1")).get("token", [""])[0])
        if not person:
            return PlainTextResponse(
                "This token is out of date: open the address that `scaffold approvals serve` printed last.", 401
            )
        response = RedirectResponse("/", 303)
        response.set_cookie(self._cookie, self._sessions[person], httponly=True, samesite="strict")
        return response


def _is_from_here(method: str, headers: Headers, host: str) -> bool:
    """Whether a request comes from this origin; one that changes anything must state its origin."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if method in {"GET", "HEAD"} and origin is None:
        return True
    return origin == f"http://{host}" and site in {"same-origin", "none"}


def _whose(known: dict[str, str], given: str) -> str:
    """Return the person whose secret it is, or an empty text; compares all, so that timing reveals nothing."""
    found = ""
    for person, secret in known.items():
        if hmac.compare_digest(secret.encode(), given.encode("utf-8", "replace")):
            found = person
    return found


def _cookie(said: str, name: str) -> str:
    try:
        morsel = SimpleCookie(said).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
