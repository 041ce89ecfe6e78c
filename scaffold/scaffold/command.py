"""Runs the command `scaffold` as a process of its own, with quick start and exit."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING

from scaffold.starting import starting

if TYPE_CHECKING:
    from typing_extensions import Buffer

_INTERRUPTED = 130
_TEMPORAL = "temporalio.bridge.temporal_sdk_bridge"
_COUNTED = "torch"  # its libraries print all that is not freed when they end


class _Unheeded(FileIO):
    """A standard error stream that drops what cannot be written.

    Its terminal may be gone, its disk full, or its reader gone: progress messages must not end the command.
    """

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data) or len(memoryview(data))
        except OSError:
            return len(memoryview(data))


def _speak_unheeded() -> None:
    """Make standard error drop what cannot be written."""
    now = sys.stderr
    if isinstance(now, TextIOWrapper):
        raw = BufferedWriter(_Unheeded(now.fileno(), "w", closefd=False))
        sys.stderr = TextIOWrapper(raw, now.encoding, now.errors, line_buffering=True)


def process() -> int:
    """Run the command as the whole process; return its exit status.

    Two things are skipped, each of which takes a twentieth of a short run: a last garbage collection of everything
    imported, and pydantic's search for plug-ins in every installed distribution.
    """
    status = 1

    def leave() -> None:
        """Exit at once if Temporal's client was used: its threads may abort an interpreter that is shutting down.

        Source: https://github.com/temporalio/sdk-python/issues/300
        """
        if _TEMPORAL in sys.modules:
            with contextlib.suppress(OSError, ValueError):  # the reader is gone
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    _speak_unheeded()
    atexit.register(leave)  # registered first, so called last
    gc.set_threshold(50_000)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with starting():
            from scaffold.cli import main
        status = main()
    except KeyboardInterrupt:  # before there was anything to pause
        sys.stderr.write("interrupted\n")
        status = _INTERRUPTED
    finally:
        if _COUNTED not in sys.modules:
            gc.freeze()
    return status
