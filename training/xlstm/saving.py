"""Writes a trained network as a checkpoint that `scaffold_backends.xlstm` reads: safetensors, and JSON beside it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a checkpoint's config says beside the hash; see `scaffold_backends.xlstm.specs.Config`."""

    about: str
    width: int
    blocks: list[dict[str, Any]]
    tokens: str
    vocabulary: tuple[str, ...]
    answer: int
    longest: int


def save(model: nn.Module, path: Path, description: Description, metrics: dict[str, Any]) -> None:
    """Save weights, and beside them the config with their hash, and the metrics of the training.

    Args:
        model: whose weights have the names and shapes of `training.xlstm.network.XLSTM`.
        path: of the safetensors file; the config has the same name with `.json`, the metrics with `.metrics.json`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, path)
    counted = {
        "parameters": sum(weight.numel() for weight in weights.values()),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    config = {"format": 1, **asdict(description), **counted}
    path.with_suffix(".json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
