"""Signed heads: the chain's last hash signed with Ed25519, as a C2SP signed note.

Source: https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint for the shape of the text:

    scaffold.trace/<run id>
    <number of events>
    <hash of the last one, base64>

    — <key name> <base64 of 4 bytes of key id and 64 of signature>

Either the key or a copy of a head must be kept outside the agent's reach; otherwise a signature shows no more than the
chain does.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from contextlib import suppress
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from scaffold.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ORIGIN = "scaffold.trace/"
_ED25519 = b"\x01"
_KEY_BYTES = 32
_VERIFIER_BYTES = 33
_NOTE_LINES = 5  # run, number of events, hash, empty line, signature
_NUMBER = re.compile("[1-9][0-9]{0,17}|0")


class Head(msgspec.Struct, frozen=True):
    """The state of a trace after its event `seq`."""

    run: str
    seq: int
    hash: bytes

    def text(self) -> str:
        """Return the note's text, which is what is signed."""
        return f"{ORIGIN}{self.run}\n{self.seq}\n{base64.b64encode(self.hash).decode()}\n"


class Says(Protocol):
    """Something that can be signed. The first line of its text names what kind of statement it is."""

    def text(self) -> str:
        """Return the text of the note: it ends with a newline and has no empty line."""
        ...


class Signer:
    """Signs heads with a private key.

    Attributes:
        name: the key's name in the note.
        endorsement: a signed note in which the previous key names this one as its successor; empty if there is none.
        waits: signing is too slow to be done in an event loop.
    """

    waits = False

    def __init__(self, key: Ed25519PrivateKey, name: str = "scaffold") -> None:
        self._key = key
        self.name = name
        self.endorsement = ""
        self._id = key_id(name, public_bytes(key.public_key()))

    def sign(self, said: Says) -> str:
        """Return the signed note of a head, or of another statement."""
        text = said.text()
        signature = base64.b64encode(self._id + self._key.sign(text.encode())).decode()
        return f"{text}\n\N{EM DASH} {self.name} {signature}\n"

    def verifier(self) -> str:
        """Return the public key as a verifier key line: `name+hash+base64`."""
        raw = public_bytes(self._key.public_key())
        return f"{self.name}+{self._id.hex()}+{base64.b64encode(_ED25519 + raw).decode()}"


