"""What the backend `hf` does when files, prompts, scores or callers are not as they should be."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.errors import (
    BackendUnavailable,
    BadRequest,
    BadResponse,
    ContextOverflow,
    MissingExtra,
    ModelFileError,
    TaskError,
)
from scaffold.registry import make_backend
from scaffold.vocabulary.models import Request
from scaffold_backends.hf import loading
from scaffold_backends.hf.backend import HuggingFace, load
from scaffold_backends.hf.convert import convert

from . import tiny_gguf, tiny_hf
from .conftest import ask, gather, gather_at_once, texts, usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.vocabulary.models import Delta

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")


def run(backend: HuggingFace, request: Request) -> list[Delta]:
    """Answer on an event loop of its own, as `solve_sync` does."""
    return asyncio.run(gather(backend, request))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny llama that never ends by itself, saved."""

    def endless(network: Any) -> None:
        with torch.no_grad():
            network.lm_head.weight[0] = 0
            network.lm_head.weight[4:] *= 5

    return tiny_hf.save(tmp_path_factory.mktemp("models") / "tiny-llama", change=endless)


@pytest.fixture(scope="module")
def llama(folder: str) -> Iterator[HuggingFace]:
    """A tiny llama, loaded."""
    backend = load(folder, threads=1)
    run(backend, ask("x", max_tokens=1))
    yield backend
    asyncio.run(backend.close())


