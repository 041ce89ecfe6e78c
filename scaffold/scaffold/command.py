"""The command `scaffold` as a process of its own, which starts and ends quickly."""

from __future__ import annotations

import gc
import os
import sys

from scaffold.starting import starting

_INTERRUPTED = 130


def process() -> int:
    """Be the whole process, and give its exit status.

    To look for garbage among all that was imported once more at the end, and for plug-ins of pydantic in every
    installed distribution, takes a twentieth of a short run each.
    """
    gc.set_threshold(50_000)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with starting():
            from scaffold.cli import main
        return main()
    except KeyboardInterrupt:  # before there was anything to pause
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    finally:
        gc.freeze()
