"""Pins: the tools' descriptions as somebody accepted them, in a file beside the task."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from scaffold.errors import BadInput
from scaffold.vocabulary.canonical import canonical, digest

FORMAT = "scaffold mcp pins 1"


class Tool(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A server's description of one tool, as far as a model, a person or a check may rely on it.

    Attributes:
        name: its name on the server.
        title: its name for people.
        description: what it claims to do.
        input_schema: JSON Schema of its arguments.
        output_schema: JSON Schema of its structured result; None if it promises none.
        annotations: the server's claims, such as `readOnlyHint`; shown but never believed.
    """

    name: str
    title: str = ""
    description: str = ""
    input_schema: dict[str, Any] = {}
    output_schema: dict[str, Any] | None = None
    annotations: dict[str, Any] = {}

    @property
    def sha256(self) -> str:
        """Return the hash of the whole description."""
        return digest(canonical(self))

    def lines(self) -> list[str]:
        """Return the whole description as lines of JSON, for people to compare."""
        return json.dumps(msgspec.to_builtins(self), indent=2, sort_keys=True, ensure_ascii=False).splitlines()


@dataclass(frozen=True)
class Change:
    """The difference between one tool and its accepted description.

    Attributes:
        tool: its name.
        kind: whether it is new, changed or gone.
        diff: the differing lines, as by `diff -u`.
    """

    tool: str
    kind: Literal["new", "changed", "gone"]
    diff: tuple[str, ...]


def compare(accepted: Mapping[str, Tool], found: Iterable[Tool]) -> list[Change]:
    """Compare a server's present tools with the accepted ones, by name."""
    now = {tool.name: tool for tool in found}
    changes = []
    for name in sorted({*accepted, *now}):
        before, after = accepted.get(name), now.get(name)
        if before is not None and after is not None and before.sha256 == after.sha256:
            continue
        kind: Literal["new", "changed", "gone"] = "new" if before is None else "gone" if after is None else "changed"
        old, new = before.lines() if before else [], after.lines() if after else []
        changes.append(Change(name, kind, tuple(difflib.unified_diff(old, new, "accepted", "now", lineterm=""))))
    return changes


class Pins:
    """The accepted descriptions of some servers' tools.

    Args:
        path: their file.
        servers: tools by server and name.
    """

    def __init__(self, path: Path, servers: Mapping[str, Mapping[str, Tool]] | None = None) -> None:
        self.path = path
        self._servers = {name: dict(tools) for name, tools in (servers or {}).items()}

    @classmethod
    def read(cls, path: Path) -> Pins:
        """Read a file of pins; a missing one is empty.

        Raises:
            BadInput: it is not such a file, or a description in it does not match its hash.
        """
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, RecursionError) as error:
            raise BadInput(f"{path} cannot be read as a file of pinned MCP tools: {error}") from None
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise BadInput(f"{path} is not a file of pins: it does not have `format: {FORMAT!r}`")
        try:
            entries = msgspec.convert(said.get("servers"), dict[str, dict[str, _Entry]])
        except msgspec.ValidationError as error:
            raise BadInput(f"{path} is not a file of pins: {error}") from None
        for server, tools in entries.items():
            for name, entry in tools.items():
                if entry.sha256 != entry.tool.sha256 or name != entry.tool.name:
                    said_so = f"the entry of {server}.{name} in {path} was changed by hand: its hash does not match"
                    raise BadInput(f"{said_so}; accept the server's own words with `scaffold mcp pin`")
        return cls(
            path, {server: {name: entry.tool for name, entry in tools.items()} for server, tools in entries.items()}
        )

    def of(self, server: str) -> dict[str, Tool]:
        """Return the accepted tools of a server, by name."""
        return dict(self._servers.get(server, {}))

    def accepting(self, server: str, tools: Iterable[Tool]) -> Pins:
        """Return these pins with a server's present tools in place of those accepted before."""
        return Pins(self.path, {**self._servers, server: {tool.name: tool for tool in tools}})

    def write(self) -> None:
        """Write the file atomically.

        Raises:
            BadInput: the file cannot be written.
        """
        entries = {
            server: {name: _Entry(tool.sha256, tool) for name, tool in sorted(tools.items())}
            for server, tools in sorted(self._servers.items())
        }
        whole = {"format": FORMAT, "servers": msgspec.to_builtins(entries)}
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            beside.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            beside.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise BadInput(f"cannot write {self.path}: {error.strerror}") from None


class _Entry(msgspec.Struct, frozen=True):
    sha256: str
    tool: Tool
