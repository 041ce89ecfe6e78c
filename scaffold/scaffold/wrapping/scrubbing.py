"""Takes secrets out of texts that are to be kept."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

REMOVED = "[secret removed]"

_SHORTEST = 8  # characters; a shorter value of a variable would be found by chance everywhere
_NAMES = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(_|$)", re.IGNORECASE)
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\bsk-[A-Za-z0-9_-]{16,}"  # OpenAI, Anthropic and others
    r"|\bgh[opsu]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}"
    r"|\b(AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bAIza[0-9A-Za-z_-]{30,}"
    r"|\bhf_[A-Za-z0-9]{20,}"
    r"|\bxox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"  # a JSON web token
    r"|(?<=\bBearer )[A-Za-z0-9._~+/-]{16,}=*"
    r"|(?<=://)[^/\s:@]+:[^/\s:@]+(?=@)",
    re.DOTALL,
)
_URL = re.compile(r"://(?:(?P<user>[^/?#]*)@)?[^?#]*(?:\?(?P<query>[^#]*))?")


def hiding(secrets: Mapping[str, str]) -> Callable[[str], str]:
    """Make what puts something else in the place of each secret in a text, in whatever form a program has quoted it.

    Args:
        secrets: what is put in the place of each.
    """
    forms = [(form, instead) for secret, instead in secrets.items() for form in _as_written(secret)]
    forms.sort(key=lambda each: -len(each[0]))  # one may begin with another

    def hidden(text: str) -> str:
        for form, instead in forms:
            text = text.replace(form, instead)
        return text

    return hidden


def hidden_in(value: Any, hidden: Callable[[str], str]) -> Any:
    """Return a JSON value with something else in the place of secrets; a number that holds one becomes a text."""
    match value:
        case str():
            return hidden(value)
        case list():
            return [hidden_in(each, hidden) for each in value]
        case dict():
            return {hidden(name): hidden_in(each, hidden) for name, each in value.items()}
        case int() | float() if not isinstance(value, bool):
            said = hidden(repr(value))
            return value if said == repr(value) else said
        case _:
            return value


def _as_written(secret: str) -> set[str]:
    """A secret as it is, in URLs and their forms, in JSON, as Python prints it, in HTML, and in Base64.

    White space around it, such as the line break at the end of a file, is often gone, or written out.
    """
    forms = set()
    for text in (secret, secret.strip()):
        quoted = json.dumps(text), json.dumps(text, ensure_ascii=False), repr(text)
        forms |= {text, quote(text, safe=""), quote(text), quote_plus(text), *(form[1:-1] for form in quoted)}
        escaped = html.escape(text)  # of which there are several ways
        forms |= {escaped, html.escape(text, quote=False), escaped.replace("&#x27;", "&#39;")}
        forms |= {escaped.replace("&#x27;", "&apos;"), escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")}
        forms |= set(_in_base64(text.encode("utf-8", "surrogatepass")))
    return forms - {""}


def _in_base64(secret: bytes) -> Iterator[str]:
    """A secret within whatever is in Base64, such as `user:password` in a header: without letters that others share."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + secret).decode()
        # Three bytes are four letters; the first and last are made of their neighbours too.
        own = whole[(8 * before + 5) // 6 : 8 * (before + len(secret)) // 6]
        if len(own) >= _SHORTEST:
            yield own
            yield own.replace("+", "-").replace("/", "_")


def holds_secret(text: str) -> bool:
    """Whether a text holds a URL with a password, or with something that is named like a secret."""
    found = _URL.search(text)
    if found is None:
        return False
    query = parse_qsl(found["query"] or "")
    return ":" in (found["user"] or "") or any(_NAMES.search(name.replace("-", "_")) for name, _ in query)


def scrubbed(text: str) -> str:
    """Give a text without what looks like a secret.

    Those are the values of environment variables named like one, and what has the shape that well-known keys have.
    A password that nothing tells from a word stays.
    """
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and _NAMES.search(name) and value in text:
            text = text.replace(value, REMOVED)
    return _SHAPES.sub(REMOVED, text)
