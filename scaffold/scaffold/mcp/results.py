"""Converts a tool's result to JSON values for the trace and the planner."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scaffold.errors import ToolFailed
from scaffold.vocabulary.canonical import canonical, digest
from scaffold.wrapping.scrubbing import REMOVED, hidden_in, hiding

if TYPE_CHECKING:
    from mcp_types import CallToolResult

_SHORTEST = 4  # letters; shorter credentials would be found everywhere by chance
_MOST_SAID = 2000  # letters of a tool's error message


def value_of(result: CallToolResult, secrets: Sequence[str]) -> Any:
    """Return the value of a result: its structured content, else its text, else a list of its parts.

    Texts beside structured content say the same for clients that do not read it. Where there are other parts, the value
    is a list: the structured content, if any, and all parts. Images, sounds and other bytes are given by their digest;
    links are named but not followed.

    Args:
        result: the server's result.
        secrets: credentials that the server was given, which must not get into the trace.

    Raises:
        ToolFailed: the tool says that it failed.
    """
    parts = [_part(block) for block in result.content]
    if result.is_error:
        said = "\n".join(each for each in parts if isinstance(each, str)).strip()
        if not said and result.structured_content:
            said = canonical(result.structured_content).decode()
        said = said or "it gives no reason"
        raise ToolFailed(f"the tool says that it failed: {shortened(without(secrets, said))}")
    structured = [] if result.structured_content is None else [result.structured_content]
    if not all(isinstance(each, str) for each in parts):
        return without(secrets, [*structured, *parts])
    return without(secrets, structured[0] if structured else "\n".join(parts))


def _part(block: Any) -> Any:
    match block.type:
        case "text":
            return block.text
        case "image" | "audio":
            return {block.type: _bytes(block.data), "type": block.mime_type}
        case "resource_link":
            return {"link": str(block.uri), "name": block.name, "type": block.mime_type}
        case "resource":
            inside = block.resource
            held = {"text": inside.text} if hasattr(inside, "text") else {"bytes": _bytes(inside.blob)}
            return {"resource": str(inside.uri), "type": inside.mime_type, **held}
        case other:
            return {"unknown": str(other)}


def _bytes(encoded: str) -> dict[str, Any]:
    """Describe bytes by their SHA-256 and their number."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        data = encoded.encode(errors="replace")  # not valid base64, so as sent
    return {"sha256": digest(data), "size": len(data)}


def without(secrets: Sequence[str], value: Any) -> Any:
    """A value in which none of these credentials stands, however it is written."""
    sought = dict.fromkeys((each for each in secrets if len(each) >= _SHORTEST), REMOVED)
    return hidden_in(value, hiding(sought)) if sought else value


def shortened(text: str) -> str:
    """Cut a text to the length that a message may have."""
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}… ({len(text):,} characters in all)"
