"""Makes a backend from a spec and options: chooses the URL, the dialect and the key."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import httpx

from scaffold.errors import MissingKey, TaskError
from scaffold_backends.http.backend import HttpBackend
from scaffold_backends.http.dialects.chat import Chat, ChatOptions
from scaffold_backends.http.dialects.gemini import Gemini, GeminiOptions
from scaffold_backends.http.dialects.messages import Messages, MessagesOptions
from scaffold_backends.http.dialects.responses import Responses, ResponsesOptions
from scaffold_backends.http.options import DialectName, HttpOptions
from scaffold_backends.http.pricing import is_private
from scaffold_backends.http.refusals import Origin
from scaffold_backends.options import read_options
from scaffold_backends.wrappers.fan_out import FanOut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scaffold_backends.http.dialect import Dialect

_DIALECTS: dict[str, tuple[type[HttpOptions], Callable[..., Dialect]]] = {
    "chat": (ChatOptions, Chat),
    "responses": (ResponsesOptions, Responses),
    "messages": (MessagesOptions, Messages),
    "gemini": (GeminiOptions, Gemini),
}
# People paste the address of an endpoint as well as that of an API.
_ENDPOINTS: dict[str, DialectName] = {
    "/chat/completions": "chat",
    "/responses": "responses",
    "/messages": "messages",
}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)  # one that is not http is refused, not taken for a name
_BARE = re.compile(r"(?P<host>\[[^]]*\]|[^:/?@]*)(?P<port>:\d+)?(?P<rest>(?:[/?].*)?)")  # an address without a scheme
_SHORTEST_SECRET = 8  # characters; anything shorter is an ordinary word, such as a version
_VENDORS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One server known by name; called with a model and options, it makes a backend.

    Attributes:
        name: its name in specs.
        url: its default URL; empty if one must be given.
        url_env: environment variable that may hold its URL.
        url_ends: the ending of its URL, appended to the variable's value if missing.
        key_env: environment variables that may hold its key; the first that is set counts.
        needs_key: whether a key is required.
        dialect: its default dialect.
        auth: the header for its key, if not the dialect's; most servers take a bearer token in every dialect.
        options: defaults that differ from those of an unknown server.
        is_openais: whether it accepts what OpenAI's own server accepts, wherever it is.
        model: the default model; empty if one must be named.
    """

    name: str
    url: str = ""
    url_env: str = ""
    url_ends: str = ""
    key_env: tuple[str, ...] = ()
    needs_key: bool = False
    dialect: DialectName = "chat"
    auth: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    is_openais: bool = False
    model: str = ""

    def __call__(self, model: str, **options: Any) -> HttpBackend | FanOut:
        """Connect; nothing is sent yet.

        Raises:
            TaskError: an option or the URL is wrong, or no model is named.
            MissingKey: a key is wanted, and its variable is empty.
        """
        url, model = _url_and_model(model, always=not (self.url or self.url_env))
        base, spoken = _endpoint(url)
        said = dict(options)
        said.setdefault("dialect", spoken or self.dialect)
        kind = _DIALECTS.get(str(said["dialect"]), (HttpOptions, None))[0]
        fitting = {name: value for name, value in self.options.items() if _has(kind, name)}
        read = read_options(kind, fitting | said, self.name)
        if base and read.base_url is not None:
            raise TaskError("a backend named by its URL takes no 'base_url'", path=("base_url",))
        model = model or self.model
        if not model:
            raise TaskError(f"{self.name} needs a model, as in '{self.name}:MODEL' or '{self.name}:URL#MODEL'")
        where = base or (_endpoint(read.base_url)[0] if read.base_url else self._usual_url())
        shown = shown_url(where)
        key_env, key = self._key(read, shown, is_ours=not base)
        official = self.is_openais or urlsplit(where).hostname in _VENDORS
        dialect = _DIALECTS[read.dialect][1](model, read, official=official)
        if self.auth:
            dialect.auth = self.auth
        origin = Origin(shown, key_env, key, dialect.name, _secrets_in(where))
        is_known = bool(self.url_env or self.url) and (not self.needs_key or shown == shown_url(self.url or shown))
        backend = HttpBackend(self.name, model, where, dialect, read, origin, is_known=is_known)
        return backend if read.n else FanOut(backend)

    def _usual_url(self) -> str:
        told = os.environ.get(self.url_env, "").strip() if self.url_env else ""
        if not told:
            if not self.url:
                raise TaskError(
                    f"the address of {self.name} is not known: set the environment variable {self.url_env} or the "
                    "option 'base_url'",
                    path=("base_url",),
                )
            return self.url
        url, spoken = _endpoint(told if "://" in told else self._with_scheme(told))
        if spoken:
            return url
        head, mark, query = url.partition("?")
        head = head.rstrip("/").removesuffix(self.url_ends)
        return f"{head}{self.url_ends}{mark}{query}"

    def _with_scheme(self, told: str) -> str:
        """Complete an address to a URL from the server's usual one; OLLAMA_HOST, for example, may be just a host."""
        usual = urlsplit(self.url or "https://")
        found = _BARE.fullmatch(told)
        if found is None:
            return f"{usual.scheme}://{told}"
        host = found["host"] or usual.hostname or ""
        port = found["port"] or (f":{usual.port}" if usual.port else "")
        scheme = "http" if is_private(f"//{host}") else usual.scheme  # so that no key is sent unencrypted by omission
        return f"{scheme}://{host}{port}{found['rest']}"

    def _key(self, options: HttpOptions, shown: str, *, is_ours: bool) -> tuple[str, str]:
        """Return the variable and its key. A URL from a spec gets no key unless `key_env` names one.

        Raises:
            MissingKey: it is required and empty, or cannot be a key.
        """
        usual = self.key_env if is_ours else ()
        names = (options.key_env,) if options.key_env else usual
        name = next((each for each in names if os.environ.get(each, "").strip()), names[0] if names else "")
        key = os.environ.get(name, "").strip() if name else ""
        wanted = options.key_env or (self.needs_key and is_ours and shown == shown_url(self.url or shown))
        if not key and wanted:
            raise MissingKey(f"{shown} needs a key: set the environment variable {name}", name)
        if not key.isprintable() or not key.isascii():
            raise MissingKey(f"the key in the environment variable {name} has characters that cannot be in a key", name)
        return name, key


