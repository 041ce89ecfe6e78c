"""The cells compute what the paper's equations say, and a state is a value."""

from __future__ import annotations

from typing import Any

import pytest

np = pytest.importorskip("numpy")

from scaffold.errors import ModelFileError  # noqa: E402 - below what may skip this file
from scaffold_backends.xlstm import mlstm, plain, slstm  # noqa: E402 - as above
from scaffold_backends.xlstm.block_mlstm import MLSTMBlock  # noqa: E402 - as above
from scaffold_backends.xlstm.functions import gelu, layer_norm, log_sigmoid, sigmoid, unit_layer  # noqa: E402 - as above
from scaffold_backends.xlstm.model import XLSTM, State  # noqa: E402 - as above
from scaffold_backends.xlstm.specs import Config, MLSTMSpec  # noqa: E402 - as above

BLOCKS = {
    "mlstm": {"kind": "mlstm", "inner": 32, "heads": 2, "group": 4, "kernel": 4},
    "slstm": {"kind": "slstm", "heads": 2, "kernel": 4, "inner": 24},
    "slstm, not convolving": {"kind": "slstm", "heads": 1, "kernel": 0, "inner": 24},
    "mlstm7b": {"kind": "mlstm7b", "keys": 8, "values": 16, "heads": 2, "inner": 24},
}
WORDS = 7


def model(*kinds: str, seed: int = 3, bias: float | None = None) -> XLSTM:
    """Make a model with random weights, or with one value for all biases of gates."""
    rng = np.random.default_rng(seed)
    config = Config.model_validate(
        {
            "format": 1,
            "width": 16,
            "blocks": [BLOCKS[kind] for kind in kinds],
            "tokens": "words",
            "vocabulary": [f"w{number}" for number in range(WORDS)],
            "longest": 10,
        }
    )
    weights = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in config.shapes().items()}
    for name, weight in weights.items():
        if bias is not None and name.endswith(".bias") and "conv" not in name:
            weight[...] = bias
    return XLSTM(config, weights, digest=f"{seed:064x}")


def some(count: int, length: int, seed: int = 0) -> Any:
    """Draw tokens."""
    return np.random.default_rng(seed).integers(0, WORDS, (count, length))


def alike(one: State, other: State) -> None:
    """Hold two states against each other."""
    assert one.read == other.read
    for left, right in zip(one.arrays(), other.arrays(), strict=True):
        np.testing.assert_allclose(left, right, atol=2e-4, rtol=2e-3)


def test_the_mlstm_cell_follows_the_paper() -> None:
    """Step by step the cell reads what equations 19 to 27 give, written down as they stand, in double precision."""
    rng = np.random.default_rng(1)
    heads, part = 2, 5
    memory = mlstm.empty(1, heads, part, part)
    c, n = np.zeros((heads, part, part)), np.zeros((heads, part))
    for _ in range(30):
        q, k, v = rng.normal(size=(3, heads, part))
        i, f = rng.normal(size=(2, heads)) * 2
        gate_i, gate_f = np.exp(i), 1 / (1 + np.exp(-f))
        k = k / np.sqrt(part)
        c = gate_f[:, None, None] * c + gate_i[:, None, None] * v[:, :, None] * k[:, None, :]
        n = gate_f[:, None] * n + gate_i[:, None] * k
        read = np.einsum("hvk,hk->hv", c, q) / np.maximum(np.abs((n * q).sum(1)), 1)[:, None]
        with_one = np.concatenate([v, np.ones((heads, 1))], axis=1)
        inputs = [array.astype(np.float32)[None] for array in (q, k, with_one, i, f)]
        h, memory = mlstm.step(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], memory)
        np.testing.assert_allclose(h[0], read, atol=1e-4)


