"""The command `scaffold` as a process of its own, which starts and ends quickly."""

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


class _Unheeded(FileIO):
    """Standard error, where what it does not take is dropped.

    Its terminal may be gone, its disk be full, or nobody read it any more: what is told there ends nothing.
    """

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data) or len(memoryview(data))
        except OSError:
            return len(memoryview(data))


def _speak_unheeded() -> None:
    """Have what is told on standard error end nothing."""
    now = sys.stderr
    if isinstance(now, TextIOWrapper):
        raw = BufferedWriter(_Unheeded(now.fileno(), "w", closefd=False))
        sys.stderr = TextIOWrapper(raw, now.encoding, now.errors, line_buffering=True)


def process() -> int:
    """Be the whole process, and give its exit status.

    To look for garbage among all that was imported once more at the end, and for plug-ins of pydantic in every
    installed distribution, takes a twentieth of a short run each.
    """
    status = 1

    def leave() -> None:
        """End at once where Temporal's client was used: its threads may abort an interpreter that is taken down.

        Source: https://github.com/temporalio/sdk-python/issues/300
        """
        if _TEMPORAL in sys.modules:
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    _speak_unheeded()
    atexit.register(leave)  # the first that is registered is the last that is called
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
        gc.freeze()
    return status
