"""Checks model files in GGUF format before they are loaded, since the libraries' errors say little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaffold.errors import ModelFileError

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"GGUF"


def check_gguf(path: Path) -> None:
    """Check a file's first bytes, since the libraries would only report a failure.

    Raises:
        ModelFileError: there is no such file, or it is not GGUF.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe would block
            raise ModelFileError(f"{str(path)!r} is not a file: a model cannot be read from a pipe or a device")
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        message = f"cannot read the model {str(path)!r}: {error.strerror}"
        raise ModelFileError(message) from error
    if start.startswith(b"version https://git-lfs"):
        message = f"{str(path)!r} is only a pointer to a model (Git LFS): fetch the model with 'git lfs pull'"
        raise ModelFileError(message)
    if not start.startswith(_MAGIC):
        what = "is empty" if not start else f"begins with {start[:8]!r}, not with {_MAGIC!r}"
        message = f"{str(path)!r} is not a model in GGUF format: it {what}; download it again, or convert it"
        raise ModelFileError(message)
