"""The conformance kit in the dialects that llama.cpp's server speaks beside chat completions.

They are put to it when SCAFFOLD_EVERY_DIALECT is set: each takes half a minute, and what is theirs alone is tested
without a model every time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from scaffold.errors import BackendError, BackendUnavailable, NotAuthorised
from scaffold.registry import backend_of
from scaffold.testing.backend_conformance import BackendConformance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scaffold.interfaces import Backend

pytestmark = pytest.mark.skipif(
    not os.environ.get("SCAFFOLD_EVERY_DIALECT"), reason="SCAFFOLD_EVERY_DIALECT is not set"
)


class OnServer(BackendConformance):
    """A backend for llama.cpp's own server, with SmolLM2, of which what it says is taken as it comes."""

    prompt = "Tell me a story."
    max_tokens = 4
    long_tokens = 40
    json_tokens = 80
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _server(self, llama_server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, key = llama_server
        monkeypatch.setenv("SERVER_KEY", key)
        monkeypatch.setenv("WRONG_KEY", "sk-wrong")

    def make(self) -> Backend:
        return self.connect()

    def connect(self, **more: Any) -> Backend:
        return backend_of(
            {"use": f"{self.url}#smollm2", "key_env": "SERVER_KEY", "context": 512, **self.options, **more}
        )

    def failing(self) -> Mapping[type[BackendError], Backend]:
        nobody = {"use": "http://127.0.0.1:9/v1#m", "attempts": 1, **self.options}
        return {NotAuthorised: self.connect(key_env="WRONG_KEY"), BackendUnavailable: backend_of(nobody)}


class TestResponses(OnServer):
    """`responses`, with the constraints of that server's chat completions."""

    options: ClassVar = {"dialect": "responses", "grammar": True}


class TestMessages(OnServer):
    """`anthropic`; that server keeps no schema in this dialect."""

    options: ClassVar = {"dialect": "messages", "schema": False}
