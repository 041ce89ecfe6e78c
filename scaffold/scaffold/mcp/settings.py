"""The settings of an MCP server, in a task file or a program.

actions:
  - mcp:
      time:
        command: [mcp-server-time, --local-timezone, UTC]
        effects: {get_current_time: read, convert_time: read}
      bank:
        url: https://bank.example/mcp
        headers: {Authorization: "Bearer ${BANK_TOKEN}"}
        only: [pay]
        identity: {pay: [invoice]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from scaffold.errors import BadInput, TaskError, nearest
from scaffold.vocabulary.actions import Effect
from scaffold.wrapping.scrubbing import scrubbed

if TYPE_CHECKING:
    from scaffold.interfaces import FindsCredentials

PINS = "mcp.pins.json"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class ServerSettings(BaseModel):
    """How a server is reached, and what is made of its tools.

    Attributes:
        command: the program and its arguments, spoken to over its standard input and output.
        url: where it listens, spoken to over streamable HTTP.
        env: variables of the program's environment beside the few it always has; `${NAME}` is a credential, found
            where `credentials` say, else in our own variable of that name.
        headers: headers of each request; `${NAME}` as above.
        pins: the file with the accepted descriptions of its tools, beside the task.
        only: the tools that are offered; all that are pinned when None.
        effects: what tools do to the world; `irreversible` where nothing is said.
        trusted: whether what tools give back is inside our trust: all, none, or these.
        identity: for a tool, the arguments that say which thing is acted on.
        costs: what one call of a tool costs, in US dollars.
        timeout_s: seconds after which a call's outcome is called unknown.
        start_s: seconds that the server has to start and to list its tools.
        max_bytes: size of the largest message that is read from it.
        log: file for what the program writes on its standard error, beside the task; it is not kept when None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] | None = None
    url: str | None = None
    env: dict[str, str] = {}
    headers: dict[str, str] = {}
    pins: str = PINS
    only: tuple[str, ...] | None = None
    effects: dict[str, Effect] = {}
    trusted: bool | tuple[str, ...] = False
    identity: dict[str, tuple[str, ...]] = {}
    costs: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}
    timeout_s: Seconds = 60.0
    start_s: Seconds = 30.0
    max_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 4 << 20
    log: str | None = None

    @field_validator("command")
    @classmethod
    def _has_a_program(cls, said: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if said is not None and (not said or not said[0].strip()):
            raise ValueError("does not name a program: write [PROGRAM, ARGUMENT, ...]")
        return said

    @field_validator("env", "headers")
    @classmethod
    def _holds_no_secret(cls, said: dict[str, str]) -> dict[str, str]:
        """Refuse credentials written out, since they would get into the trace."""
        for name, value in said.items():
            rest = _REFERENCE.sub("", value)
            telling = f"{name.upper().replace('-', '_')}={rest}"
            if scrubbed(rest) != rest or (len(rest.strip()) > len("Bearer ") and _TELLING.search(telling)):
                raise ValueError(
                    f"{name} contains what looks like a credential: put it into the environment, or a file that "
                    "`credentials` names, and write ${NAME} here"
                )
        return said

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for each in (*(self.command or ()), self.url or ""):
            if scrubbed(each) != each:
                raise ValueError(
                    "`command` or `url` contains what looks like a credential: give it in `env` or `headers`"
                )
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either `command`, a program to start, or `url`, where it listens")
        if self.url is not None:
            _check_url(self.url, secret=any(_REFERENCE.search(value) for value in self.headers.values()))
        if self.command is None and (self.env or self.log):
            raise ValueError("`env` and `log` can only be used with `command`: nothing is started for a `url`")
        if self.url is None and self.headers:
            raise ValueError("`headers` can only be used with `url`: give a program its credentials in `env`")
        return self

    def tools_named(self) -> dict[str, tuple[str, ...]]:
        """The tools that each setting names."""
        named = {"effects": tuple(self.effects), "identity": tuple(self.identity), "costs": tuple(self.costs)}
        named["only"] = self.only or ()
        named["trusted"] = self.trusted if isinstance(self.trusted, tuple) else ()
        return named


_TELLING = re.compile(r"^(AUTHORIZATION|.*(API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?))=")


def _check_url(url: str, *, secret: bool) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"`url` is not an address: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("`url` is not the address of a server: write https://HOST/PATH")
    if parts.username is not None or parts.password is not None:
        raise ValueError("`url` contains a credential: give it in `headers`, as ${NAME}")
    if secret and parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError("`headers` would send a credential unencrypted: use https")


def expanded(said: Mapping[str, str], server: str, credentials: FindsCredentials) -> tuple[dict[str, str], list[str]]:
    """Replace `${NAME}` by credentials; return also these, so that they can be hidden elsewhere.

    Raises:
        BadInput: a credential is missing.
    """
    secrets: list[str] = []

    def value_of(found: re.Match[str]) -> str:
        try:
            value = credentials.read(found[1])
        except BadInput as error:
            raise BadInput(f"the MCP server {server!r} is given ${{{found[1]}}}, but {error}") from None
        secrets.append(value)
        return value

    return {name: _REFERENCE.sub(value_of, value) for name, value in said.items()}, secrets


def settings_of(name: str, table: Any) -> ServerSettings:
    """Read the settings of one server in a task file's `mcp` table.

    Raises:
        TaskError: they are not valid; its path leads to the fault.
    """
    if not _NAME.match(name):
        raise TaskError(f"{name!r} is not a valid name for a server: use letters, digits, `_` and `-`", path=(name,))
    if not isinstance(table, Mapping):
        raise TaskError("should be a mapping with `command` or `url`", path=(name,))
    for key in table:
        if key not in ServerSettings.model_fields:
            known = nearest(str(key), ServerSettings.model_fields)
            raise TaskError(
                f"is not known{known or '; expected one of ' + ', '.join(ServerSettings.model_fields)}",
                path=(name, key),
            )
    try:
        return ServerSettings.model_validate(dict(table))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input ")
        raise TaskError(_IN_YAML.get(fault["type"], message), path=(name, *fault["loc"])) from None


_IN_YAML = {"tuple_type": "should be a list", "dict_type": "should be a mapping", "string_type": "should be text"}
