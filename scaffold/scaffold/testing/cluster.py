"""A private PostgreSQL server on a socket in a temporary folder, for tests and measurements.

with Cluster(folder) as cluster:
    journal = PostgresJournal(cluster.url)

The programs are PostgreSQL's own, as Debian installs them or as they are on the PATH. They refuse to run as root; there
they are run as the user `postgres`, or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_DEBIAN = Path("/usr/lib/postgresql")
_WAIT_S = "60"
_ROOM = 2 << 30
_SETTINGS = (
    "listen_addresses=''",
    "max_connections=200",
    "shared_buffers=64MB",
    "logging_collector=off",
    "log_min_messages=fatal",
)


def programs() -> Path | None:
    """Find the folder of PostgreSQL's server programs; None if there is none."""
    there = shutil.which("initdb")
    if there:
        return Path(there).resolve().parent  # the other programs are in the same folder
    found = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def temporary_cluster(*, durable: bool = False) -> Iterator[Cluster]:
    """Run a server in a temporary folder: in memory if there is enough, unless it is to be durable."""
    memory = Path("/dev/shm")  # noqa: S108 - Linux has it
    roomy = not durable and memory.is_dir() and shutil.disk_usage(memory).free > _ROOM
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir=memory if roomy else "/tmp"))  # noqa: S108 - made for us alone
    folder.chmod(0o755)
    try:
        with Cluster(folder, durable=durable) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Cluster:
    """One server with an empty database, stopped and removed at the end.

    Args:
        folder: an empty folder that other users may enter, on a path short enough for a socket.
        durable: whether to sync to disk, which is slower.

    Raises:
        RuntimeError: the programs are missing, or do not start.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        there = programs()
        if there is None:
            raise RuntimeError("PostgreSQL's programs are not installed: apt-get install postgresql")
        self._bin = there
        self.folder = folder
        self._data = folder / "data"
        self._user = next((each for each in ("postgres", "nobody") if _is_user(each)), "nobody")
        self._settings = [*_SETTINGS, *(() if durable else ("fsync=off", "full_page_writes=off"))]

    @property
    def url(self) -> str:
        """The address of its database."""
        return f"postgresql:///scaffold?host={self.folder}&user=owner"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.start()
        self._run("createdb", "-h", str(self.folder), "-U", "owner", "scaffold")
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh(self, name: str, *, like: str = "template1") -> str:
        """Make another database, a copy of one that is not in use; return its address."""
        self._run("createdb", "-h", str(self.folder), "-U", "owner", "-T", like, name)
        return self.url.replace("/scaffold?", f"/{name}?")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = " ".join(f"-c {each}" for each in (*self._settings, f"unix_socket_directories={self.folder}"))
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-o", options, "-w", "-t", _WAIT_S, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it: `smart`, `fast`, or `immediate`, which is as if it had crashed."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "-t", _WAIT_S, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        user = self._user if os.getuid() == 0 else None
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
            command,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,  # the server would keep it open
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            said = (done.stdout or b"").decode(errors="replace").strip()
            raise RuntimeError(f"{program} ended with {done.returncode}: {said or 'see ' + str(self.folder / 'log')}")


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
