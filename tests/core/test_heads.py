"""Signed heads: what is signed, who can check it, and what a crash may leave."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from scaffold.errors import BadInput, MissingExtra
from scaffold.trace.files import FileJournal
from scaffold.trace.heads import (
    Head,
    Signer,
    check_verifier,
    is_signed_by,
    load_signer,
    new_key,
    read_heads,
    without_torn_note,
)

if TYPE_CHECKING:
    from pathlib import Path

HEAD = Head("20261122-run", 7, bytes(range(32)))


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """A new key."""
    return new_key(tmp_path / "key")


def test_a_note_is_what_the_specification_says(signer: Signer) -> None:
    """Text, a blank line, an em dash, the key's name, and 4 bytes of key id with 64 of signature over the text."""
    text, _, signature = signer.sign(HEAD).partition("\n\n")
    assert text == f"scaffold.trace/20261122-run\n7\n{base64.b64encode(HEAD.hash).decode()}"
    dash, name, blob = signature.rstrip("\n").split(" ")
    raw = base64.b64decode(blob)
    key_name, key_hash, key = signer.verifier().split("+", 2)
    public = base64.b64decode(key)
    assert (dash, name, key_name) == ("\N{EM DASH}", "scaffold", "scaffold")
    assert raw[:4] == hashlib.sha256(b"scaffold\n" + public).digest()[:4] == bytes.fromhex(key_hash)
    assert public[:1] == b"\x01"
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], f"{text}\n".encode())


def test_a_note_is_signed_by_its_own_key_only(signer: Signer, tmp_path: Path) -> None:
    """Another key, another head or one changed digit does not verify."""
    note = signer.sign(HEAD)
    assert is_signed_by(note, signer.verifier())
    assert not is_signed_by(note, new_key(tmp_path / "other").verifier())
    assert not is_signed_by(note.replace("\n7\n", "\n8\n"), signer.verifier())


def test_a_key_file_is_private_and_never_overwritten(signer: Signer, tmp_path: Path) -> None:
    """It is made for its owner's eyes, refused when others can read it, and kept when it exists."""
    path = tmp_path / "key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_signer(path).verifier() == signer.verifier()
    with pytest.raises(BadInput, match="never overwritten"):
        new_key(path)
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        load_signer(path)


def test_what_is_no_key_is_said_to_be_none(tmp_path: Path) -> None:
    """A missing file names the command that makes one; nonsense says what is wanted."""
    with pytest.raises(BadInput, match="scaffold audit key"):
        load_signer(tmp_path / "nothing")
    (tmp_path / "nonsense").write_text("hello")
    with pytest.raises(BadInput, match="32 bytes"):
        load_signer(tmp_path / "nonsense")


def test_a_head_torn_by_a_crash_is_cut_off_and_reported(signer: Signer, tmp_path: Path) -> None:
    """Wherever the writing stopped, opening the run leaves whole notes only, and the next one can be read."""
    notes = signer.sign(HEAD).encode() + b"\n"
    torn = notes + signer.sign(Head(HEAD.run, 9, HEAD.hash)).encode() + b"\n"
    for length in range(len(notes), len(torn) - 2):
        assert without_torn_note(torn[:length]) == notes.rstrip(b"\n") + b"\n"

    async def crash_and_open() -> str:
        journal = FileJournal(tmp_path / "runs")
        await journal.release(await journal.claim("r", "me", create=True))
        (tmp_path / "runs/r/heads").write_bytes(torn[: len(notes) + 40])
        claim = await journal.claim("r", "me")
        await journal.sign(claim, signer.sign(Head(HEAD.run, 9, HEAD.hash)))
        await journal.release(claim)
        return claim.repaired

    assert "incomplete line in heads" in asyncio.run(crash_and_open())
    assert [head.seq for head, _ in read_heads((tmp_path / "runs/r/heads").read_text())] == [7, 9]


def test_without_the_extra_signing_names_what_to_install(
    signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making a key, signing with one and checking with one say so before a run begins; nothing is taken as checked."""
    verifier = signer.verifier()
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    importlib.invalidate_caches()
    for attempt in (new_key, load_signer):
        with pytest.raises(MissingExtra, match=r"signing needs .*system2-scaffold\[signing\]"):
            attempt(tmp_path / "new")
    with pytest.raises(MissingExtra, match=r"system2-scaffold\[signing\]"):
        check_verifier(verifier)
    assert not (tmp_path / "new").exists()
