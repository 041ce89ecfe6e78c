"""Every built-in backend keeps to what backends have to do: the same kit that a stranger's is put to.

A backend is added as a class below, which makes it and says how it is seen to fail. One that is slow to make is
made once, by a fixture, and given again.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from scaffold.errors import BackendError, BackendUnavailable, BadRequest, BadResponse, NotAuthorised
from scaffold.registry import backend_of
from scaffold.testing import Scripted
from scaffold.testing.backend_conformance import BackendConformance
from scaffold.vocabulary.models import Request, Sample
from scaffold.wrapping import Cached, Noisy, Recording
from scaffold_backends.wrappers.circuit import Circuit, CircuitBreaker
from scaffold_backends.wrappers.fallback import Fallback
from scaffold_backends.wrappers.fan_out import FanOut
from scaffold_backends.wrappers.minute import Minute
from scaffold_backends.wrappers.paraphrase import Paraphrase
from scaffold_backends.wrappers.rate import RateLimited

from . import tiny_hf
from .speaking import CONTEXT, KEY, Speaker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from scaffold.interfaces import Backend
    from scaffold_backends.llamacpp.backend import LlamaCpp

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def by_seed(request: Request) -> Sample:
    """Some words and their reason, which follow from the prompt and, unless the temperature is 0, the seed."""
    seed = request.seed if request.temperature else 0
    source = random.Random(f"{request.messages[-1].content}:{seed}")
    return Sample(0, " ".join(source.choices(WORDS, k=6)), reasoning=" ".join(source.choices(WORDS, k=4)))


def down(error: BackendError) -> Scripted:
    """A backend to which something has happened."""
    return Scripted(lambda _request: error)


class TestScripted(BackendConformance):
    """`scripted`."""

    def make(self) -> Backend:
        return Scripted(by_seed)

    def failing(self) -> Mapping[type[BackendError], Backend]:
        errors = BackendUnavailable("down"), NotAuthorised("no key"), BadResponse("cut"), BadRequest("wrong")
        return {type(error): down(error) for error in errors}


# --- wrappers


class Wrapping(BackendConformance):
    """Any wrapper: what fails inside it fails as the same."""

    @abstractmethod
    def wrap(self, inner: Backend) -> Backend:
        """Put the wrapper around a backend."""

    def make(self) -> Backend:
        return self.wrap(Scripted(by_seed))

    def failing(self) -> Mapping[type[BackendError], Backend]:
        errors = BackendUnavailable("down"), NotAuthorised("no key"), BadResponse("cut"), BadRequest("wrong")
        return {type(error): self.wrap(down(error)) for error in errors}


class TestNoisy(Wrapping):
    """`noisy`."""

    def wrap(self, inner: Backend) -> Backend:
        return Noisy(inner, 0.5, seed=3)


class TestFanOut(Wrapping):
    """What gives n samples of a backend that gives one."""

    def wrap(self, inner: Backend) -> Backend:
        return FanOut(inner)


class TestFallback(Wrapping):
    """`fallback`, whose first member is down."""

    def wrap(self, inner: Backend) -> Backend:
        return Fallback(inner)

    def make(self) -> Backend:
        return Fallback(down(BackendUnavailable("down")), Scripted(by_seed))


class TestRateLimited(Wrapping):
    """`rate_limited`, within its limits most of the time."""

    def wrap(self, inner: Backend) -> Backend:
        return RateLimited(inner, requests=3, tokens=2000, minute=Minute(seconds=0.05))


class TestCircuitBreaker(Wrapping):
    """`circuit_breaker`, closed."""

    def wrap(self, inner: Backend) -> Backend:
        return CircuitBreaker(inner, failures=3, pause_s=60, circuit=Circuit())


class TestParaphrase(Wrapping):
    """`paraphrase`: two models write for each sample."""

    models = 2

    def wrap(self, inner: Backend) -> Backend:
        return Paraphrase(inner, Scripted(lambda request: f"so: {request.messages[-1].content}"))


class InAFile(Wrapping):
    """A wrapper that keeps answers in a file, a new one each time."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.made = 0

    def file(self) -> Path:
        self.made += 1
        return self.folder / f"{self.made}.jsonl"


class TestRecording(InAFile):
    """`recording`."""

    def wrap(self, inner: Backend) -> Backend:
        return Recording(inner, self.file())


class TestCached(InAFile):
    """`cached`."""

    def wrap(self, inner: Backend) -> Backend:
        return Cached(inner, self.file())


# --- models in this process


