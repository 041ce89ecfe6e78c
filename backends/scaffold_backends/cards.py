"""The backends' cards, readable without importing the backends.

`scaffold plugins` reads this module, so it imports nothing heavy. `tests/cli/test_plugins.py` compares it with the
backends' profiles.
"""

from __future__ import annotations

from scaffold.vocabulary.cards import Card
from scaffold.vocabulary.models import Ability

_SERVER: frozenset[Ability] = frozenset({"schema", "seed"})
_LOGPROBS: frozenset[Ability] = frozenset({"logprobs"})
_LOCAL: frozenset[Ability] = frozenset({"choices", "seed", "n"})

# --- over HTTP

OPENAI = Card(
    about="OpenAI's models over Chat Completions, or any server that OPENAI_BASE_URL names.",
    example="openai:gpt-5-mini",
    can=_SERVER | {"n"},
    may=_LOGPROBS | {"choices"},
    reasoning=("absent",),
    prices="listed",
    keys=("OPENAI_API_KEY",),
)
RESPONSES = Card(
    about="OpenAI's models over the Responses API.",
    example="responses:gpt-5-mini",
    can=frozenset({"schema"}),
    may=_LOGPROBS | {"choices"},
    reasoning=("summary", "redacted", "absent"),
    prices="listed",
    keys=("OPENAI_API_KEY",),
)
AZURE = Card(
    about="OpenAI's models on Azure.",
    example="azure:my-deployment",
    can=_SERVER | {"n"},
    may=_LOGPROBS | {"choices"},
    reasoning=("absent",),
    prices="listed",
    keys=("AZURE_OPENAI_API_KEY",),
    places=("AZURE_OPENAI_ENDPOINT",),
)
ANTHROPIC = Card(
    about="Anthropic's models over the Messages API.",
    example="anthropic:claude-sonnet-4-5",
    can=frozenset({"schema"}),
    reasoning=("full", "summary", "redacted", "absent"),
    prices="listed",
    keys=("ANTHROPIC_API_KEY",),
)
GEMINI = Card(
    about="Google's Gemini models.",
    example="gemini:gemini-2.5-flash",
    can=_SERVER | {"choices"},
    may=_LOGPROBS | {"n"},
    reasoning=("summary", "redacted", "absent"),
    prices="listed",
    keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
)
OPENROUTER = Card(
    about="Many providers' models through OpenRouter.",
    example="openrouter:qwen/qwen3-8b",
    can=_SERVER,
    may=_LOGPROBS | {"choices", "n"},
    reasoning=("full", "summary", "redacted", "absent"),
    prices="listed",
    keys=("OPENROUTER_API_KEY",),
)


def _own(about: str, example: str, *, choices: bool = False, n: bool = True) -> Card:
    """The card of a user's own server, which counts as free and as showing its reasoning."""
    has: dict[Ability, bool] = {"choices": choices, "n": n}
    return Card(
        about=about,
        example=example,
        can=_SERVER | {ability for ability, there in has.items() if there},
        may=_LOGPROBS | {ability for ability, there in has.items() if not there},
        reasoning=("full", "absent"),
        prices="free",
    )


OLLAMA = _own("Models of an Ollama server, on this machine or at OLLAMA_HOST.", "ollama:qwen3:8b", n=False)
VLLM = _own("The model of a vLLM server, on this machine or at VLLM_BASE_URL.", "vllm:Qwen/Qwen3-8B", choices=True)
SGLANG = _own("The model of an SGLang server, on this machine or at SGLANG_BASE_URL.", "sglang", choices=True)
LMSTUDIO = _own("Models of LM Studio, on this machine or at LMSTUDIO_BASE_URL.", "lmstudio:qwen3-8b", n=False)
LLAMA_SERVER = _own(
    "The model of llama.cpp's server, on this machine or at LLAMA_SERVER_URL.", "llama-server", choices=True, n=False
)
HTTP = Card(
    about="Any server with one of these APIs, by URL.",
    example="http://localhost:8000/v1#qwen3",
    can=_SERVER | {"n"},
    may=_LOGPROBS | {"choices"},
    reasoning=("full", "summary", "redacted", "absent"),
)

# --- in this process

_LOCAL_EXTRA = "pip install 'system2-scaffold[local]'"

LLAMACPP = Card(
    about="Your own model file (GGUF), run by llama.cpp in this process.",
    example="llamacpp:path/to/model.gguf",
    can=_LOCAL | {"schema"},
    may=_LOGPROBS,
    reasoning=("full", "absent"),
    prices="free",
    modules=("xllamacpp",),
    install=_LOCAL_EXTRA,
)
SMOLLM2 = Card(
    about="SmolLM2-135M-Instruct, run by llama.cpp in this process: small, for trying things out.",
    example="smollm2",
    can=_LOCAL | {"schema"},
    may=_LOGPROBS,
    reasoning=("absent",),
    prices="free",
    modules=("xllamacpp",),
    install=_LOCAL_EXTRA,
    model="smollm2",
)
XLSTM = Card(
    about="A recurrent model (xLSTM) in this process, shipped or your own: unlimited context, free forks.",
    example="xlstm:hanoi",
    can=_LOCAL | {"logprobs", "fork"},
    reasoning=("absent",),
    prices="free",
    modules=("numpy", "safetensors"),
    install=_LOCAL_EXTRA,
)
HF = Card(
    about="A model in Hugging Face format, run by transformers in this process.",
    example="hf:path/to/folder",
    can=_LOCAL | {"fork"},
    may=_LOGPROBS | {"schema"},
    reasoning=("full", "absent"),
    prices="free",
    modules=("torch", "transformers", "accelerate", "gguf"),
    install="pip install 'system2-scaffold[hf]'",
)
SCRIPTED = Card(
    about="Answers with texts from the task, without a model: for documentation and tests.",
    example="scripted:yes",
    can=frozenset({"seed", "n"}),
    reasoning=("full",),
    prices="free",
)

# --- around others

RECORDING = Card(
    about="Records the answers of another backend.",
    example="{use: recording, backend: smollm2, file: said.jsonl}",
    around=True,
)
RECORDED = Card(about="Replays recorded answers.", example="recorded:said.jsonl", around=True)
CACHED = Card(
    about="Caches the answers of another backend.",
    example="cached:smollm2",
    around=True,
)
NOISY = Card(
    about="Makes another backend err at a known rate, from a seed.",
    example="{use: noisy, backend: smollm2, rate: 0.2}",
    around=True,
)
FALLBACK = Card(
    about="Asks the first of several backends that can answer.",
    example="{use: fallback, backends: [openai:gpt-5-mini, smollm2]}",
    around=True,
)
RATE_LIMITED = Card(
    about="Limits requests and tokens per minute, shared by the whole process.",
    example="{use: rate_limited, backend: openai:gpt-5-mini, requests_per_minute: 60}",
    around=True,
)
CIRCUIT_BREAKER = Card(
    about="Pauses a backend that keeps failing.",
    example="{use: circuit_breaker, backend: openai:gpt-5-mini, failures: 3, pause_s: 60}",
    around=True,
)
PARAPHRASE = Card(
    about="Has another model rewrite the reasoning before it is read.",
    example="{use: paraphrase, backend: openrouter:qwen/qwen3-8b, by: smollm2}",
    around=True,
)
