"""Constrains llama.cpp's answers to a JSON Schema, in compact form to save tokens."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from scaffold.errors import BadRequest
from scaffold_backends.constraints import LLGUIDANCE

if TYPE_CHECKING:
    from scaffold.vocabulary.models import Delta, Request
    from scaffold_backends.llamacpp.engine import Engine

_MOST = 256  # schemas remembered; a planner has a handful


class Grammars:
    """The grammars of one loaded model, each written once.

    llama.cpp's own `response_format` allows any white space in an answer, which is half of its tokens.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def of(self, schema: dict[str, Any]) -> str:
        """Return a schema's grammar; blocks for some milliseconds the first time.

        Raises:
            BadRequest: it is no schema that llama.cpp can hold an answer to.
        """
        key = json.dumps(schema, sort_keys=True)
        with self._lock:
            if key not in self._known:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[key] = self._engine.grammar(schema, LLGUIDANCE)
            return self._known[key]


class Held:
    """Detects a grammar that llama.cpp has silently ignored because it could not use it."""

    def __init__(self, request: Request) -> None:
        schema = request.json_schema or {}
        self._begins = {"object": "{", "array": "[", "string": '"'}.get(str(schema.get("type")), "")
        self._begun: set[int] = set()

    def check(self, delta: Delta) -> None:
        """Check the beginning of a sample.

        Raises:
            BadRequest: it does not fit its schema, so the grammar is not in use.
        """
        if not delta.text or delta.index in self._begun:
            return
        self._begun.add(delta.index)
        if not delta.text.startswith(self._begins):
            raise BadRequest("llama.cpp cannot restrict answers to this JSON Schema and ignores it: simplify it")
