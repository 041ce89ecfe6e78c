"""Content encrypted at rest: the spine, with its digests and the facts of verdicts, stays as it is, and verifiable.

    {"seq":N,"sealed":"<base64 of 16 bytes of salt, 12 of nonce, and the content under AES-256-GCM>"}

What is encrypted is the 16 bytes of the content's own salt and its body; its number is authenticated with it. The key
for a process is HMAC-SHA256(key, "scaffold.content/" ‖ salt), so that random nonces are never used up. The key is 32
bytes in base64, in the environment variable `SCAFFOLD_CONTENT_KEY`; of several, parted by commas, the first seals and
all open.
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
_USES = 1 << 31  # of one derived key, far below what random nonces allow


class NotOpened(ValueError):
    """No key that is there opens it: it was sealed with another, or altered."""

    def __init__(self) -> None:
        super().__init__(f"opens with no key in ${VARIABLE}: it was sealed with another, or altered")


class Sealer:
    """Encrypts and decrypts contents.

    Args:
        keys: 32 bytes each; the first seals.

    Raises:
        MissingExtra: the extra `signing` is not installed.
    """

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        self._keys = keys
        self._salt = os.urandom(_SALT)
        self._left = _USES
        self._cipher = _cipher(keys[0], self._salt)

    def line(self, seq: int, salt: bytes, body: bytes) -> bytes:
        """The line that keeps an event's content."""
        from base64 import b64encode

        sealed = b64encode(self.seal(salt + body, b"%d" % seq))
        return b'{"seq":%d%b%b"}' % (seq, MARK, sealed)

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Encrypt something, bound to what it is about."""
        if not self._left:
            self._salt, self._left = os.urandom(_SALT), _USES
            self._cipher = _cipher(self._keys[0], self._salt)
        self._left -= 1
        nonce = os.urandom(_NONCE)
        return self._salt + nonce + self._cipher.encrypt(nonce, plain, about)

    def open(self, sealed: bytes, about: bytes) -> bytes:
        """Decrypt it.

        Raises:
            NotOpened: none of the keys opens it.
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
    import hmac  # most runs encrypt nothing, and start sooner without

    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise MissingExtra("encrypting content", "signing") from None
    return AESGCM(hmac.digest(key, b"scaffold.content/" + salt, "sha256"))


def from_environment() -> Sealer | None:
    """The sealer that the environment asks for; None when it asks for none.

    Raises:
        BadInput: what is there is no key.
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
                f"${VARIABLE} holds no key: 32 bytes in base64 are wanted, as `openssl rand -base64 32` makes them"
            )
        keys.append(key)
    return Sealer(tuple(keys))
