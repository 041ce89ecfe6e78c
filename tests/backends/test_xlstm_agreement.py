"""Our xLSTM gives what the authors' own code and transformers' give, on the same weights.

The authors' package `xlstm` depends on `mlstm_kernels`, which is not open source: it is used here alone, where it is
installed, and never needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

from scaffold_backends.xlstm.model import XLSTM  # noqa: E402 - only where numpy is
from scaffold_backends.xlstm.specs import Config  # noqa: E402 - only where numpy is

WORDS, WIDTH, LENGTH = 13, 32, 150


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)


def shaken(model: Any) -> Any:
    """Move all weights off the values that they begin with, where gates would all be alike."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model.eval()


def ours(config: dict[str, Any], weights: dict[str, Any]) -> XLSTM:
    """Make our model of these weights."""
    words = tuple(f"w{number}" for number in range(WORDS))
    base = {"format": 1, "width": WIDTH, "tokens": "words", "vocabulary": words, "longest": LENGTH}
    checked = Config.model_validate(base | config)
    arrays = {name: np.asarray(weight.detach().numpy(), np.float32) for name, weight in weights.items()}
    assert {name: array.shape for name, array in arrays.items()} == checked.shapes()
    return XLSTM(checked, arrays, digest="")


def agrees(model: XLSTM, reference: Any) -> None:
    """Hold our logits against those of a reference, read at once and token by token."""
    tokens = np.random.default_rng(2).integers(0, WORDS, (3, LENGTH))
    with torch.no_grad():
        expected = reference(torch.from_numpy(tokens)).numpy()
    assert expected.std() > 0.3  # otherwise it would be easy
    read, _ = model.logits(tokens)
    np.testing.assert_allclose(read, expected, atol=2e-3)
    assert np.abs(read - expected).mean() < 5e-5
    state = model.empty(3)
    stepped = []
    for place in range(LENGTH):
        state = model.step(state, tokens[:, place])
        stepped.append(state.logits)
    np.testing.assert_allclose(np.stack(stepped, axis=1), expected, atol=2e-3)


def official(kinds: str) -> Any:
    """Make the authors' model, with blocks such as `ms`: an mLSTM, then an sLSTM."""
    xlstm = pytest.importorskip("xlstm")
    from xlstm import FeedForwardConfig, mLSTMBlockConfig, mLSTMLayerConfig, sLSTMBlockConfig, sLSTMLayerConfig

    config = xlstm.xLSTMLMModelConfig(
        vocab_size=WORDS,
        embedding_dim=WIDTH,
        num_blocks=len(kinds),
        context_length=LENGTH,
        slstm_at=[place for place, kind in enumerate(kinds) if kind == "s"],
        mlstm_block=mLSTMBlockConfig(mlstm=mLSTMLayerConfig(conv1d_kernel_size=4, qkv_proj_blocksize=8, num_heads=4)),
        slstm_block=sLSTMBlockConfig(
            slstm=sLSTMLayerConfig(backend="vanilla", num_heads=4, conv1d_kernel_size=4, dtype="float32"),
            feedforward=FeedForwardConfig(proj_factor=1.3, act_fn="gelu"),
        ),
    )
    return shaken(xlstm.xLSTMLMModel(config))


