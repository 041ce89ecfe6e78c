"""The servers known by name: their URL, dialect, key variable and abilities.

A spec is `NAME:MODEL`, or `NAME:URL#MODEL` for such a server at another address.
"""

from __future__ import annotations

from typing import Any

from scaffold_backends.http.preset import Preset

_OPENAI: dict[str, Any] = {
    "url": "https://api.openai.com/v1",
    "url_env": "OPENAI_BASE_URL",
    "key_env": ("OPENAI_API_KEY",),
    "needs_key": True,
}
_LOCAL = {"think_tags": "tags"}  # such servers by default pass on the tags that a model writes

openai = Preset(name="openai", **_OPENAI)
responses = Preset(name="responses", dialect="responses", **_OPENAI)
azure = Preset(
    name="azure",
    url_env="AZURE_OPENAI_ENDPOINT",
    url_ends="/openai/v1",
    key_env=("AZURE_OPENAI_API_KEY",),
    needs_key=True,
    auth="api-key",
    is_openais=True,
)
anthropic = Preset(
    name="anthropic",
    url="https://api.anthropic.com/v1",
    url_env="ANTHROPIC_BASE_URL",
    url_ends="/v1",
    key_env=("ANTHROPIC_API_KEY",),
    needs_key=True,
    dialect="messages",
)
gemini = Preset(
    name="gemini",
    url="https://generativelanguage.googleapis.com/v1beta",
    url_env="GEMINI_BASE_URL",
    key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    needs_key=True,
    dialect="gemini",
)
openrouter = Preset(
    name="openrouter",
    url="https://openrouter.ai/api/v1",
    key_env=("OPENROUTER_API_KEY",),
    needs_key=True,
    auth="Authorization",
    options={"n": False},
)
ollama = Preset(
    name="ollama",
    url="http://localhost:11434/v1",
    url_env="OLLAMA_HOST",
    url_ends="/v1",
    key_env=("OLLAMA_API_KEY",),
    auth="Authorization",
    options={"n": False, **_LOCAL},
)
vllm = Preset(
    name="vllm",
    url="http://localhost:8000/v1",
    url_env="VLLM_BASE_URL",
    key_env=("VLLM_API_KEY",),
    auth="Authorization",
    options={"grammar": "vllm", **_LOCAL},
)
sglang = Preset(
    name="sglang",
    url="http://localhost:30000/v1",
    url_env="SGLANG_BASE_URL",
    key_env=("SGLANG_API_KEY",),
    auth="Authorization",
    options={"grammar": "sglang", **_LOCAL},
    model="default",
)
lmstudio = Preset(
    name="lmstudio",
    url="http://localhost:1234/v1",
    url_env="LMSTUDIO_BASE_URL",
    key_env=("LMSTUDIO_API_KEY",),
    auth="Authorization",
    options={"n": False, **_LOCAL},
)
llama_server = Preset(
    name="llama-server",
    url="http://localhost:8080/v1",
    url_env="LLAMA_SERVER_URL",
    key_env=("LLAMA_API_KEY",),
    auth="Authorization",
    options={"grammar": "llamacpp", "n": False, **_LOCAL},  # it refuses more samples together than it has slots
    model="default",
)
http = Preset(name="http", model="default")
