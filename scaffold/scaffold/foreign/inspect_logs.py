"""Reads logs of Inspect evaluations (`.eval`, or JSON), in which each sample is a run of an agent.

Source: the log format of inspect_ai 0.3: a zip file with `header.json` and `samples/ID_epoch_N.json`, compressed by
Zstandard (method 93) in newer versions; repeated values are stored once, in `attachments` and `events_data`.
"""

from __future__ import annotations

import json
import struct
import zipfile
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from scaffold.errors import BadInput, MissingExtra
from scaffold.foreign.spans import LARGEST, TooLarge
from scaffold.foreign.told import Deed, Story, Turn, call_as_text
from scaffold.vocabulary.models import Message, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from scaffold.vocabulary.models import Role

_ZSTANDARD = 93
_LOCAL_HEADER, _LENGTHS = 30, slice(26, 30)
_ATTACHED = "attachment://"
_LARGEST_SAMPLE = 8 * LARGEST  # characters
_ROLES: dict[str, Role] = {"system": "system", "assistant": "assistant"}


def is_inspect_log(path: Path) -> bool:
    """Whether a file is a zip file, or JSON that begins like such a log."""
    with path.open("rb") as file:
        head = file.read(4096)
    return head.startswith(b"PK\x03\x04") or (head.lstrip().startswith(b"{") and b'"eval"' in head)


def read_log(path: Path) -> Iterator[Story]:
    """Read the samples of a log one after another.

    Raises:
        BadInput: it cannot be read, or a part of it is too large to be read whole.
        MissingExtra: it is compressed by Zstandard, which needs the extra `inspect`.
    """
    try:
        yield from _in_archive(path) if zipfile.is_zipfile(path) else _in_json(path)
    except TooLarge as error:
        raise BadInput(f"{path}: {error}") from None
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        zipfile.BadZipFile,
        struct.error,
    ) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path} is not a readable Inspect log: {error}") from None


def _in_archive(path: Path) -> Iterator[Story]:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        members = {info.filename: info for info in archive.infolist()}
        header = members.get("header.json")
        about = json.loads(_member(archive, file, header)) if header is not None else {}
        for name, info in members.items():
            if name.startswith("samples/"):
                yield _story(about.get("eval", {}), json.loads(_member(archive, file, info)))


def _in_json(path: Path) -> Iterator[Story]:
    with path.open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise TooLarge("its JSON", "convert the log to .eval, which is read sample by sample: inspect log convert")
    whole = json.loads(text)
    for sample in whole.get("samples") or []:
        yield _story(whole.get("eval", {}), sample)


def _member(archive: zipfile.ZipFile, file: BinaryIO, info: zipfile.ZipInfo) -> bytes:
    if info.compress_type != _ZSTANDARD:
        with archive.open(info) as packed:
            whole = packed.read(LARGEST + 1)
    else:
        file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", file.read(_LOCAL_HEADER)[_LENGTHS])
        file.seek(name + extra, 1)
        whole = _expanded(file.read(min(info.compress_size, LARGEST)), info.filename)
    if len(whole) > LARGEST:
        raise TooLarge(f"{info.filename} in it", "leave that sample out")
    return whole


def _expanded(packed: bytes, name: str) -> bytes:
    try:
        import zstandard
    except ImportError:
        raise MissingExtra("reading this Inspect log", "inspect") from None
    try:
        # Samples added in parts are consecutive frames.
        with zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True) as reader:
            return bytes(reader.read(LARGEST + 1))
    except zstandard.ZstdError as error:
        raise ValueError(f"{name}: {error}") from None


def _story(about: dict[str, Any], sample: dict[str, Any]) -> Story:
    known = _Attachments(sample.get("attachments") or {})
    pool = (sample.get("events_data") or {}).get("messages") or []
    items = list(_items(sample.get("events") or [], pool, known))
    began, ended = _time(sample.get("started_at")), _time(sample.get("completed_at"))
    ats = [each.at for each in items]
    error = (sample.get("error") or {}).get("message", "")
    asked = sample.get("input", "")
    users = [each for each in asked if each.get("role") == "user"] if isinstance(asked, list) else []
    return Story(
        source="an Inspect log",
        id=f"{about.get('eval_id', about.get('run_id', ''))}/{sample['id']}/{sample.get('epoch', 1)}",
        at=began or min(ats, default=0.0),
        until=ended or max((each.until for each in items), default=began),
        agent=str(about.get("task", "inspect")),
        prompt=_content(users[0] if users else {"content": asked}, known)[0],
        items=items,
        answer=_attached((sample.get("output") or {}).get("completion"), known),
        error=str(_attached(error, known)),
        notes=[
            f"score {name}: {json.dumps(said.get('value'), ensure_ascii=False)}"
            for name, said in (sample.get("scores") or {}).items()
        ],
    )


