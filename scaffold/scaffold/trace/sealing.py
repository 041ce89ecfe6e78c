"""Encryption of content at rest. The spine, with its digests and the verdicts' facts, stays plain and verifiable.

    {"seq":N,"sealed":"<base64 of 16 bytes of salt, 12 of nonce, and the content under AES-256-GCM>"}

Encrypted are the content's own 16-byte salt and its body; its event number is authenticated with them. Each process
derives its own key, HMAC-SHA256(key, "scaffold.content/" ‖ salt), so that random nonces cannot run out. The key is 32
bytes in base64, in the environment variable `SCAFFOLD_CONTENT_KEY`; of several, separated by commas, the first
encrypts and all decrypt.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VARIABLE = "SCAFFOLD_CONTENT_KEY"
MARK = b',"sealed":"'
_BYTES, _SALT, _NONCE = 32, 16, 12
_USES = 1 << 31  # of one derived key: far below the limit for random nonces


class NotOpened(ValueError):
    """No available key decrypts it: it was encrypted with another, or altered."""

    def __init__(self) -> None:
        super().__init__(
            f"cannot be decrypted with the key in ${VARIABLE}: it was encrypted with another key, or altered"
        )


class Sealer:
    """Encrypts and decrypts content.

    Args:
        keys: 32 bytes each; the first encrypts.

    Raises:
        MissingExtra: the extra `signing` is not installed.
    """

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._keys = keys
        self._salt = os.urandom(_SALT)
        self._left = _USES
        self._cipher = _cipher(keys[0], self._salt)

    def line(self, seq: int, salt: bytes, body: bytes) -> bytes:
        """Return the line that stores an event's content."""
        from base64 import b64encode

        sealed = b64encode(self.seal(salt + body, b"%d" % seq))
        return b'{"seq":%d%b%b"}' % (seq, MARK, sealed)

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Encrypt data, bound to what it is about."""
        if not self._left:
            self._salt, self._left = os.urandom(_SALT), _USES
            self._cipher = _cipher(self._keys[0], self._salt)
        self._left -= 1
        nonce = os.urandom(_NONCE)
        return self._salt + nonce + self._cipher.encrypt(nonce, plain, about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Decrypt data.

        Raises:
            NotOpened: none of the keys decrypts it.
        """
        from cryptography.exceptions import InvalidTag

        salt, nonce = sealed[:_SALT], sealed[_SALT : _SALT + _NONCE]
        for key in self._keys:
            try:
                return _cipher(key, salt).decrypt(nonce, sealed[_SALT + _NONCE :], about)
            except InvalidTag:
                continue
        raise NotOpened


@lru_cache(maxsize=64)
def _cipher(key: bytes, salt: bytes) -> AESGCM:
    import hmac  # most runs encrypt nothing, and start faster without it

    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise MissingExtra("encrypting content", "signing") from None
    return AESGCM(hmac.digest(key, b"scaffold.content/" + salt, "sha256"))


def from_environment() -> Sealer | None:
    """Return the sealer that the environment asks for, or None.

    Raises:
        BadInput: the value there is not a key.
        MissingExtra: the extra `signing` is not installed.
    """
    said = os.environ.get(VARIABLE, "")
    return _sealer(said) if said else None


@lru_cache(maxsize=4)
def _sealer(said: str) -> Sealer:
    from base64 import b64decode

    keys = []
    for each in said.split(","):
        try:
            key = b64decode(each.strip(), validate=True)
        except ValueError:
            key = b""
        if len(key) != _BYTES:
            raise BadInput(
                f"${VARIABLE} is not a key: expected 32 bytes in base64, as made by `openssl rand -base64 32`"
            )
        keys.append(key)
    return Sealer(tuple(keys))
