"""A tiny llama as a GGUF file, which llama.cpp loads and runs in no time: random weights, tokens that are bytes.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}:{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant:{% endif %}"
)
END, START = 0, 1
WIDTH, INNER, HEADS, KEYS, LAYERS, CONTEXT = 64, 96, 4, 2, 2, 4096
_UINT, _INT, _FLOAT, _STRING, _ARRAY = 4, 5, 6, 8, 9
_ALIGNED = 32  # bytes


def _bytes_as_letters() -> list[str]:
    """A printable letter for each byte, as byte-level BPE writes them (GPT-2's table), in the order of the letters."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return sorted([*map(chr, printable), *(chr(0x100 + place) for place in range(256 - len(printable)))])


# Merges have to be of a token that there is.
TOKENS = ["<|end|>", "<|start|>", "<think>", "</think>", *_bytes_as_letters(), "ab"]


def _text(value: str) -> bytes:
    written = value.encode()
    return struct.pack("<Q", len(written)) + written


def _value(value: Any) -> bytes:
    """A value with its type."""
    if isinstance(value, list):
        kind, items = (_STRING, map(_text, value)) if isinstance(value[0], str) else (_INT, map(_packed_int, value))
        return struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(items)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _text(value)
    return struct.pack("<If", _FLOAT, value) if isinstance(value, float) else struct.pack("<II", _UINT, value)


def _packed_int(value: int) -> bytes:
    return struct.pack("<i", value)


def _described() -> dict[str, Any]:
    sizes = {
        "context_length": CONTEXT,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KEYS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": WIDTH // HEADS,
        "vocab_size": len(TOKENS),
    }
    words = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": TOKENS,
        "token_type": [3, 3, 4, 4, *(1 for _ in TOKENS[4:])],  # control, user-defined, normal
        "merges": ["a b"],
        "bos_token_id": START,
        "eos_token_id": END,
        "chat_template": TEMPLATE,
    }
    return {
        "general.architecture": "llama",
        **{f"llama.{name}": value for name, value in sizes.items()},
        **{f"tokenizer.{'' if name == 'chat_template' else 'ggml.'}{name}": value for name, value in words.items()},
    }


def _weights() -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Weights large enough for scores to differ; what is no small letter or space is never likely, nor is an end."""
    source = np.random.default_rng(0)
    half = WIDTH * KEYS // HEADS
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (len(TOKENS), WIDTH), "output_norm": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_norm": (WIDTH,),
                "attn_q": (WIDTH, WIDTH),
                "attn_k": (half, WIDTH),
                "attn_v": (half, WIDTH),
                "attn_output": (WIDTH, WIDTH),
                "ffn_norm": (WIDTH,),
                "ffn_gate": (INNER, WIDTH),
                "ffn_up": (INNER, WIDTH),
                "ffn_down": (WIDTH, INNER),
            }.items()
        }
    drawn = {
        f"{name}.weight": np.ones(shape) if len(shape) == 1 else source.normal(0, 0.15, shape)
        for name, shape in shapes.items()
    }
    likely = [place for place, token in enumerate(TOKENS) if token == "Ġ" or (len(token) == 1 and "a" <= token <= "z")]
    output = np.zeros((len(TOKENS), WIDTH))
    output[likely] = source.normal(0, 0.5, (len(likely), WIDTH))
    return {name: array.astype(np.float32) for name, array in {**drawn, "output.weight": output}.items()}


def save(file: Path) -> str:
    """Write the model; gives the file's path."""
    described, weights = _described(), _weights()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(weights), len(described))
    head += b"".join(_text(name) + _value(value) for name, value in described.items())
    data = b""
    for name, array in weights.items():
        dimensions = array.shape[::-1]  # the innermost first
        head += _text(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, 0, len(data))
        data += array.tobytes() + bytes(-array.nbytes % _ALIGNED)
    file.write_bytes(head + bytes(-len(head) % _ALIGNED) + data)
    return str(file)
