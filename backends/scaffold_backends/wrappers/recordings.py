"""`recording`, `recorded` and `cached`: record a backend's answers in a file, and replay them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
from pydantic import Field, PositiveFloat

from scaffold.errors import TaskError
from scaffold.vocabulary.canonical import canonical, digest
from scaffold.wrapping import Cached, Recorded, Recording
from scaffold_backends.options import Options, read_options
from scaffold_backends.wrappers.inner import WrapperOptions, inner_of

if TYPE_CHECKING:
    from scaffold.interfaces import Backend

_MB = 1_000_000


class RecordingOptions(WrapperOptions):
    """What a task may set.

    Attributes:
        file: where the answers are written down.
    """

    file: str = Field(min_length=1)


class RecordedOptions(Options):
    """What a task may set.

    Attributes:
        file: where the answers were written down.
    """

    file: str | None = Field(default=None, min_length=1)


class CachedOptions(WrapperOptions):
    """What a task may set.

    Attributes:
        file: the file of answers; by default one per model in the user's cache folder.
        most_mb: maximum size of the file in megabytes; None for no bound.
    """

    file: str | None = Field(default=None, min_length=1)
    most_mb: PositiveFloat | None = 1000


def recording(model: str = "", **options: Any) -> Recording:
    """Write down what another backend says: `{use: recording, backend: smollm2, file: said.jsonl}`.

    Raises:
        TaskError: an option is wrong.
        BadInput: the file holds something else.
    """
    read = read_options(RecordingOptions, options, "recording")
    return Recording(inner_of(model, read, "recording"), read.file)


def recorded(model: str = "", **options: Any) -> Recorded:
    """Replay recorded answers, without a model: `recorded:said.jsonl`.

    Raises:
        TaskError: an option is wrong.
        BadInput: the file holds nothing of the kind.
    """
    read = read_options(RecordedOptions, options, "recorded")
    if bool(model) == bool(read.file):
        raise TaskError("recorded needs one `file`, as in `recorded:said.jsonl`", path=("file",))
    return Recorded(model or read.file or "")


def cached(model: str = "", **options: Any) -> Cached:
    """Ask another backend only what it was not asked before: `cached:smollm2`, or a table with `backend` and `file`.

    Raises:
        TaskError: an option is wrong.
        BadInput: the file holds something else.
    """
    read = read_options(CachedOptions, options, "cached")
    inner = inner_of(model, read, "cached")
    most = None if read.most_mb is None else int(read.most_mb * _MB)
    return Cached(inner, read.file or _place(inner), of=_settings(read.backend), most_bytes=most)


def _settings(said: Any) -> str:
    """Return a key that distinguishes one model's answers under different settings."""
    settings = {name: value for name, value in said.items() if name != "use"} if isinstance(said, dict) else {}
    return digest(canonical(settings))[:16] if settings else ""


def _place(inner: Backend) -> Path:
    profile = inner.profile
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{profile.backend}-{profile.model}")[:100]
    # Two names that only differ in what was left out are two files.
    mark = digest(f"{profile.backend}:{profile.model}".encode())[:8]
    return Path(platformdirs.user_cache_dir("scaffold")) / "answers" / f"{name}-{mark}.jsonl"
