"""Writes the file: a page with scripts that show its data, and the data in compressed blocks.

The trace's content is only in the blocks, as base64 of deflated JSON, and the page displays it as text, so there is no
markup to escape. In addition a Content-Security-Policy allows only the page's own scripts, by their hashes, and no
network access.

A block holds the moves of a few hundred kilobytes of trace, one per line, and is unpacked on demand. The index has a
row per move and is unpacked at once; it precedes the blocks, so that a browser shows a long run while it still loads
the rest. Here both are kept in unnamed files until the trace is processed.
"""

from __future__ import annotations

import base64
import html
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import msgspec

from scaffold.errors import BadInput
from scaffold.palette import PALETTE
from scaffold.projections.report.figures import Figures
from scaffold.projections.report.later import DIGEST, opening, reviews_of, told_later
from scaffold.projections.report.reading import Reading
from scaffold.projections.report.rows import Row, Rows
from scaffold.projections.report.summaries import summary, worst_of
from scaffold.vocabulary import events as ev

if TYPE_CHECKING:
    from scaffold.projections.report.figures import Confidences
    from scaffold.projections.report.later import Review
    from scaffold.projections.report.reading import Told
    from scaffold.trace.verify import Verification

_FILES = Path(__file__).with_name("files")
_SCRIPTS = (
    "data.js",
    "elements.js",
    "windowed.js",
    "graph.js",
    "evidence.js",
    "moves.js",
    "walk.js",
    "figures.js",
    "plots.js",
    "main.js",
)
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; base-uri 'none'; form-action 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
_BLOCK = 256 * 1024
_ROWS = 8192
_encode = msgspec.json.Encoder().encode


class Written(msgspec.Struct, frozen=True):
    """What was written.

    Attributes:
        events: how many of the trace's events are in it.
        rows: number of moves and other things with a row of their own.
        bytes: size of the file.
    """

    events: int
    rows: int
    bytes: int


def write_report(
    folder: Path,
    output: Path,
    verification: Verification,
    *,
    confidences: Confidences | None = None,
    content: bool = True,
    reviews: Sequence[Path] = (),
) -> Written:
    """Write the report of one run in constant memory.

    Args:
        folder: the run's folder.
        output: the file, or `-` for stdout; only its owner may read it, since it holds what the trace holds. A device
            is written to.
        verification: the result of verifying the trace.
        confidences: measures the calibration of stated confidence.
        content: if false, prompts, reasoning, arguments and outputs are left out, so that whoever may see the spine may
            see the report.
        reviews: folders of runs to search for later reviews, besides the run's own.

    Raises:
        BadInput: the output cannot be written.
        OSError: the run cannot be read.
    """
    again = reviews_of(folder, reviews)
    opened = [opening(each) for each in again]
    reading = Reading(folder, content=content, heads_of=frozenset(each.until for each in opened))
    figures = Figures(confidences)
    with _opened(output) as file, _aside(output) as aside, _aside(output) as indexed:
        blocks, index = _Blocks(aside, "block"), _Columns(indexed)
        frame = _Frame()
        rows = 0
        for row in _rows(reading, frame):
            worst = worst_of(row)
            figures.take(row, worst)
            line = summary(row, worst)
            index.add([*line, *blocks.add(_line(row.told))])
            rows += 1
        index.close()
        later = _later(again, opened, reading, blocks, _Blocks(indexed, "later", 4 * _BLOCK))
        blocks.close()
        from scaffold.trace.verify import describe

        manifest = {
            "run": folder.name,
            "rows": rows,
            "events": reading.events,
            "stopped": reading.stopped,
            "content": content,
            "blocks": blocks.number,
            "indexes": index.number,
            "later": later,
            "reviews": msgspec.to_builtins(opened),
            "verification": describe(verification),
            "frame": frame.told(),
            "figures": figures.told(),
        }
        last = _Blocks(indexed, "manifest")
        last.add(_encode(manifest))
        last.close()
        size = _assemble(file, _page(folder.name), indexed, aside)
        return Written(reading.events, rows, size)


def _later(
    folders: Sequence[Path], reviews: Sequence[Review], reading: Reading, blocks: _Blocks, index: _Blocks
) -> int:
    """Write later reviews and their index; return the number of the index's blocks."""
    for number, (folder, review) in enumerate(zip(folders, reviews, strict=True)):
        review.same = reading.heads.get(review.until, "") == review.head != ""
        for line in told_later(folder, review, content=reading.content, write=lambda told: blocks.add(_line([told]))):
            index.add(_encode([number, *line]))
    index.close()
    return index.number


def _assemble(file: BinaryIO, page: str, index: IO[bytes], blocks: IO[bytes]) -> int:
    """Write the page with its data in place; return the number of bytes."""
    before, _, rest = page.partition("<!--index-->")
    scripts, _, after = rest.partition("<!--blocks-->")
    size = 0
    for part in (before, index, scripts, blocks, after):
        if isinstance(part, str):
            size += file.write(part.encode())
        else:
            size += part.tell()
            part.seek(0)
            shutil.copyfileobj(part, file)
    return size