def test_missing_and_wrong_files_say_which(tmp_path: Path, folder: str) -> None:
    """A path that is missing, empty, no model, or cut short is named, with what to do."""
    for path, message in (
        ("", "needs a model"),
        (str(tmp_path / "nowhere"), "no such file or folder"),
        ("owner/name-that-is-not-here", r"and is not downloaded.*hf download owner/name-that-is-not-here"),
        (str(tmp_path), "no config.json"),
    ):
        with pytest.raises(ModelFileError, match=message):
            load(path)
    (tmp_path / "wrong.gguf").write_bytes(b"<!doctype html>")
    with pytest.raises(ModelFileError, match="not a model in GGUF"):
        load(str(tmp_path / "wrong.gguf"))
    with pytest.raises(ModelFileError, match=r"nowhere\.gguf"):
        load(str(tmp_path), gguf_file="nowhere.gguf")
    with pytest.raises(ModelFileError, match=r"no config.json; for the GGUF file in it, write 'hf:.*wrong.gguf'"):
        load(str(tmp_path))
    cut = tmp_path / "cut"
    cut.mkdir()
    for file in Path(folder).iterdir():
        content = file.read_bytes()
        (cut / file.name).write_bytes(content[: len(content) // 2] if file.suffix == ".safetensors" else content)
    with pytest.raises(ModelFileError, match=r"cut.*damaged, incomplete"):
        run(load(str(cut)), ask("x"))
    (cut / "model.safetensors").rename(cut / "pytorch_model.bin")
    with pytest.raises(ModelFileError, match="can run code"):
        run(load(str(cut)), ask("x"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there_is_named(folder: str) -> None:
    """Nothing is said against the model's files."""
    with pytest.raises(ModelFileError, match=r"^cannot use the device 'cuda': .*; name another in the option 'device'"):
        run(load(folder, device="cuda"), ask("x"))


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path, folder: str) -> None:
    """A model of which some weights are missing is refused: transformers would fill in random numbers."""
    from safetensors.torch import load_file, save_file

    for file in Path(folder).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFileError, match=r"lacks 1 of the weights.*layers\.1\.mlp\.up_proj"):
        run(load(str(tmp_path)), ask("x"))


def test_models_with_code_of_their_own_are_refused(tmp_path: Path, folder: str) -> None:
    """A model's own Python code is never run, whatever its configuration says."""
    for file in Path(folder).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelFileError, match="cannot load"):
        run(load(str(tmp_path)), ask("x"))


def test_nothing_is_fetched(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading and answering open no connection."""

    def refuse(*_address: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    backend = load(folder, threads=1)
    assert run(backend, ask("x", max_tokens=2))
    with pytest.raises(ModelFileError, match="nothing is downloaded"):
        load("owner/not-downloaded")


def test_options_and_missing_libraries_are_told(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown options name the nearest; without the libraries, the command that installs them is named."""
    with pytest.raises(TaskError, match="did you mean 'gguf_file'"):
        load(folder, gguf="x")
    assert isinstance(make_backend(f"hf:{folder}", {"dtype": "auto"}), HuggingFace)
    assert make_backend("hf:smollm2", {}).profile.model == "SmolLM2-135M-Instruct.Q4_1"
    monkeypatch.setattr(loading, "_NEEDED", ("torch", "a_library_that_is_not_there"))
    with pytest.raises(MissingExtra, match=r"system2-scaffold\[hf\]"):
        load(folder)


def test_gguf_files_are_read(tmp_path: Path) -> None:
    """A GGUF file answers like the folder it was converted to, which loads faster."""
    file = tiny_gguf.save(tmp_path / "tiny.gguf")
    request = ask("x", max_tokens=8, temperature=1.0, seed=2)
    answers = run(load(file, threads=1), request)
    assert texts(answers) == texts(run(load(str(tmp_path), gguf_file="tiny.gguf", threads=1), request))
    said: list[float] = []
    convert(Path(file), tmp_path / "converted", lambda _message, fraction: said.append(fraction))
    assert texts(run(load(str(tmp_path / "converted"), threads=1), request)) == texts(answers)
    assert said[-1] == 1.0
    with pytest.raises(ModelFileError, match="is not empty"):
        convert(Path(file), tmp_path / "converted", lambda _message, _fraction: None)


def test_prompts_over_the_context_say_both_numbers(folder: str, llama: HuggingFace, tmp_path: Path) -> None:
    """A prompt over n_ctx, over the last position, or over the model's training where n_ctx is not set, is refused."""
    small = load(folder, threads=1, n_ctx=40)
    with pytest.raises(
        ContextOverflow, match=r"has 78 tokens, but tiny-llama has room for 40, .*raise the option n_ctx"
    ):
        run(small, ask("x" * 60))
    room = run(small, ask("x" * 10, max_tokens=30))
    assert (usage(room).input, usage(room).output, room[-1].finish) == (28, 12, "length")
    learned = load(tiny_hf.save(tmp_path / "gpt", "gpt2", n_positions=50), threads=1, n_ctx=900)
    with pytest.raises(ContextOverflow, match=r"has 78 tokens, but gpt has room for 50, .*a model with more context"):
        run(learned, ask("x" * 60))
    assert usage(run(learned, ask("x" * 20, max_tokens=90))).output <= 12
    long = ("a" * 30, "b" * 40)  # of more tokens than there are positions
    assert run(learned, ask("x" * 20, max_tokens=90, choices=long))[-1].finish == "length"
    with pytest.raises(ContextOverflow, match=r"has 718 tokens, but tiny-llama has room for 512, .*the option n_ctx"):
        run(llama, ask("x" * 700, max_tokens=2))
    assert [backend.profile.context for backend in (small, learned, llama)] == [40, 50, 512]


def test_prompts_longer_than_the_training_are_warned_of(folder: str, tmp_path: Path) -> None:
    """Where the user has raised n_ctx, or nothing bounds the text, a model answers, and says how far it was trained."""
    said = r"has 718 tokens; {} was trained on texts of 512"
    raised = load(folder, threads=1, n_ctx=900)
    with pytest.warns(UserWarning, match=said.format("tiny-llama")):
        assert run(raised, ask("x" * 700, max_tokens=2))
    recurrent = load(tiny_hf.save(tmp_path / "tiny-mamba", "mamba2"), threads=1)
    with pytest.warns(UserWarning, match=said.format("tiny-mamba")):
        assert run(recurrent, ask("x" * 700, max_tokens=2))
    assert recurrent.profile.context is None


def test_scores_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    """NaN or infinite scores are an error that names the cure, not a token."""

    def spoil(value: float) -> Any:
        def change(network: Any) -> None:
            with torch.no_grad():
                network.model.norm.weight[3] = value

        return change

    for name, value in (("nan", float("nan")), ("inf", float("inf"))):
        backend = load(tiny_hf.save(tmp_path / name, change=spoil(value)), threads=1)
        for choices in ((), ("a", "b")):
            with pytest.raises(BadResponse, match=r"not numbers .*float32"):
                run(backend, ask("x", choices=choices))


def test_requests_that_cannot_be_met_are_refused(llama: HuggingFace, tmp_path: Path) -> None:
    """A schema that cannot be held, and turns that the template refuses, are the request's fault, and said so."""
    with pytest.raises(BadRequest, match="cannot be restricted to this JSON Schema"):
        run(llama, ask("x", json_schema={"type": "nonsense"}))
    refusing = "{{ raise_exception('no turns today') }}"
    backend = load(tiny_hf.save(tmp_path / "x", template=refusing), threads=1)
    with pytest.raises(BadRequest, match="refuses these turns: no turns today"):
        run(backend, ask("x"))
    base = load(tiny_hf.save(tmp_path / "base", template=""), threads=1)
    with pytest.raises(BadRequest, match="empty"):
        run(base, Request(messages=()))


def test_sixty_four_requests_at_once(llama: HuggingFace) -> None:
    """They wait for one another, each gets its own whole answer, and the event loop is never held up."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - begin)

    async def inner() -> list[list[Delta]]:
        watcher = asyncio.create_task(watch())
        requests = [ask("x", choices=(f"answer {i}",), n=1 + i % 2) for i in range(64)]
        begin = time.monotonic()
        answers = await gather_at_once(llama, requests)
        watcher.cancel()
        assert longest < (time.monotonic() - begin) / 3
        return answers

    assert [set(texts(deltas)) for deltas in asyncio.run(inner())] == [{f"answer {i}"} for i in range(64)]


def test_closing_the_iterator_stops_the_work(llama: HuggingFace) -> None:
    """Closed after its first piece, or cancelled while it waits, a request takes no more of the processor."""

    async def inner() -> tuple[float, float]:
        waiting = [asyncio.create_task(gather(llama, ask("y", n=8, max_tokens=480))) for _ in range(3)]
        stream = llama.generate(ask("x", n=8, max_tokens=480))
        begin = time.process_time()
        for task in waiting:
            await asyncio.sleep(0.05)
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await anext(stream)
        await stream.aclose()
        await gather(llama, ask("x", max_tokens=1))  # waits for what was under way
        used, begin = time.process_time() - begin, time.process_time()
        await asyncio.sleep(0.5)
        return used, time.process_time() - begin

    used, idle = asyncio.run(inner())
    whole = time.process_time()
    run(llama, ask("x", n=8, max_tokens=480))
    whole = time.process_time() - whole
    assert used < whole  # four of them were asked for
    assert idle < 0.1


def test_closing_ends_what_runs_and_a_later_use_loads_again(folder: str) -> None:
    """`close` ends running and waiting requests with an error, and may be called twice; progress is told in order."""
    backend = load(folder, threads=1)

    async def inner() -> None:
        said: list[tuple[str, float]] = []
        await backend.prepare(lambda message, fraction: said.append((message, fraction)))
        await asyncio.sleep(0)
        assert [fraction for _, fraction in said] == sorted(fraction for _, fraction in said)
        assert said[-1] == ("tiny-llama is loaded", 1.0)
        running = [asyncio.create_task(gather(backend, ask("x", n=8, max_tokens=480))) for _ in range(3)]
        await asyncio.sleep(0.1)
        await backend.close()
        await backend.close()
        for ended in await asyncio.gather(*running, return_exceptions=True):
            assert isinstance(ended, BackendUnavailable)
        assert await gather(backend, ask("x", max_tokens=1))
        await backend.close()

    asyncio.run(inner())