class TestLlamaCpp(BackendConformance):
    """`llamacpp`, in this process, with a tiny model: what it says is taken as it comes."""

    long_tokens = 400

    @pytest.fixture(autouse=True)
    def _shared(self, tiny: LlamaCpp) -> None:
        self.shared = tiny

    def make(self) -> Backend:
        return self.shared

    def release(self, backend: Backend) -> None:
        """It is left open for the next check."""

    def at_work(self, backend: Backend) -> int:
        return 2 - self.shared._slots.free  # noqa: SLF001 - nothing else tells what is under way


class TestXLSTM(BackendConformance):
    """`xlstm`, the shipped model of parity, which reads bits and answers in a word."""

    prompt = "0 1 1"
    longer_prompt = "0 1 1 0 1 0 0 1 1 1 0 1"
    hard_prompt = "1 1 0 1"
    choices = ("even", "odd")
    max_tokens = 4

    def variation(self, number: int) -> str:
        return " ".join(f"{number + 16:b}")

    def make(self) -> Backend:
        return backend_of("xlstm:parity")


class TestHuggingFace(BackendConformance):
    """`hf`, a tiny model with random weights, whose tokens are bytes, and which writes any of them anywhere."""

    long_tokens = 100
    tags = ()

    @pytest.fixture(autouse=True)
    def _model(self, tiny_model: str) -> None:
        self.folder = tiny_model

    def make(self) -> Backend:
        return backend_of({"use": f"hf:{self.folder}", "threads": 1, "n_ctx": 300})


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny llama, saved."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return tiny_hf.save(tmp_path_factory.mktemp("models") / "tiny-llama")


# --- llama.cpp's own server, in each dialect that it speaks


class OnServer(BackendConformance):
    """A backend for llama.cpp's own server, with a tiny model; it gives no more samples than it has slots."""

    most_samples = 2
    long_tokens = 150
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _server(self, tiny_server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.url, key = tiny_server
        monkeypatch.setenv("SERVER_KEY", key)
        monkeypatch.setenv("WRONG_KEY", "sk-wrong")

    def make(self) -> Backend:
        return self.connect()

    def connect(self, **more: Any) -> Backend:
        return backend_of({"use": f"{self.url}#tiny", "key_env": "SERVER_KEY", "context": 512, **self.options, **more})

    def failing(self) -> Mapping[type[BackendError], Backend]:
        nobody = {"use": "http://127.0.0.1:9/v1#m", "attempts": 1, **self.options}
        return {NotAuthorised: self.connect(key_env="WRONG_KEY"), BackendUnavailable: backend_of(nobody)}


class TestServedChat(OnServer):
    """`openai` and `http`."""


class TestServedResponses(OnServer):
    """`responses`, with the constraints of that server's chat completions."""

    options: ClassVar = {"dialect": "responses", "grammar": True}


class TestServedMessages(OnServer):
    """`anthropic`; that server keeps no schema in this dialect."""

    options: ClassVar = {"dialect": "messages", "schema": False}


# --- the dialects, with a server that speaks as their documentation has it


class OverHttp(BackendConformance):
    """A dialect of HTTP."""

    name = ""

    @pytest.fixture(autouse=True)
    def _server(self, speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.speaker = speaker
        monkeypatch.setenv("RIGHT_KEY", KEY)
        monkeypatch.setenv("WRONG_KEY", "sk-wrong")

    def make(self) -> Backend:
        return self.connect()

    def connect(self, **more: Any) -> Backend:
        spec = f"{self.name}:{self.speaker.url}#m"
        return backend_of({"use": spec, "key_env": "RIGHT_KEY", "context": CONTEXT, "attempts": 1, **more})

    def failing(self) -> Mapping[type[BackendError], Backend]:
        nobody = backend_of({"use": f"{self.name}:http://127.0.0.1:9/v1#m", "attempts": 1})
        return {NotAuthorised: self.connect(key_env="WRONG_KEY"), BackendUnavailable: nobody}

    def at_work(self, backend: Backend) -> int:
        return self.speaker.under_way


@pytest.fixture(scope="session")
def speaker() -> Iterator[Speaker]:
    """A server that speaks all four dialects."""
    with Speaker() as speaking:
        yield speaking


class TestChatDialect(OverHttp):
    """`openai`, `openrouter`, `vllm` and the others that speak Chat Completions."""

    name = "openai"


class TestResponses(OverHttp):
    """`responses`."""

    name = "responses"


class TestAnthropic(OverHttp):
    """`anthropic`."""

    name = "anthropic"


class TestGemini(OverHttp):
    """`gemini`."""

    name = "gemini"
