"""The servers that are known by name: where they are, what they speak, where their key is, and what they can do.

A spec is `NAME:MODEL`, or `NAME:URL#MODEL` for one that is elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from scaffold.errors import NotAuthorised, TaskError
from scaffold_backends.http.backend import HttpBackend
from scaffold_backends.http.dialects.chat import Chat, ChatOptions
from scaffold_backends.http.dialects.gemini import Gemini, GeminiOptions
from scaffold_backends.http.dialects.messages import Messages, MessagesOptions
from scaffold_backends.http.dialects.responses import Responses, ResponsesOptions
from scaffold_backends.http.options import DialectName, HttpOptions
from scaffold_backends.http.refusals import Origin
from scaffold_backends.options import read_options
from scaffold_backends.wrappers.fan_out import FanOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold_backends.http.dialect import Dialect

_OPTIONS: dict[str, type[HttpOptions]] = {
    "chat": ChatOptions,
    "responses": ResponsesOptions,
    "messages": MessagesOptions,
    "gemini": GeminiOptions,
}
# People paste the address of an endpoint as well as that of an API.
_ENDPOINTS: dict[str, DialectName] = {
    "/chat/completions": "chat",
    "/responses": "responses",
    "/messages": "messages",
}
_VENDORS = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One server that is known by name; called with a model and options, it gives a backend.

    Attributes:
        name: as in specs.
        url: where it is when nobody says otherwise; empty when it has to be said.
        url_env: environment variable that says where it is.
        url_ends: what its URL ends in, put behind what the variable says if that does not.
        key_env: environment variables that may hold its key; the first that does counts.
        needs_key: nothing works without one.
        dialect: what it speaks unless option `dialect` says otherwise.
        auth: the header its key goes into, where that is not the dialect's.
        options: what option it differs in from a server of which nothing is known.
        model: what an empty name of a model means; nothing when one has to be named.
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
    model: str = ""

    def __call__(self, model: str, **options: Any) -> HttpBackend | FanOut:
        """Connect; nothing is sent yet.

        Raises:
            TaskError: an option or the URL is wrong, or no model is named.
            NotAuthorised: a key is wanted, and its variable is empty.
        """
        url, model = _url_and_model(model, always=not (self.url or self.url_env))
        base, spoken = _endpoint(url)
        said = dict(options)
        said.setdefault("dialect", spoken or self.dialect)
        kind = _OPTIONS.get(said["dialect"], HttpOptions)
        fitting = {name: value for name, value in self.options.items() if _has(kind, name)}
        read = read_options(kind, fitting | said, self.name)
        if base and read.base_url is not None:
            raise TaskError("a backend named by its URL takes no 'base_url'", path=("base_url",))
        model = model or self.model
        if not model:
            raise TaskError(f"{self.name} needs a model, as in '{self.name}:MODEL' or '{self.name}:URL#MODEL'")
        where = base or read.base_url or self._usual_url()
        shown = shown_url(where)
        key_env, key = self._key(read, shown, is_ours=not base)
        dialect = _speak(model, read, where, azure=self.name == "azure")
        if self.auth:
            dialect.auth = self.auth
        origin = Origin(shown, key_env, key, dialect.name)
        backend = HttpBackend(self.name, model, where, dialect, read, origin)
        return backend if read.n else FanOut(backend)

    def _usual_url(self) -> str:
        told = os.environ.get(self.url_env, "").strip() if self.url_env else ""
        if not told:
            if not self.url:
                raise TaskError(
                    f"where is {self.name}? Set the environment variable {self.url_env} or the option 'base_url'",
                    path=("base_url",),
                )
            return self.url
        told = told if "://" in told else f"http://{told}"
        return told if told.rstrip("/").endswith(self.url_ends) else told.rstrip("/") + self.url_ends

    def _key(self, options: HttpOptions, shown: str, *, is_ours: bool) -> tuple[str, str]:
        """The variable, and the key in it. A URL out of a spec is sent no key unless `key_env` names one.

        Raises:
            NotAuthorised: it is wanted and empty, or cannot be a key.
        """
        usual = self.key_env if is_ours else ()
        names = (options.key_env,) if options.key_env else usual
        name = next((each for each in names if os.environ.get(each, "").strip()), names[0] if names else "")
        key = os.environ.get(name, "").strip() if name else ""
        wanted = options.key_env or (self.needs_key and is_ours and shown == shown_url(self.url or shown))
        if not key and wanted:
            raise NotAuthorised(f"{shown} wants a key: set the environment variable {name}")
        if not key.isprintable() or not key.isascii():
            raise NotAuthorised(f"the key in the environment variable {name} has characters that no key has")
        return name, key


def _has(kind: type[HttpOptions], name: str) -> bool:
    return any(name in {each, info.alias} for each, info in kind.model_fields.items())


def _url_and_model(spec: str, *, always: bool) -> tuple[str, str]:
    """Take `URL#MODEL` apart; anything else is a model, unless it is always a URL."""
    if not always and not spec.startswith(("http://", "https://")):
        return "", spec
    url, _, model = spec.partition("#")
    return url, model or "default"


def _endpoint(url: str) -> tuple[str, DialectName | None]:
    """Give the base of a URL that may be that of an endpoint, and the dialect that this tells."""
    head, _, query = url.partition("?")
    for path, dialect in _ENDPOINTS.items():
        if head.rstrip("/").endswith(path):
            base = head.rstrip("/").removesuffix(path)
            return f"{base}?{query}" if query else base, dialect
    return url, None


def _speak(model: str, options: HttpOptions, url: str, *, azure: bool) -> Dialect:
    official = azure or urlsplit(url).hostname in _VENDORS
    if isinstance(options, ChatOptions):
        return Chat(model, options, official=official)
    if isinstance(options, ResponsesOptions):
        return Responses(model, options, official=official)
    if isinstance(options, MessagesOptions):
        return Messages(model, options, official=official)
    assert isinstance(options, GeminiOptions)  # noqa: S101 - the table above has no other
    return Gemini(model, options, official=official)


def shown_url(url: str) -> str:
    """Give a URL as it may be shown: without what stands before an @, which may be a password, and without a query.

    Raises:
        TaskError: it is no URL of a server.
    """
    wrong = f"{url!r} is no URL of a server: it begins with http:// or https:// and names a host"
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        _ = parts.port  # it is checked as it is read
    except (ValueError, httpx.InvalidURL) as error:
        raise TaskError(f"{wrong} ({error})", path=("base_url",)) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TaskError(wrong, path=("base_url",))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


_OPENAI: dict[str, Any] = {
    "url": "https://api.openai.com/v1",
    "url_env": "OPENAI_BASE_URL",
    "key_env": ("OPENAI_API_KEY",),
    "needs_key": True,
}
_LOCAL = {"think_tags": "tags"}  # such servers pass on what a model writes, unless they were started otherwise

openai = Preset(name="openai", **_OPENAI)
responses = Preset(name="responses", dialect="responses", **_OPENAI)
azure = Preset(
    name="azure",
    url_env="AZURE_OPENAI_ENDPOINT",
    url_ends="/openai/v1",
    key_env=("AZURE_OPENAI_API_KEY",),
    needs_key=True,
    auth="api-key",
)
anthropic = Preset(
    name="anthropic",
    url="https://api.anthropic.com/v1",
    url_env="ANTHROPIC_BASE_URL",
    url_ends="/v1",
    key_env=("ANTHROPIC_API_KEY",),
    needs_key=True,
    dialect="messages",
)
gemini = Preset(
    name="gemini",
    url="https://generativelanguage.googleapis.com/v1beta",
    url_env="GEMINI_BASE_URL",
    key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    needs_key=True,
    dialect="gemini",
)
openrouter = Preset(
    name="openrouter",
    url="https://openrouter.ai/api/v1",
    key_env=("OPENROUTER_API_KEY",),
    needs_key=True,
    options={"n": False},
)
ollama = Preset(
    name="ollama",
    url="http://localhost:11434/v1",
    url_env="OLLAMA_HOST",
    url_ends="/v1",
    key_env=("OLLAMA_API_KEY",),
    options={"n": False, **_LOCAL},
)
vllm = Preset(
    name="vllm",
    url="http://localhost:8000/v1",
    url_env="VLLM_BASE_URL",
    key_env=("VLLM_API_KEY",),
    options={"grammar": "vllm", **_LOCAL},
)
sglang = Preset(
    name="sglang",
    url="http://localhost:30000/v1",
    url_env="SGLANG_BASE_URL",
    key_env=("SGLANG_API_KEY",),
    options={"grammar": "sglang", **_LOCAL},
    model="default",
)
lmstudio = Preset(
    name="lmstudio",
    url="http://localhost:1234/v1",
    url_env="LMSTUDIO_BASE_URL",
    key_env=("LMSTUDIO_API_KEY",),
    options={"n": False, **_LOCAL},
)
llama_server = Preset(
    name="llama-server",
    url="http://localhost:8080/v1",
    url_env="LLAMA_SERVER_URL",
    key_env=("LLAMA_API_KEY",),
    options={"grammar": "llamacpp", **_LOCAL},
    model="default",
)
http = Preset(name="http", model="default")
