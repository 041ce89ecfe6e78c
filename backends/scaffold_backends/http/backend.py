"""A model of a server in any dialect; connection pool, keys, retries, timeouts and limits are the same for all."""

from __future__ import annotations

import json
import os
import ssl
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from scaffold.errors import BadInput, TaskError
from scaffold.vocabulary.models import Prices, Profile
from scaffold_backends.http.exchange import Patience, Post, exchange
from scaffold_backends.http.pools import ClientPool
from scaffold_backends.http.prefixes import Prefixes
from scaffold_backends.http.pricing import look_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from scaffold.vocabulary.models import Delta, Request
    from scaffold_backends.http.dialect import Dialect
    from scaffold_backends.http.options import HttpOptions
    from scaffold_backends.http.refusals import Origin

# Bytes of one token on the wire: its JSON frame is 200 to 400 bytes, and twice that with log-probabilities.
_BYTES_PER_TOKEN = 2048
_BYTES_BESIDES = 1024 * 1024


class HttpBackend:
    """One model of one server."""

    def __init__(
        self,
        name: str,
        model: str,
        url: str,
        dialect: Dialect,
        options: HttpOptions,
        origin: Origin,
        *,
        is_known: bool,
    ) -> None:
        """`is_known` says that the server is the one that its name means, so that its abilities are not guessed."""
        self._dialect = dialect
        self._options = options
        self._origin = origin
        self._url = httpx.URL(_joined(url, dialect.path))
        timeout = httpx.Timeout(options.read_s, connect=options.connect_s, pool=None)
        self._pool = ClientPool(str(self._url), timeout, _tls(url, options))
        self._prefixes = Prefixes() if getattr(options, "cache", False) else None
        self._patience = Patience(
            attempts=options.attempts,
            backoff_s=options.backoff_s,
            patience_s=options.patience_s,
            total_s=options.total_s,
        )
        given = options.prices and Prices(options.prices.input, options.prices.output, options.prices.cached)
        listed, context, is_guess = look_up(model, url)
        self._prices = given or listed
        shown, is_reasoning_guess = dialect.reasoning
        guesses = {
            "prices": is_guess and given is None,
            "reasoning": options.reasoning is None and is_reasoning_guess,
            "can": not is_known,
        }
        self.profile = Profile(
            backend=name,
            model=model,
            context=options.context or context,
            prices=self._dearest(),
            trust=options.trust,
            reasoning=options.reasoning or shown,
            can=dialect.can,
            guessed=tuple(field for field, is_guessed in guesses.items() if is_guessed),
        )

    def _dearest(self) -> Prices | None:
        """Return the prices for budgets; if prompts are written to a cache, the price of writing."""
        prices = self._prices
        if prices is None or self._prefixes is None or prices.written is None:
            return prices
        return msgspec.structs.replace(prices, input=max(prices.input, prices.written))

    def generate(self, request: Request) -> AsyncGenerator[Delta]:
        """Answer with a stream; closing it closes the connection.

        Raises:
            BackendUnavailable: down, or out of retries.
            NotAuthorised: the key is refused.
            ContextOverflow: the prompt is too long for the model.
            BadRequest: the server refuses the request as invalid.
            BadResponse: the answer was cut, malformed or over-long.
        """
        return self._ask(request) if self._prefixes is None else self._ask_in_turn(request, self._prefixes)

    async def _ask_in_turn(self, request: Request, prefixes: Prefixes) -> AsyncGenerator[Delta]:
        async with prefixes.turn(request) as begun, aclosing(self._ask(request)) as deltas:
            async for delta in deltas:
                begun()
                yield delta

    async def _ask(self, request: Request) -> AsyncGenerator[Delta]:
        reader = self._dialect.reader(request, self._prices)
        post = self._post(request)
        async with self._pool.lend() as client, exchange(client, post, self._patience) as events:
            async for event in events:
                for delta in reader.read(event):
                    yield delta
        yield reader.end()

    def _post(self, request: Request) -> Post:
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "User-Agent": "system2-scaffold",
            **self._dialect.headers,
        }
        if self._origin.key:
            bearer = self._dialect.auth == "Authorization"
            headers[self._dialect.auth] = f"Bearer {self._origin.key}" if bearer else self._origin.key
        return Post(
            url=self._url,
            headers=headers,
            body=json.dumps(self._dialect.body(request), ensure_ascii=False).encode("utf-8", "replace"),
            limit=_BYTES_BESIDES + _BYTES_PER_TOKEN * request.max_tokens * request.n,
            origin=self._origin,
            dialect=self._dialect,
        )

    async def close(self) -> None:
        """Close this event loop's connections; those of other loops close with them."""
        await self._pool.close()


def _joined(url: str, path: str) -> str:
    """Join a path with a query to a base URL, which may have a query, too."""
    parts = urlsplit(url)
    path, _, query = path.partition("?")
    both = "&".join(each for each in (parts.query, query) if each)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, both, ""))


def _tls(url: str, options: HttpOptions) -> ssl.SSLContext:
    """Trust what httpx trusts, or SSL_CERT_FILE, and what `ca_file` adds.

    Raises:
        TaskError: `ca_file` holds no certificate.
        BadInput: SSL_CERT_FILE holds none.
    """
    if urlsplit(url).scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and is quick to create
    try:
        context = httpx.create_ssl_context()
    except (ssl.SSLError, OSError) as error:
        file = os.environ.get("SSL_CERT_FILE", "")
        raise BadInput(
            f"{file!r}, named by the environment variable SSL_CERT_FILE, has no certificate in PEM form "
            f"({_fault(error)}): name another file there, or unset it."
        ) from None
    if options.ca_file is not None:
        try:
            context.load_verify_locations(options.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise TaskError(
                f"{str(options.ca_file)!r} has no certificate in PEM form ({_fault(error)})", path=("ca_file",)
            ) from None
    return context


def _fault(error: ssl.SSLError | OSError) -> str | None:
    return error.reason if isinstance(error, ssl.SSLError) else error.strerror