def test_the_slstm_cell_follows_the_paper() -> None:
    """Step by step the cell reads what equations 8 to 14 give, written down as they stand, in double precision."""
    rng = np.random.default_rng(1)
    width = 4
    mixing = rng.normal(size=(width, 4 * width))
    memory = slstm.empty(1, width)
    c, n, h = np.zeros((3, width))
    for _ in range(30):
        x = rng.normal(size=4 * width)
        i, f, z, o = np.split(x + h @ mixing, 4)
        gate_i, gate_f = np.exp(i), 1 / (1 + np.exp(-f))
        c, n = gate_f * c + gate_i * np.tanh(z), gate_f * n + gate_i
        h = c / n / (1 + np.exp(-o))
        memory = slstm.step(x.astype(np.float32)[None], mixing.astype(np.float32), memory)
        np.testing.assert_allclose(memory.hidden[0], h, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_gates_of_any_size_do_not_overflow() -> None:
    """Pre-activations whose exponentials no float holds give finite numbers: that is what the stabiliser is for."""
    memory, scalars = mlstm.empty(1, 1, 3, 3), slstm.empty(1, 3)
    ones = np.ones((1, 1, 3), np.float32)
    with_one = np.ones((1, 1, 4), np.float32)
    for size in (0, 500, -500, 1e4, -1e4):
        gate = np.full((1, 1), size, np.float32)
        h, memory = mlstm.step(ones, ones, with_one, gate, -gate, memory)
        assert np.isfinite(h).all()
        assert all(np.isfinite(array).all() for array in memory)
        scalars = slstm.step(np.full((1, 12), size, np.float32), np.zeros((3, 12), np.float32), scalars)
        assert all(np.isfinite(array).all() for array in scalars)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("bias", [-3000.0, 3000.0])
def test_shut_and_open_gates_do_not_overflow(kind: str, bias: float) -> None:
    """A model all of whose gates are shut, or open, gives finite logits, without a warning, at once and stepwise."""
    made = model(kind, bias=bias)
    state = made.encode(some(1, 20))
    assert np.isfinite(state.logits).all()
    assert np.isfinite(made.step(state, np.array([1])).logits).all()
    assert all(np.isfinite(value) for value in made.signals(state)[0].values())


def test_the_functions_are_as_exact_as_their_type() -> None:
    """Each function is within a few units of float32's precision of what math says, for small and large x."""
    math = pytest.importorskip("math")
    x = np.concatenate([np.linspace(-12, 12, 4001), [-1e4, 1e4, 0]]).astype(np.float32)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(sigmoid(x), np.exp(-np.logaddexp(0, -wide)), atol=2e-7)
    np.testing.assert_allclose(log_sigmoid(x), -np.logaddexp(0, -wide), rtol=1e-6, atol=1e-9)
    exact = np.array([0.5 * each * (1 + math.erf(each / math.sqrt(2))) for each in wide])
    np.testing.assert_allclose(gelu(x), exact, atol=2e-6)


@pytest.mark.parametrize("kind", BLOCKS)
def test_reading_at_once_is_reading_token_by_token(kind: str) -> None:
    """A long text read in chunks, in pieces of odd lengths, or one token at a time, ends in the same state."""
    made, tokens = model(kind, kind), some(2, 150)
    whole = made.encode(tokens)
    in_pieces = made.encode(tokens[:, 70:], made.encode(tokens[:, 7:70], made.encode(tokens[:, :7])))
    stepped = made.empty(2)
    for place in range(150):
        stepped = made.step(stepped, tokens[:, place])
    alike(whole, in_pieces)
    alike(whole, stepped)


@pytest.mark.parametrize(("heads", "group"), [(2, 4), (4, 16), (4, 2), (2, 32), (4, 32), (1, 8)])
def test_the_block_that_runs_is_the_plain_one(heads: int, group: int) -> None:
    """The mLSTM block, its work rearranged, gives at every token what the definition gives, at once and stepwise."""
    spec = MLSTMSpec(inner=32, heads=heads, group=group, kernel=4)
    rng = np.random.default_rng(5)
    weights = {name: rng.normal(0, 0.4, shape).astype(np.float32) for name, shape in spec.shapes(16).items()}
    x = rng.normal(size=(3, 40, 16)).astype(np.float32)
    wanted = plain.read(spec, weights, 1e-5, x)
    block = MLSTMBlock(spec, weights, 1e-5, unit_layer)
    flat = x.reshape(-1, 16)
    at_once, memory = block.encode(flat, block.local(flat), block.empty(3))
    np.testing.assert_allclose(at_once.reshape(x.shape), wanted, atol=2e-5, rtol=2e-4)
    last, absorbed = block.absorb(flat, block.local(flat), block.empty(3))
    np.testing.assert_allclose(last, wanted[:, -1], atol=2e-5, rtol=2e-4)
    stepped = block.empty(3)
    for place in range(40):
        stream, stepped = block.step(x[:, place], block.local(x[:, place]), stepped)
        np.testing.assert_allclose(stream, wanted[:, place], atol=2e-5, rtol=2e-4)
    for one, other, third in zip(stepped.cell, memory.cell, absorbed.cell, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-4)
        np.testing.assert_allclose(other, third, atol=2e-5, rtol=2e-4)


def test_a_model_that_centres_its_weights_is_the_plain_one() -> None:
    """Embedding, plain blocks, norm and head give the logits of the model, which has all means taken out beforehand."""
    block = MLSTMSpec.model_validate(BLOCKS["mlstm"])
    words = [f"w{number}" for number in range(WORDS)]
    said = {"width": 16, "blocks": [block, block], "tokens": "words", "vocabulary": words, "longest": 10}
    config = Config.model_validate({"format": 1, **said})
    rng = np.random.default_rng(4)
    weights = {name: rng.normal(0.2, 0.4, shape).astype(np.float32) for name, shape in config.shapes().items()}
    tokens = some(2, 25)
    x = weights["embedding.weight"][tokens]
    for number in range(2):
        prefix = f"blocks.{number}."
        below = {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
        x = plain.read(block, below, config.norm_eps, x)
    wanted = layer_norm(x, weights["norm.weight"], config.norm_eps) @ weights["head.weight"].T
    found, _ = XLSTM(config, weights, digest="").logits(tokens)
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kinds", [("mlstm", "mlstm"), ("mlstm", "slstm"), ("mlstm",), ("mlstm7b", "mlstm")])
def test_a_table_of_words_changes_nothing(kinds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a vocabulary too large for a table, the first block computes what it else looks up."""
    looked_up = model(*kinds)
    monkeypatch.setattr("scaffold_backends.xlstm.model.TABLED", WORDS - 1)
    alike(looked_up.encode(some(2, 30)), model(*kinds).encode(some(2, 30)))


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_batch_is_its_sequences(kind: str) -> None:
    """Sequences in one batch do not see each other: each gives what it gives alone."""
    made, tokens = model(kind), some(3, 20)
    together = made.encode(tokens)
    for row in range(3):
        alike(together.take([row]), made.encode(tokens[row : row + 1]))


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_state_is_a_value(kind: str) -> None:
    """A state refuses to be written to, and nothing that is done with it changes it."""
    made = model(kind)
    state = made.encode(some(1, 9))
    before = made.snapshot(state)
    for array in state.arrays():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    forks = state.fork(3)
    made.step(forks, np.array([1, 2, 3]))
    made.encode(some(1, 5), state)
    made.signals(state)
    assert made.snapshot(state) == before
    for array in forks.arrays():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize("kind", BLOCKS)
def test_forks_go_on_as_if_each_had_read_all(kind: str) -> None:
    """Forks that read different tokens end where sequences end that read the common beginning and then those."""
    made, beginning = model(kind), some(2, 12)
    forks = made.encode(beginning).fork(2)  # first, first, second, second
    chosen = np.array([1, 2, 3, 4])
    apart = np.concatenate([np.repeat(beginning, 2, axis=0), chosen[:, None]], axis=1)
    alike(made.step(forks, chosen), made.encode(apart))


def test_forking_one_sequence_copies_nothing() -> None:
    """The forks of one sequence are views of the same memory, however many they are."""
    state = model("mlstm", "slstm").encode(some(1, 9))
    for array, forked in zip(state.arrays(), state.fork(64).arrays(), strict=True):
        assert forked.shape == (64, *array.shape[1:])
        assert array.size == 0 or np.shares_memory(array, forked)


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_state_does_not_grow(kind: str) -> None:
    """A state takes as many bytes after ten tokens as after three hundred."""
    made = model(kind)
    short, long = (made.encode(some(1, length)) for length in (10, 300))
    held = [sum((a.nbytes if a.base is None else a.base.nbytes) for a in state.arrays()) for state in (short, long)]
    assert held[0] == held[1]  # what the arrays are views of included
    assert len(made.snapshot(short)) == len(made.snapshot(long))


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_snapshot_gives_the_state_back(kind: str) -> None:
    """A state that was stored goes on exactly as the one that was not."""
    made = model(kind, "mlstm")
    state = made.encode(some(2, 9)).fork(2)
    again = made.restore(made.snapshot(state))
    assert again.read == state.read
    for left, right in zip(
        made.step(state, np.arange(4)).arrays(), made.step(again, np.arange(4)).arrays(), strict=True
    ):
        assert np.array_equal(left, right)
    with pytest.raises(ValueError, match="read-only"):
        again.logits[...] = 0


def test_a_snapshot_of_another_model_is_refused() -> None:
    """A state belongs to the weights that made it; bytes that are no state are said to be none."""
    stored = model("mlstm", seed=3).snapshot(model("mlstm", seed=3).encode(some(1, 9)))
    with pytest.raises(ModelFileError, match="another model"):
        model("mlstm", seed=4).restore(stored)
    with pytest.raises(ModelFileError, match="not a snapshot"):
        model("mlstm").restore(b"torn" + stored[:50])


def test_signals_say_how_sure_and_how_full() -> None:
    """Entropy and margin are those of the next word; each block gives its memory's norm and its gates' saturation."""
    made = model("mlstm", "slstm")
    state = made.encode(some(2, 30))
    figures = made.signals(state)
    p = np.exp(state.logits.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    ordered = np.sort(p, axis=1)
    for row in range(2):
        assert figures[row]["entropy"] == pytest.approx(-(p[row] * np.log(p[row])).sum(), abs=1e-4)
        assert figures[row]["margin"] == pytest.approx(ordered[row, -1] - ordered[row, -2], abs=1e-4)
        cell = made.blocks[0].cell(state.memories[0])
        assert isinstance(cell, mlstm.Memory)
        true = (
            cell.matrix[row, :, :, :-1].astype(np.float64)
            * np.exp(cell.stabiliser[row].astype(np.float64))[:, None, None]
        )
        assert figures[row]["memory.0"] == pytest.approx(np.log(np.sqrt((true**2).sum())), abs=1e-3)
        assert 0 <= figures[row]["saturation.1"] <= 1
    assert figures[0].keys() == {"entropy", "margin", "memory.0", "saturation.0", "memory.1", "saturation.1"}
