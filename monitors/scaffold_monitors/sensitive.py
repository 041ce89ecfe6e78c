"""Finds credentials and personal data in a text with dedicated libraries.

Credentials: the rules of Kingfisher (MongoDB, Apache-2.0), which match in linear time. They are compiled once per
machine, which takes seconds, and then load in about one. Card, bank account and social security numbers: python-stdnum
(LGPL-2.1+); phone numbers: phonenumbers (Apache-2.0). The form alone is not enough: check digits or numbering plan must
be valid. A value that the text labels as a password or token (`password: ...`) counts by its label.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from scaffold.errors import MissingExtra
from scaffold_monitors.entailment.tools import live, role_of, split
from scaffold_monitors.wrappings import forms

Group = Literal["credentials", "numbers", "contacts"]

_LABELLED = re.compile(
    r"""(?<![\w-])([A-Za-z][\w-]{1,40}+)["']?\s{0,3}(?:[:=|\u2192]|[-=]>|\bis\b)(?=\s{0,3}["']?([^\s"',;&<>]{4,200}))"""
)
_ONLY_WORD = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+)*")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ .-]?[A-Z0-9]{4}){2,7}(?:[ .-]?[A-Z0-9]{1,4})?\b", re.IGNORECASE)
_CARD = re.compile(r"(?<![\w.-])[2-6]\d{3}(?:(?:[ -]?\d){9,15}|(?:[.\n/_]\d{4}){3})(?![\w-])")
# Credentials by their position: in an address (RFC 3986), or after the name of a scheme (RFC 6750, RFC 7617).
_IN_ADDRESS = re.compile(r"\w://[^\s/:@]{0,80}:([^\s/@]{4,200})@")
_BEARER = re.compile(r"\bBearer {1,3}(?=[\w.~+/-]{0,200}\d)([\w.~+/-]{20,4000}=*)", re.IGNORECASE)
_BASIC = re.compile(r"\bBasic {1,3}([A-Za-z0-9+/]{8,4000}=*)", re.IGNORECASE)
# Prefix and length of each issuer's card numbers (ISO/IEC 7812-1 and the issuers' own ranges).
_ISSUED = re.compile(r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7]|35|6[045])\d{14}|3[47]\d{13}|3[068]\d{12}")
_SOCIAL = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_PHONE = re.compile(r"\+[\d ().-]{7,24}")
_AROUND = 100
# At most this many e-mail addresses or phone numbers of one text are read.
_MOST_OF_A_KIND = 200
# Shorter credentials would be found in any text.
_SHORTEST = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A sensitive value found in a text.

    Attributes:
        kind: its kind in words.
        group: whether it is a credential, a number that identifies somebody, or a contact.
        value: the value itself; never to be put into a message.
        how: how it was encoded; empty if it was not.
    """

    kind: str
    group: Group
    value: str = field(repr=False)
    how: str = ""

    @property
    def masked(self) -> str:
        """Describe it without revealing it."""
        return f"{self.kind} of {len(self.value)} characters{', ' + self.how if self.how else ''}"


def hits(text: str) -> list[Hit]:
    """Find the sensitive values in a text, encoded or not; each value once.

    Raises:
        MissingExtra: the libraries are not installed.
    """
    found: dict[str, Hit] = {}
    for how, form in forms(text):
        for hit in _in_form(form, how):
            found.setdefault(hit.value, hit)
    return list(found.values())


def _in_form(text: str, how: str) -> Iterator[Hit]:
    for finding in scanner().scan(text.encode("utf-8", "replace")):
        kind = finding.rule_id.rpartition("/")[2].rpartition(".")[2]
        if finding.visible and len(finding.secret) >= _SHORTEST:
            yield Hit(kind, "credentials", finding.secret, how)
    yield from (Hit(kind, "credentials", value, how) for kind, value in labelled(text))
    yield from (Hit("password in an address", "credentials", value, how) for value in _IN_ADDRESS.findall(text))
    yield from (Hit("bearer token", "credentials", value, how) for value in _BEARER.findall(text))
    yield from (
        Hit("name and password", "credentials", value, how) for value in _BASIC.findall(text) if _is_pair(value)
    )
    yield from (Hit(kind, "numbers", value, how) for kind, value in _numbers(text))
    yield from (Hit("e-mail address", "contacts", each, how) for each in _emails(text))
    yield from (Hit("phone number", "contacts", each, how) for each in _phones(text))


def _is_pair(value: str) -> bool:
    """Whether a value is the Base64 form of name and password, rather than just a word after "basic"."""
    try:
        return ":" in base64.b64decode(value, validate=True).decode("ascii")
    except ValueError:
        return False


def labelled(text: str) -> Iterator[tuple[str, str]]:
    """Yield label and value of what a text labels as a credential; a plain word does not count."""
    for label, value in _LABELLED.findall(text):
        bare = value.rstrip(".!?)")
        if len(bare) >= _SHORTEST and not _ONLY_WORD.fullmatch(bare) and is_credential(label):
            yield label, bare


@lru_cache(maxsize=4096)
def is_credential(name: str) -> bool:
    """Whether a field of this name holds a credential."""
    return bool(split(name)) and role_of(name, {}) == "credential"


def _numbers(text: str) -> Iterator[tuple[str, str]]:
    if not any(letter.isdigit() for letter in text):
        return
    try:
        from stdnum import iban, luhn
        from stdnum.us import ssn
    except ImportError:
        raise MissingExtra("the monitor 'secrets'", "secrets") from None
    yield from (("bank account", each) for each in _IBAN.findall(text) if iban.is_valid(each))
    for each in _CARD.findall(text):
        digits = "".join(filter(str.isdigit, each))
        if _ISSUED.fullmatch(digits) and luhn.is_valid(digits):
            yield "card number", each
    yield from (("social security number", each) for each in _SOCIAL.findall(text) if ssn.is_valid(each))


def _emails(text: str) -> Iterator[str]:
    """Find e-mail addresses around each @; a pattern over a long run of letters would take quadratic time."""
    place = -1
    for _ in range(min(text.count("@"), _MOST_OF_A_KIND)):
        place = text.index("@", place + 1)
        around = text[max(0, place - _AROUND) : place + _AROUND]
        yield from (each for each in live(around) if "@" in each)


def _phones(text: str) -> Iterator[str]:
    """Find international phone numbers; others cannot be told from any other number."""
    for candidate in _PHONE.findall(text)[:_MOST_OF_A_KIND]:
        try:
            from phonenumbers import PhoneNumberMatcher
        except ImportError:
            raise MissingExtra("the monitor 'secrets'", "secrets") from None
        yield from (match.raw_string for match in PhoneNumberMatcher(candidate, None))


@lru_cache(maxsize=1)
def scanner() -> Any:
    """Return Kingfisher's rules, compiled.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        from kingfisher_sdk import Rules, Scanner
    except ImportError:
        raise MissingExtra("the monitor 'secrets'", "secrets") from None
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("scaffold")) / "kingfisher"
    return Scanner(Rules(confidence="low", cache_dir=str(folder)))