def key_id(name: str, public: bytes) -> bytes:
    """Return the first four bytes of SHA-256(name ‖ newline ‖ 0x01 ‖ public key), as signed-note specifies."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def public_bytes(key: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def new_key(path: Path) -> Signer:
    """Create a key file that only its owner can read.

    Raises:
        BadInput: the file exists already.
        MissingExtra: the extra `signing` is not installed.
    """
    key = _private_keys().generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BadInput(f"{path} already exists: a key is never overwritten") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(base64.b64encode(key.private_bytes_raw()).decode() + "\n")
    return Signer(key)


def load_signer(path: Path | str) -> Signer:
    """Read a private key file: 32 bytes in base64.

    Raises:
        BadInput: it is missing, readable by others, or not a key.
        MissingExtra: the extra `signing` is not installed.
    """
    _private_keys()
    file = Path(path)
    try:
        mode = file.stat().st_mode
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        refuse_key(str(path))
        raise BadInput(
            f"cannot read the signing key {file}: {error.strerror}; `scaffold audit key {file}` makes one"
        ) from None
    signer = signer_from(text, str(file))
    if mode & 0o077:
        raise BadInput(f"the signing key {file} can be read by others: chmod 600 {file}")
    return signer


def refuse_key(text: str) -> None:
    """Check that a text, of which an error may quote any, is not a private key.

    Raises:
        BadInput: it is one.
    """
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        return
    if len(raw) == _KEY_BYTES:
        said = "this is a private key itself, which commands and files show to others"
        raise BadInput(f"{said}: name the file that holds it, and where a verifier line is wanted give that")


def signer_from(text: str, where: str) -> Signer:
    """Parse a private key: 32 bytes in base64.

    Raises:
        BadInput: it is not a key; the message says where it was.
        MissingExtra: the extra `signing` is not installed.
    """
    keys = _private_keys()
    try:
        return Signer(keys.from_private_bytes(base64.b64decode(text.strip(), validate=True)))
    except ValueError:
        raise BadInput(f"{where} is not an Ed25519 key: expected 32 bytes in base64") from None


class TornNote(ValueError):
    """The last of several notes was cut off while it was being written."""


def notes_in(lines: Iterable[str], *, strict: bool) -> Iterator[tuple[Head, str]]:
    """Yield consecutive signed heads, each with its whole note, reading no further than needed.

    Args:
        lines: the text's lines, with their newlines.
        strict: allow nothing else between the heads; otherwise it is skipped.

    Raises:
        TornNote: the last note is cut off.
        ValueError: something is not a signed head.
    """
    waiting = iter(lines)
    for line in waiting:
        if not line.startswith(ORIGIN):
            if strict and line.strip():
                raise TornNote if ORIGIN.startswith(line) else ValueError(f"{line.strip()[:40]!r} is not a signed head")
            continue
        note = [line, *islice(waiting, _NOTE_LINES - 1)]
        if not note[-1].endswith("\n") or (strict and len(note) < _NOTE_LINES):
            raise TornNote
        if len(note) < _NOTE_LINES or note[3] != "\n" or not note[4].startswith("\N{EM DASH} "):
            raise ValueError(f"{line.strip()!r} is not followed by a head with its signature")
        if not _NUMBER.fullmatch(note[1].rstrip("\n")):
            raise ValueError(f"{line.strip()!r} is not followed by a number of events")
        head = Head(line.removeprefix(ORIGIN)[:-1], int(note[1]), base64.b64decode(note[2].rstrip("\n"), validate=True))
        yield head, "".join(note)


def whole_notes(text: str) -> Iterator[tuple[Head, str]]:
    """Yield the signed heads in a text, skipping everything else, including notes that are cut off or altered."""
    lines = text.splitlines(keepends=True)
    for place, line in enumerate(lines):
        if line.startswith(ORIGIN):
            with suppress(ValueError):
                yield from notes_in(lines[place : place + _NOTE_LINES], strict=True)


def read_heads(text: str) -> list[tuple[Head, str]]:
    """Return consecutive signed heads, each with its whole note.

    Raises:
        ValueError: something is not a signed note.
    """
    notes = list(notes_in(text.splitlines(keepends=True), strict=False))
    if not notes and text.strip():
        raise ValueError("has no signed head")
    return notes


def is_verifier(text: str) -> bool:
    """Whether a text is a verifier key line."""
    name, _, rest = text.strip().partition("+")
    identity, _, encoded = rest.partition("+")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    return len(raw) == _VERIFIER_BYTES and raw[:1] == _ED25519 and key_id(name, raw[1:]).hex() == identity


def check_verifier(verifier: str) -> None:
    """Check that a text is a verifier key line, and that signatures can be checked here.

    Raises:
        BadInput: it is not one.
        MissingExtra: the extra `signing` is not installed.
    """
    if not is_verifier(verifier):
        refuse_key(verifier)
        raise BadInput(f"{verifier!r} is not a verifier line (NAME+ID+BASE64): `scaffold audit key FILE` prints one")
    if find_spec("cryptography") is None:
        raise MissingExtra("checking a signature", "signing")


def without_torn_note(text: bytes) -> bytes:
    """Return consecutive notes without a last one that was cut off while it was being written."""
    lines = text.splitlines(keepends=True)
    while lines and not (lines[-1].startswith("\N{EM DASH} ".encode()) and lines[-1].endswith(b"\n")):
        lines.pop()
    return b"".join(lines)


def is_signed_by(note: str, verifier: str) -> bool:
    """Whether a note has a valid signature by the key of a verifier line.

    Raises:
        ValueError: its signature is malformed.
    """
    return signature_of(note, verifier) == "right"


def signature_of(note: str, verifier: str) -> Literal["right", "wrong", "of another"]:
    """Compare a note's signature with the key of a verifier line: right, claimed but wrong, or of another key.

    Raises:
        ValueError: its signature is malformed.
    """
    from cryptography.exceptions import InvalidSignature

    name, identity, public = _public_key(verifier)
    text, _, signatures = note.partition("\n\n")
    for line in signatures.splitlines():
        match line.split(" "):
            case ["\N{EM DASH}", signer, blob] if signer == name:
                raw = base64.b64decode(blob)
                if raw[:4] != identity:
                    continue
                try:
                    public.verify(raw[4:], (text + "\n").encode())
                except InvalidSignature:
                    return "wrong"
                return "right"
            case _:
                continue
    return "of another"


@lru_cache(maxsize=64)
def _public_key(verifier: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Return the name, the id and the key of a verifier line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name, _, encoded = verifier.strip().split("+", 2)
    public = base64.b64decode(encoded)[1:]
    return name, key_id(name, public), Ed25519PublicKey.from_public_bytes(public)


def _private_keys() -> type[Ed25519PrivateKey]:
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        raise MissingExtra("signing", "signing") from None
    return Ed25519PrivateKey