def _rows(reading: Reading, frame: _Frame) -> Iterator[Row]:
    rows = Rows()
    for told in reading:
        frame.take(told.event, told.content)
        yield from rows.take(told)
    yield from rows.rest()


class _Frame:
    """How the run began and its status, for the top of the page."""

    def __init__(self) -> None:
        self._started: ev.RunStarted | None = None
        self._opening: dict[str, Any] = {}
        self._last: ev.Event | None = None
        self._closing: dict[str, Any] = {}
        self._began = 0.0
        self._resumed = 0

    def take(self, event: ev.Event, content: dict[str, Any]) -> None:
        """Process one event."""
        self._last = event
        match event:
            case ev.RunStarted():
                self._started, self._opening, self._began = event, content, event.at
            case ev.RunResumed():
                self._resumed += 1
            case ev.Ended() | ev.Paused():
                self._closing = content
            case _:
                pass

    def told(self) -> dict[str, Any]:
        """As JSON values."""
        last = self._last
        ended = last if isinstance(last, ev.Ended | ev.Paused) else None
        return {
            "started": msgspec.to_builtins(self._started) if self._started is not None else {},
            "task": self._opening.get("task"),
            "config": self._opening.get("config"),
            "status": ended.status if ended is not None else "",
            "ended": isinstance(ended, ev.Ended),
            "closing": self._closing if ended is not None else {},
            "at": [self._began, last.at if last is not None else 0.0],
            "active": last.t if last is not None else 0.0,
            "resumed": self._resumed,
        }


def _line(told: Sequence[Told]) -> bytes:
    """Encode events that belong together, with their contents, as one line of JSON."""
    return b"[%b]" % b",".join(_event(each.event, each.kept, each.body) for each in told)


def _event(event: Any, kept: str, body: bytes) -> bytes:
    event.content = ""
    if getattr(event, "digest", ""):
        event.digest = event.digest[:DIGEST]
    return b'{"e":%b,"k":"%b","c":%b}' % (ev.encode(event), kept.encode(), body or b"null")


class _Blocks:
    """Gathers lines into blocks, each a template element, which browsers neither show nor run."""

    def __init__(self, file: IO[bytes], name: str, size: int = _BLOCK) -> None:
        self._file = file
        self._full = size
        self._name = name
        self._lines: list[bytes] = []
        self._size = 0
        self.number = 0

    def add(self, line: bytes) -> tuple[int, int]:
        """Add a line; return its block and its place in it."""
        if self._size >= self._full:
            self.close()
        self._lines.append(line)
        self._size += len(line)
        return self.number, len(self._lines) - 1

    def close(self) -> None:
        """Write what is gathered."""
        if not self._lines:
            return
        packed = base64.b64encode(zlib.compress(b"\n".join(self._lines)))
        self._file.write(b'<p id="%b-%d">%b</p>\n' % (self._name.encode(), self.number, packed))
        self._lines, self._size, self.number = [], 0, self.number + 1


class _Columns:
    """Gathers rows of the index into blocks by column, so that similar values are adjacent and faster to read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._blocks = _Blocks(file, "index")
        self._rows: list[list[Any]] = []

    @property
    def number(self) -> int:
        """The number of blocks."""
        return self._blocks.number

    def add(self, row: list[Any]) -> None:
        """Add a row."""
        self._rows.append(row)
        if len(self._rows) == _ROWS:
            self.close()

    def close(self) -> None:
        """Write what is gathered."""
        if self._rows:
            self._blocks.add(_encode(list(zip(*self._rows, strict=True))))
            self._blocks.close()
            self._rows = []


def _page(run: str) -> str:
    """Return the page without the data."""
    style = "".join(path.read_text(encoding="utf-8") for path in (PALETTE, _FILES / "page.css"))
    scripts = [(_FILES / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    policy = _POLICY.format(scripts=" ".join(map(_hash, scripts)), styles=_hash(style))
    page = (_FILES / "page.html").read_text(encoding="utf-8")
    for name, text in {
        "run": html.escape(run),
        "policy": policy,
        "style": style,
        "scripts": "".join(f"<script>{script}</script>\n" for script in scripts),
    }.items():
        page = page.replace(f"<!--{name}-->", text)
    return page


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def _aside(output: Path) -> IO[bytes]:
    """Open an unnamed file, on the output's disk if it is a regular file."""
    try:
        return tempfile.TemporaryFile(dir=output.resolve().parent if output.is_file() or not output.exists() else None)
    except OSError as error:
        raise BadInput(f"cannot write {output}: {error.strerror or error}") from error


@contextmanager
def _opened(output: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when complete; a symbolic link stays one."""
    target = output.resolve()
    try:
        if str(output) == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        if output.is_dir():
            raise BadInput(f"{output} is a folder: name a file, such as {output / 'run.html'}")
        if output.exists() and not output.is_file():
            with output.open("wb") as file:
                yield file
            return
        descriptor, name = tempfile.mkstemp(prefix=".report-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            Path(name).replace(target)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except BrokenPipeError:
        raise  # the reader has closed the pipe
    except OSError as error:
        if isinstance(error.filename, str) and Path(error.filename).parent not in {output.parent, target.parent}:
            raise  # what cannot be read, rather
        raise BadInput(f"cannot write {output}: {error.strerror or error}") from error
