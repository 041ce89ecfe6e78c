"""Checkpoints that are wrong are refused, with what is wrong and what to do."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

np = pytest.importorskip("numpy")
safetensors = pytest.importorskip("safetensors.numpy")

from scaffold.errors import BadResponse, ModelFileError, TaskError  # noqa: E402 - below what may skip this file
from scaffold_backends.xlstm.backend import load  # noqa: E402 - as above
from scaffold_backends.xlstm.checkpoint import find  # noqa: E402 - as above
from scaffold_backends.xlstm.specs import Config  # noqa: E402 - as above

from .conftest import ask, gather  # noqa: E402 - as above

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG: dict[str, Any] = {
    "format": 1,
    "width": 8,
    "blocks": [{"kind": "slstm", "heads": 2, "kernel": 4, "inner": 8}],
    "tokens": "words",
    "vocabulary": ["a", "b", "c"],
    "answer": 1,
    "longest": 10,
}


def write(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None] = lambda _c, _w: None) -> Path:
    """Write a checkpoint, its config and weights changed before; gives the path of the weights."""
    rng = np.random.default_rng(0)
    config = json.loads(json.dumps(CONFIG))
    shapes = Config.model_validate(config).shapes()
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    change(config, weights)
    path = folder / "mine.safetensors"
    safetensors.save_file(weights, path)
    config.setdefault("sha256", hashlib.sha256(path.read_bytes()).hexdigest())
    path.with_suffix(".json").write_text(json.dumps(config), encoding="utf-8")
    return path


def test_an_own_checkpoint_is_found_by_file_and_by_folder(tmp_path: Path) -> None:
    """A checkpoint of one's own is named by its file, or by the folder that holds no other."""
    path = write(tmp_path)
    assert find(str(path)) == find(str(tmp_path))
    assert find(str(path)).load().encode(np.array([[0, 1, 2]])).logits.shape == (1, 3)
    path.with_name("second.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(TaskError, match="has 2 files"):
        find(str(tmp_path))


def test_weights_without_a_hash_are_read(tmp_path: Path) -> None:
    """Whoever has no hash need not give one."""
    find(str(write(tmp_path, lambda config, _: config.update(sha256=None)))).load()


def test_half_precision_is_widened(tmp_path: Path) -> None:
    """Weights stored as float16 are computed with in float32."""

    def halve(_: dict[str, Any], weights: dict[str, Any]) -> None:
        weights.update({name: weight.astype(np.float16) for name, weight in weights.items()})

    state = find(str(write(tmp_path, halve))).load().encode(np.array([[0, 1]]))
    assert {array.dtype for array in state.arrays()} == {np.dtype(np.float32)}


def _nan(_: dict[str, Any], weights: dict[str, Any]) -> None:
    weights["blocks.0.recurrent.weight"][0, 1, 2, 3] = np.nan


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c, _: c["blocks"][0].update(kind="gru"), "blocks.0: .*'gru'.*'mlstm', 'slstm', 'mlstm7b'"),
        (lambda c, _: c["blocks"][0].update(heads=3), "3 heads do not divide a width of 8"),
        (lambda c, _: c["blocks"][0].update(kernels=4), "kernels: Extra inputs"),
        (lambda c, _: c.update(format=2), "format"),
        (lambda c, _: c.update(vocabulary=["a", "b", "a"]), "'a' is in the vocabulary twice"),
        (lambda c, _: c.update(vocabulary=["a", "b c"]), "'b c' can never be one of the words"),
        (lambda c, _: c.update(end="stop"), "'stop', is not in the vocabulary"),
        (lambda c, _: c.update(sha256="0" * 64), "SHA-256 is [0-9a-f]{64}, not 0{64}"),
        (lambda _, w: w.update({"head.weight": w["head.weight"][:, :4]}), r"the shape \(3, 4\), but \(3, 8\)"),
        (lambda _, w: w.pop("norm.weight"), "no weight 'norm.weight'"),
        (lambda _, w: w.update(extra=w["norm.weight"]), "'extra', which no block"),
        (lambda _, w: w.update({"norm.weight": np.ones(8, np.int32)}), "as int32, but a floating-point type"),
        (_nan, r"1 entries of 'blocks.0.recurrent.weight' \(of 128\) that are NaN"),
        (lambda _, w: w.update({"norm.weight": np.full(8, 1e39)}), "8 entries of 'norm.weight' .*beyond float32"),
        (lambda c, _: c.update(logit_cap=float("inf")), "logit_cap: Input should be a finite number"),
    ],
)  # fmt: skip
def test_a_wrong_checkpoint_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    """What is wrong with a config or with weights is said in one line, with the numbers."""
    path = write(tmp_path, change)
    with pytest.raises(ModelFileError, match=said):
        find(str(path)).load()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """A file cut short is told from another file where there is a hash, and refused where there is none."""
    path = write(tmp_path, lambda config, _: config.update(sha256=None))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelFileError, match="not a safetensors file, or is cut short"):
        find(str(path)).load()
    for broken in ("{", "[" * 100_000):
        path.with_suffix(".json").write_text(broken, encoding="utf-8")
        with pytest.raises(ModelFileError, match="is not JSON"):
            find(str(path))
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelFileError, match=r"cannot read '.*mine\.json'"):
        find(str(path))


def test_weights_of_a_type_that_numpy_does_not_have_are_refused(tmp_path: Path) -> None:
    """A file of bfloat16, as many are, is said to be one, and what to save it as."""
    path = write(tmp_path, lambda config, _: config.update(sha256=None))
    header = json.dumps({"norm.weight": {"dtype": "BF16", "shape": [8], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(ModelFileError, match="type 'BF16', which numpy cannot read; save them as float32"):
        find(str(path)).load()


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_no_numbers_are_no_answer(tmp_path: Path, temperature: float) -> None:
    """Weights that can be read and not computed with give an error, never the first word of the vocabulary."""

    def enlarge(_: dict[str, Any], weights: dict[str, Any]) -> None:
        weights["norm.weight"][:] = weights["head.weight"][:] = 3e38

    backend = load(str(write(tmp_path, enlarge)))
    with pytest.raises(BadResponse, match="the model's scores are not numbers"):
        asyncio.run(gather(backend, ask("a b", temperature=temperature)))
    asyncio.run(backend.close())


def test_what_is_not_there_is_named() -> None:
    """A name that is neither shipped nor a path gives the shipped names, and the nearest."""
    with pytest.raises(TaskError, match=r"no xLSTM 'hanoy': .*hanoi, parity.*; did you mean 'hanoi'\?"):
        load("hanoy")
    with pytest.raises(TaskError, match="needs the name of a checkpoint"):
        load("")
    with pytest.raises(TaskError, match="no option 'signal'; did you mean 'signals'"):
        load("hanoi", signal=True)