def _items(events: Sequence[dict[str, Any]], pool: list[Any], known: _Attachments) -> Iterator[Turn | Deed]:
    for event in events:
        match event.get("event"):
            case "model":
                yield _turn(event, pool, known)
            case "tool":
                yield _deed(event, known)
            case _:
                pass


def _turn(event: dict[str, Any], pool: list[Any], known: _Attachments) -> Turn:
    output = event.get("output") or {}
    asked = event.get("input") or [each for first, last in event.get("input_refs", ()) for each in pool[first:last]]
    answers = [_content(choice.get("message", {}), known) for choice in output.get("choices", ())]
    usage = output.get("usage") or {}
    provider, _, model = str(event.get("model", "")).rpartition("/")
    stops = {choice.get("stop_reason") for choice in output.get("choices", ())}
    at = _time(event.get("timestamp"))
    return Turn(
        at=at,
        until=_time(event.get("completed")) or at,
        provider=provider,
        model=model,
        messages=[
            Message(_ROLES.get(each.get("role"), "user"), known.counted(_content(each, known)[0])) for each in asked
        ],
        texts=[text for text, _ in answers],
        reasonings=[reasoning for _, reasoning in answers],
        finish="length" if stops & {"max_tokens", "model_length"} else "stop",
        usage=Usage(
            input=usage.get("input_tokens") or 0,
            output=usage.get("output_tokens") or 0,
            reasoning=usage.get("reasoning_tokens") or 0,
            cached=usage.get("input_tokens_cache_read") or 0,
            usd=None,
        ),
        error=str(event.get("error") or output.get("error") or ""),
    )


def _deed(event: dict[str, Any], known: _Attachments) -> Deed:
    error, at = event.get("error") or {}, _time(event.get("timestamp"))
    return Deed(
        at=at,
        until=_time(event.get("completed")) or at,
        name=str(event.get("function", "tool")),
        arguments=_attached(event.get("arguments"), known) or {},
        value=_attached(event.get("result"), known),
        error=str(_attached(error.get("message", ""), known)) or ("it failed" if event.get("failed") else ""),
        id=str(event.get("id", "")),
    )


def _content(message: dict[str, Any], known: _Attachments) -> tuple[str, str]:
    """Return a message's text, including its tool calls, and its reasoning."""
    said, reasoning = [], []
    content = _attached(message.get("content", ""), known)
    for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
        if part.get("type") == "reasoning":
            reasoning.append(str(part.get("summary") or "" if part.get("redacted") else part.get("reasoning", "")))
        else:
            text = part.get("text")
            said.append(text if isinstance(text, str) else f"[{part.get('type', 'content')}]")
    for call in message.get("tool_calls") or ():
        arguments = json.dumps(_attached(call.get("arguments"), known), ensure_ascii=False)
        said.append(call_as_text(str(call.get("function")), arguments))
    return "\n".join(each for each in said if each), "\n".join(each for each in reasoning if each)


class _Attachments:
    """What a sample stores once, and how much of it may still be put in place: a small file can refer to it endlessly.

    Args:
        said: texts by name.
    """

    def __init__(self, said: dict[str, str]) -> None:
        self._said = said
        self._left = _LARGEST_SAMPLE

    def find(self, reference: str) -> str:
        """Return what a reference stands for; itself, if that is not there."""
        return self.counted(self._said.get(reference.removeprefix(_ATTACHED), reference))

    def counted(self, text: str) -> str:
        """Return a text that is put in place.

        Raises:
            ValueError: it is too much for one sample.
        """
        self._left -= len(text)
        if self._left < 0:
            raise ValueError(
                f"a sample with all that it refers to is larger than {_LARGEST_SAMPLE >> 20} MB: leave it out"
            )
        return text


def _attached(value: Any, known: _Attachments) -> Any:
    """Put separately stored attachments back into a value."""
    match value:
        case str() if value.startswith(_ATTACHED):
            return known.find(value)
        case dict():
            return {name: _attached(each, known) for name, each in value.items()}
        case list():
            return [_attached(each, known) for each in value]
        case _:
            return value


def _time(said: Any) -> float:
    return datetime.fromisoformat(said).timestamp() if isinstance(said, str) and said else 0.0
