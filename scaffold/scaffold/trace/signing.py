"""Where the key that signs heads is kept: in a file, in the environment, or behind a program that signs for us.

A spec names it: a path; `env:VARIABLE`, whose value is the content of a key file; `command:PROGRAM ARGUMENTS`. Such a
program reads the text to sign from its input and writes the signed note. Given no input, it writes its verifier line,
and below it the key's endorsement, if there is one. `scaffold audit sign FILE` is such a program, so
`command:ssh keeper scaffold audit sign FILE` keeps the key on another machine.

Keys are replaced openly: the trace records which key signs from where on, and the old key may endorse the new one by a
signed note whose text is

    scaffold.key/
    <verifier line of the new key>
"""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scaffold.errors import BadInput, JournalFailed
from scaffold.trace.heads import Signer, check_verifier, is_signed_by, load_signer, signer_from

if TYPE_CHECKING:
    from scaffold.trace.heads import Says

ORIGIN = "scaffold.key/"
ENDORSEMENT = ".endorsement"
_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Successor:
    """The statement that a key succeeds the key that signs this."""

    verifier: str

    def text(self) -> str:
        """Return the note's text."""
        return f"{ORIGIN}\n{self.verifier}\n"


@dataclass(frozen=True, slots=True)
class Text:
    """A note's text as received."""

    said: str

    def text(self) -> str:
        """Return the note's text."""
        return self.said


def endorsed_by(endorsement: str, successor: str, verifier: str) -> bool:
    """Whether a note, signed by the key of a verifier line, names the key `successor` as its successor."""
    try:
        return endorsement.startswith(Successor(successor).text() + "\n") and is_signed_by(endorsement, verifier)
    except ValueError:  # malformed signature
        return False


def endorse(old: Signer, successor: Signer, path: Path) -> str:
    """Have a key endorse its successor, whose key file is at `path`; return the note and store it beside that file."""
    note = old.sign(Successor(successor.verifier()))
    kept = path.with_name(path.name + ENDORSEMENT)
    kept.write_text(note, encoding="utf-8")
    return note


class CommandSigner(Signer):
    """Signs by running a program.

    Args:
        command: the program and its arguments.

    Raises:
        BadInput: it gives no verifier line.
    """

    waits = True

    def __init__(self, command: list[str]) -> None:
        self._command = command
        try:
            verifier, _, endorsement = self._ask("").strip().partition("\n")
        except JournalFailed as error:
            raise BadInput(str(error)) from error
        self._verifier = verifier.strip()
        self.endorsement = endorsement + "\n" if endorsement else ""
        check_verifier(self._verifier)
        self.name = self._verifier.partition("+")[0]

    def sign(self, said: Says) -> str:
        """Return the signed note.

        Raises:
            JournalFailed: the program fails, takes too long, or signs something else.
        """
        text = said.text()
        note = self._ask(text)
        try:
            right = note.startswith(text + "\n") and is_signed_by(note, self._verifier)
        except ValueError:
            right = False
        if not right:
            raise JournalFailed(f"the output of `{shlex.join(self._command)}` is not signed by {self._verifier}")
        return note if note.endswith("\n") else note + "\n"

    def verifier(self) -> str:
        """Return the verifier line that the program gave."""
        return self._verifier

    def _ask(self, text: str) -> str:
        said = shlex.join(self._command)
        try:
            done = subprocess.run(  # noqa: S603 - the command is the user's own
                self._command, input=text.encode(), capture_output=True, check=False, timeout=_PATIENCE_S
            )
        except OSError as error:
            raise JournalFailed(f"the signing command `{said}` cannot be run: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise JournalFailed(f"the signing command `{said}` did not answer within {_PATIENCE_S:g} s") from None
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] or "it gave no reason"
            raise JournalFailed(f"the signing command `{said}` ended with status {done.returncode}: {why}")
        return done.stdout.decode(errors="replace")


def signer_of(spec: str | Path) -> Signer:
    """Make the signer that a spec names.

    Raises:
        BadInput: there is no key there, or others can read its file.
        MissingExtra: the extra `signing` is not installed.
    """
    said = str(spec)
    if said.startswith("env:"):
        name = said.removeprefix("env:")
        if not os.environ.get(name):
            raise BadInput(f"the environment variable {name!r} is not a signing key: expected 32 bytes in base64")
        return signer_from(os.environ[name], f"${name}")
    if said.startswith("command:"):
        command = shlex.split(said.removeprefix("command:"))
        if not command:
            raise BadInput("`command:` does not name a program that signs")
        return CommandSigner(command)
    signer = load_signer(said)
    kept = Path(said + ENDORSEMENT)
    if kept.is_file():
        signer.endorsement = kept.read_text(encoding="utf-8")
    return signer
