"""The kinds of models that are known to keep all their state where it can be copied.

Samples continue from copies of one state. A model that keeps part of it elsewhere would give wrong answers without any
error, so a kind is added only after a test has compared its copies with a fresh run of the whole prompt. The kind is
`model_type` in a model's config.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from scaffold.errors import ModelFileError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Family:
    """Properties of a kind of model that decoding depends on.

    Attributes:
        carries: name of the keyword and the output for its state.
        recurrent: whether some of the state has a fixed size regardless of the text's length.
        positions: `learned` if there is one vector per position and none beyond the last; `open` if the model can run
            beyond the length it was trained for, though badly.
        resumes: whether several tokens at once can follow a state; else one by one.
    """

    carries: Literal["past_key_values", "cache_params"] = "past_key_values"
    recurrent: bool = False
    positions: Literal["open", "learned"] = "open"
    resumes: bool = True

    @property
    def endless(self) -> bool:
        """Whether all of the state has a fixed size, so that only the training limits the text's length."""
        return self.carries == "cache_params"


_ATTENTION = Family()
_LEARNED = Family(positions="learned")
_HYBRID = Family(recurrent=True)
_STATE = Family(carries="cache_params", recurrent=True)
_STEPS = Family(carries="cache_params", recurrent=True, resumes=False)

FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(
        (
            "cohere", "cohere2", "exaone4", "falcon", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt_neox",
            "gpt_oss", "granite", "granitemoe", "helium", "llama", "ministral", "mistral", "mixtral", "nemotron",
            "olmo", "olmo2", "olmo3", "olmoe", "persimmon", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe",
            "seed_oss", "smollm3", "stablelm", "starcoder2",
        ),
        _ATTENTION,
    ),
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gpt_neo", "opt", "biogpt"), _LEARNED),
    **dict.fromkeys(
        (
            "falcon_h1", "granitemoehybrid", "lfm2", "lfm2_moe", "nemotron_h", "olmo_hybrid", "qwen3_5_text",
            "qwen3_next", "zamba2",
        ),
        _HYBRID,
    ),
    "jamba": Family(recurrent=True, resumes=False),
    **dict.fromkeys(("mamba2", "xlstm"), _STATE),
    **dict.fromkeys(("falcon_mamba", "mamba"), _STEPS),
}  # fmt: skip

_REFUSED = {
    "bamba": "going on from its state gives other answers than the whole text does",
    "recurrent_gemma": "it keeps its state inside its layers, where it cannot be copied",
    "rwkv": "its steps in batches give other answers than the same text alone",
}

_XLSTM_MULTIPLE = 64  # transformers rounds the width of queries to it, but the layers do not


def family_of(config: Any) -> Family:
    """Return a model's family.

    Args:
        config: the model's configuration as read by transformers.

    Raises:
        ModelFileError: its kind is not known to be copied correctly, or its sizes do not fit together.
    """
    kind = str(config.model_type)
    if kind not in FAMILIES:
        why = _REFUSED.get(kind, "it has not been checked that its state can be copied")
        raise ModelFileError(
            f"a model of the kind {kind!r} cannot be used here: {why}{nearest(kind, FAMILIES)} (known kinds: "
            f"{', '.join(sorted(FAMILIES))}). Run it with a server instead, and give the server's address (http://...)."
        )
    if kind == "xlstm":
        width = config.hidden_size * config.qk_dim_factor
        if width % _XLSTM_MULTIPLE:
            raise ModelFileError(
                f"this xLSTM cannot run: hidden_size x qk_dim_factor is {config.hidden_size} x "
                f"{config.qk_dim_factor:g} = {width:g}, but should be a multiple of {_XLSTM_MULTIPLE}"
            )
    return FAMILIES[kind]
