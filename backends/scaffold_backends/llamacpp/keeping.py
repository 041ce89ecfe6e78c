"""Keeps the model's state after a long common prefix in a file, so that the next process need not compute it.

The prefix is what all prompts with the same system turn share. llama.cpp assigns a prompt to the slot with the longest
common prefix, so a state put into one slot is found without further help.

A file's name ends in the digest of its content. The digest is checked before llama.cpp reads the file, since a
truncated one may abort the whole process.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
import warnings
from typing import TYPE_CHECKING

from scaffold.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from scaffold_backends.llamacpp.engine import Engine

_LEAST = 64  # tokens; a shorter prefix is not worth a file
_ENDS = 1024 * 1024  # bytes at either end of a model's file that identify it


class Kept:
    """The prefixes whose states are kept in one folder for one loaded model."""

    def __init__(self, folder: Path, model: Path, engine: Engine, slots: int) -> None:
        self._folder = folder
        self._engine = engine
        self._slots = slots
        self._identity = _identity(model, engine.version)
        self._known: set[str] = set()
        self._used = 0
        self._lock = threading.Lock()

    def knows(self, system: str) -> bool:
        """Whether a system turn's state is in place already."""
        return system in self._known

    def see_to(self, system: str) -> None:
        """Put the state after a system turn into a slot: from its file, or computed and then saved.

        It blocks, and no other request may run meanwhile: it might be given the same slot.
        """
        with self._lock:
            if system in self._known:
                return
            self._known.add(system)
            tokens = self._beginning(system)
            if len(tokens) < _LEAST:
                return
            slot = self._used % self._slots
            self._used += 1
            name = hashlib.sha256(json.dumps([self._identity, tokens]).encode()).hexdigest()[:32]
            if not self._restored(slot, name):
                self._engine.complete({"prompt": tokens, "n_predict": 0, "id_slot": slot, "cache_prompt": True})
                self._save(slot, name)

    def _beginning(self, system: str) -> list[int]:
        """Return the tokens that all prompts with one system turn begin with."""
        one, other = (
            self._engine.prompt([{"role": "system", "content": system}, {"role": "user", "content": said}])
            for said in ("a", "1")
        )
        alike = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
        return one[:alike]

    def _restored(self, slot: int, name: str) -> bool:
        """Read a state into a slot, if there is a complete file of it.

        A damaged file is removed. One that llama.cpp refuses, or that another process has just removed, is ignored and
        written again.
        """
        for file in self._folder.glob(f"{name}-*.state"):
            try:
                if file.name == _named(name, file):
                    self._engine.ask(f"/slots/{slot}?action=restore", {"filename": file.name})
                    return True
                file.unlink()
            except (BadRequest, OSError):
                continue
        return False

    def _save(self, slot: int, name: str) -> None:
        begun = self._folder / f"{name}.{secrets.token_hex(8)}"  # a file with its last name is whole
        try:
            self._engine.ask(f"/slots/{slot}?action=save", {"filename": begun.name})
            begun.replace(self._folder / _named(name, begun))
        except (BadRequest, OSError) as error:
            begun.unlink(missing_ok=True)
            warnings.warn(f"the state after a prompt could not be kept in {str(self._folder)!r}: {error}", stacklevel=2)


def _named(name: str, file: Path) -> str:
    """Return the name that a state's file must have."""
    with file.open("rb") as content:
        return f"{name}-{hashlib.file_digest(content, 'sha256').hexdigest()[:32]}.state"


def _identity(model: Path, version: str) -> Sequence[str]:
    """Return what identifies a state's owner: one model in one version of llama.cpp."""
    with model.open("rb") as file:
        digest = hashlib.sha256(file.read(_ENDS))
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _ENDS))
        digest.update(file.read(_ENDS))
    return (version, str(size), digest.hexdigest())
