"""Tiny models of every kind that the backend `hf` knows: random weights, a tokenizer whose tokens are bytes."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}:{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant:{% endif %}"
)
TOKENS = 260  # <|end|>, <|start|>, the tags, and the bytes

_SIZES: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_STATE: dict[str, Any] = dict.fromkeys(("intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
_WINDOW: dict[str, Any] = {"sliding_window": 8}
_EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LINEAR: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_MAMBA: dict[str, Any] = {
    "mamba_d_state": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
}
_SHARED = {"shared_expert_intermediate_size": 32}
_MIXED = {"num_local_experts": 4, "num_experts_per_tok": 2}
_CONV: dict[str, Any] = {"full_attn_idxs": [1], "layer_types": ["conv", "full_attention"]}

# What differs from the sizes above; None leaves one out.
KINDS: dict[str, dict[str, Any]] = {
    "cohere2": _WINDOW,
    "exaone4": _WINDOW,
    "falcon": {"head_dim": None},
    "falcon_h1": _MAMBA | {"mamba_d_ssm": 128},
    "falcon_mamba": _STATE | {"state_size": 8, "time_step_rank": 4},
    "gemma2": _WINDOW,
    "gemma3_text": _WINDOW,
    "gpt2": _STATE | {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512, "max_position_embeddings": None},
    "gpt_bigcode": _STATE | {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "gpt_neo": _STATE
    | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gpt_oss": _MIXED | _WINDOW,
    "granitemoe": _MIXED,
    "granitemoehybrid": _MAMBA | _MIXED | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 32},
    "jamba": {
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "use_mamba_kernels": False,
    },
    "lfm2": _CONV,
    "lfm2_moe": _CONV | _EXPERTS | {"num_dense_layers": 1},
    "mamba": _STATE | {"state_size": 8, "time_step_rank": 4},
    "mamba2": _STATE | {"state_size": 8, "num_heads": 8, "head_dim": 16, "n_groups": 1, "chunk_size": 8},
    "mistral": _WINDOW,
    "mixtral": {"num_local_experts": 4},
    "nemotron_h": {
        "ssm_state_size": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "n_groups": 1,
        "chunk_size": 8,
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "attention", "mlp"],
    },
    "olmo3": _WINDOW,
    "olmo_hybrid": _LINEAR,
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "opt": {"ffn_dim": 96, "word_embed_proj_dim": 64, "intermediate_size": None, "num_key_value_heads": None},
    "qwen2_moe": _EXPERTS | _SHARED,
    "qwen3_5_text": _LINEAR,
    "qwen3_moe": _EXPERTS,
    "qwen3_next": _LINEAR | _EXPERTS | _SHARED,
    "xlstm": _STATE | {"embedding_dim": 64, "num_blocks": 2, "num_heads": 2, "qk_dim_factor": 1.0},
    "zamba2": {
        "mamba_d_state": 8,
        "n_mamba_heads": 8,
        "mamba_headdim": 16,
        "mamba_ngroups": 1,
        "chunk_size": 8,
        "layers_block_type": ["mamba", "hybrid"],
        "num_mem_blocks": 1,
        "adapter_rank": 8,
    },
}


def network(kind: str, **more: Any) -> Any:
    """Make a model with random weights large enough for its scores to differ."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = _SIZES | KINDS.get(kind, {}) | more
    config = AutoConfig.for_model(kind, **{key: value for key, value in sizes.items() if value is not None})
    torch.set_num_threads(1)  # more than one costs more than it gives, for sizes as small as these
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for weights in made.parameters():
            if weights.ndim > 1:
                weights.normal_(0, 0.15)
    return made


def tokenizer(template: str = TEMPLATE) -> Any:
    """Make a tokenizer with a token for each byte, so that most characters are spread over tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<|end|>", "<|start|>", "<think>", "</think>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=names[0], bos_token=names[1])
    made.add_tokens(names[2:4])
    if template:
        made.chat_template = template
    return made


def save(folder: Path, kind: str = "llama", *, template: str = TEMPLATE, change: Any = None, **more: Any) -> str:
    """Save a tiny model as transformers does; `change` may alter it before. Gives the folder's path."""
    made = network(kind, **more)
    if change is not None:
        change(made)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        made.save_pretrained(folder)
        tokenizer(template).save_pretrained(folder)
    return str(folder)