def of_official(model: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Give the blocks' specs and the weights under our names."""
    specs: list[dict[str, Any]] = []
    weights = {
        "embedding.weight": model.token_embedding.weight,
        "norm.weight": 1 + model.xlstm_block_stack.post_blocks_norm.weight,  # the authors store what is added to 1
        "head.weight": model.lm_head.weight,
    }
    for number, block in enumerate(model.xlstm_block_stack.blocks):
        layer = block.xlstm
        named = {
            "norm.weight": 1 + block.xlstm_norm.weight,
            "conv.weight": layer.conv1d.conv.weight[:, 0],
            "conv.bias": layer.conv1d.conv.bias,
        }
        if hasattr(layer, "mlstm_cell"):
            specs.append({"kind": "mlstm", "inner": 2 * WIDTH, "heads": 4, "group": 8, "kernel": 4})
            cell = layer.mlstm_cell
            named |= {
                "up.weight": layer.proj_up.weight,
                **{f"{name}.weight": getattr(layer, f"{name}_proj").weight for name in "qkv"},
                "gates.weight": torch.cat([cell.igate.weight, cell.fgate.weight]),
                "gates.bias": torch.cat([cell.igate.bias, cell.fgate.bias]),
                "heads_norm.weight": 1 + cell.outnorm.weight,
                "skip.weight": layer.learnable_skip,
                "down.weight": layer.proj_down.weight,
            }
        else:
            specs.append({"kind": "slstm", "heads": 4, "kernel": 4, "inner": block.ffn.proj_down.weight.shape[1]})
            cell = layer.slstm_cell
            # The layer hands what it calls `fgate` to its cell as the input gate, and the other way round.
            gates = [layer.fgate, layer.igate, layer.zgate, layer.ogate]
            named |= {
                "gates.weight": torch.stack([gate.weight for gate in gates]),
                # Kept as (heads, gates, to, from) and (gates, heads, to), whatever the parameters' own shapes.
                "recurrent.weight": cell._recurrent_kernel_.view(4, 4, WIDTH // 4, WIDTH // 4).transpose(0, 1),
                "bias": cell._bias_.view(4, WIDTH),
                "heads_norm.weight": 1 + layer.group_norm.weight,
                "ffn_norm.weight": 1 + block.ffn_norm.weight,
                "ffn.up.weight": block.ffn.proj_up.weight,
                "ffn.down.weight": block.ffn.proj_down.weight,
            }
        weights |= {f"blocks.{number}.{name}": weight for name, weight in named.items()}
    return specs, weights


@pytest.mark.parametrize("kinds", ["m", "s", "mm", "msm"])
def test_we_agree_with_the_authors(kinds: str) -> None:
    """Blocks with an mLSTM and with an sLSTM, alone and stacked, give the logits of the authors' package."""
    reference = official(kinds)
    specs, weights = of_official(reference)
    agrees(ours({"blocks": specs}, weights), reference)


def test_we_agree_with_transformers() -> None:
    """The blocks of xLSTM 7B give the logits of transformers' xLSTMForCausalLM."""
    transformers = pytest.importorskip("transformers")
    width = 128  # transformers rounds the widths of heads up to what suits this
    config = transformers.xLSTMConfig(
        vocab_size=WORDS,
        hidden_size=width,
        num_hidden_layers=2,
        num_heads=4,
        qk_dim_factor=0.5,
        v_dim_factor=1.0,
        ffn_proj_factor=2.0,
        ffn_round_up_to_multiple_of=16,
        autocast_kernel_dtype="float32",
    )
    reference = shaken(transformers.xLSTMForCausalLM(config))
    weights = {
        "embedding.weight": reference.backbone.embeddings.weight,
        "norm.weight": reference.backbone.out_norm.weight,
        "head.weight": reference.lm_head.weight,
    }
    for number, block in enumerate(reference.backbone.blocks):
        layer, ffn = block.mlstm_layer, block.ffn
        named = {
            "norm.weight": block.norm_mlstm.weight,
            **{f"{name}.weight": getattr(layer, name).weight for name in "qkv"},
            "o.weight": layer.ogate_preact.weight,
            "gates.weight": torch.cat([layer.igate_preact.weight, layer.fgate_preact.weight]),
            "gates.bias": torch.cat([layer.igate_preact.bias, layer.fgate_preact.bias]),
            "heads_norm.weight": layer.multihead_norm.weight,
            "out.weight": layer.out_proj.weight,
            "ffn_norm.weight": block.norm_ffn.weight,
            "ffn.up.weight": torch.cat([ffn.proj_up_gate.weight, ffn.proj_up.weight]),
            "ffn.down.weight": ffn.proj_down.weight,
        }
        weights |= {f"blocks.{number}.{name}": weight for name, weight in named.items()}
    inner = reference.backbone.blocks[0].ffn.proj_down.weight.shape[1]
    spec = {"kind": "mlstm7b", "keys": width // 2, "values": width, "heads": 4, "inner": inner, "gate_cap": 15.0}
    settings = {"width": width, "blocks": [spec] * 2, "norm": "rms", "norm_eps": 1e-6, "logit_cap": 30.0}
    agrees(ours(settings, weights), lambda tokens: reference(tokens).logits)


def test_we_agree_with_our_own_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained in torch is what runs in numpy: the weights of either are those of the other."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from training.xlstm.network import XLSTM as Trained  # noqa: N811 - both are the model's name

    blocks = [
        {"kind": "mlstm", "inner": 64, "heads": 2, "group": 4, "kernel": 4},
        {"kind": "slstm", "heads": 2, "kernel": 0, "inner": 40},
    ]
    reference = shaken(Trained(WORDS, WIDTH, blocks))
    agrees(ours({"blocks": blocks}, dict(reference.named_parameters())), lambda t: reference.logits(reference(t)))