def _has(kind: type[HttpOptions], name: str) -> bool:
    return any(name in {each, info.alias} for each, info in kind.model_fields.items())


def _url_and_model(spec: str, *, always: bool) -> tuple[str, str]:
    """Split `URL#MODEL`; a text with neither a scheme nor a # is a model, unless `always` makes it a URL."""
    if not always and "#" not in spec and not _SCHEME.match(spec):
        return "", spec
    url, _, model = spec.partition("#")
    return url, model or "default"


def _endpoint(url: str) -> tuple[str, DialectName | None]:
    """Return the base of a URL that may be an endpoint's, and the dialect that the endpoint implies."""
    head, _, query = url.partition("?")
    for path, dialect in _ENDPOINTS.items():
        if head.rstrip("/").endswith(path):
            base = head.rstrip("/").removesuffix(path)
            return f"{base}?{query}" if query else base, dialect
    return url, None


def _secrets_in(url: str) -> tuple[str, ...]:
    """Return the parts of a URL that may be secret and echoed by the server: a password, and values in the query."""
    parts = urlsplit(url)
    values = [value for _, value in parse_qsl(parts.query) if len(value) >= _SHORTEST_SECRET]
    if parts.password:
        values += [unquote(parts.password), unquote(parts.netloc.rpartition("@")[0])]  # sent together to the server
    return tuple(values)


def shown_url(url: str) -> str:
    """Return a URL for display: without the part before an @, which may hold a password, and without the query.

    Raises:
        TaskError: it is not a server's URL.
    """
    told = re.sub(r"//[^/]*@", "//", url)
    wrong = f"{told!r} is not the URL of a server: it should begin with http:// or https:// and name a host"
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        _ = parts.port  # it is checked as it is read
    except (ValueError, httpx.InvalidURL) as error:
        raise TaskError(f"{wrong} ({error})", path=("base_url",)) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TaskError(wrong, path=("base_url",))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
