"""Models in Hugging Face's format: samples, prompts, constraints and signals, on tiny models with random weights."""

from __future__ import annotations

import asyncio
import json
import math
import random
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.vocabulary.models import FREE, Delta, Message, Request
from scaffold_backends.choices import normalised
from scaffold_backends.hf.backend import HuggingFace, load
from scaffold_backends.hf.prompts import render
from scaffold_backends.hf.sampling import drawn
from scaffold_backends.hf.text import Characters, SampleText

from . import tiny_hf
from .conftest import ask, gather, texts, usage

if TYPE_CHECKING:
    from collections.abc import Iterator

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "word": {"type": "string"}, "ok": {"type": "boolean"}},
    "required": ["n", "word", "ok"],
    "additionalProperties": False,
}


def run(backend: HuggingFace, request: Request) -> list[Delta]:
    """Answer on an event loop of its own, as `solve_sync` does."""
    return asyncio.run(gather(backend, request))


def logprob(deltas: list[Delta], index: int = 0) -> float:
    """Log-probability of a sample."""
    return math.fsum(delta.logprob or 0.0 for delta in deltas if delta.index == index)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny llama, saved."""
    return tiny_hf.save(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="module")
def llama(folder: str) -> Iterator[HuggingFace]:
    """A tiny llama, loaded."""
    backend = load(folder, threads=1, logprobs=True, signals=True)
    yield backend
    asyncio.run(backend.close())


@pytest.mark.parametrize("kind", ["llama", "xlstm", "mamba", "mamba2", "falcon_h1"])
def test_a_sample_is_the_same_alone_and_with_others(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Sample i is what seed + i gives alone, whatever n and however many run side by side."""
    path = tiny_hf.save(tmp_path_factory.mktemp(kind) / kind, kind)
    for together in (8, 2):
        backend = load(path, threads=1, n_parallel=together)
        five = run(backend, ask("Say something.", n=5, max_tokens=12, temperature=1.0, seed=40))
        alone = [
            texts(run(backend, ask("Say something.", max_tokens=12, temperature=1.0, seed=40 + i)))[0] for i in range(5)
        ]
        assert texts(five) == alone
        assert len(set(alone)) > 1
        assert usage(five).input == usage(run(backend, ask("Say something.", max_tokens=1))).input
        asyncio.run(backend.close())


def test_greedy_is_what_transformers_generates(folder: str, llama: HuggingFace) -> None:
    """Temperature 0 gives the very tokens of transformers' own `generate`."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    turns = [{"role": "user", "content": "hello"}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False, return_tensors="pt")
    with torch.inference_mode():
        whole = network.generate(prompt, max_new_tokens=20, do_sample=False, attention_mask=torch.ones_like(prompt))
    wanted = tokenizer.decode(whole[0, prompt.shape[1] :], skip_special_tokens=True)
    assert texts(run(llama, ask("hello", max_tokens=20, temperature=0.0))) == [wanted]


def test_logprobs_are_those_of_the_whole_text(llama: HuggingFace, folder: str) -> None:
    """A sample's log-probability is the sum over its tokens, as one pass over the text gives it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    deltas = run(llama, ask("hello", max_tokens=9, temperature=0.0))
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    turns = [{"role": "user", "content": "hello"}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False, return_tensors="pt")
    with torch.inference_mode():
        tokens = prompt
        expected = 0.0
        for _ in range(9):
            scores = network(input_ids=tokens).logits[0, -1].log_softmax(-1)
            expected += float(scores.max())
            tokens = torch.cat([tokens, scores.argmax().view(1, 1)], 1)
    assert logprob(deltas) == pytest.approx(expected, rel=1e-4)


def test_usage_counts_the_prompt_once(llama: HuggingFace) -> None:
    """Input is the prompt's tokens, read once for all samples; output is the sum over samples."""
    deltas = run(llama, ask("abc", n=3, max_tokens=5, temperature=1.0, seed=9))
    ones = [run(llama, ask("abc", max_tokens=5, temperature=1.0, seed=9 + index)) for index in range(3)]
    assert usage(deltas).input == len("user:abcassistant:") + 3  # a token a byte, and <|start|>, <|end|>, <|start|>
    assert usage(deltas).output == sum(usage(one).output for one in ones)
    assert (usage(deltas).usd, usage(deltas).guessed) == (0.0, False)


def test_choices_are_drawn_by_their_probability_as_a_whole(llama: HuggingFace) -> None:
    """Choices come as often as the model holds them likely, and the log-probability is that among the choices."""
    choices = ("ab", "ac", "b", "abd", "zebra \U0001f993")
    deltas = run(llama, ask("Choose.", choices=choices, n=400, temperature=1.0, seed=1))
    told = {text: logprob(deltas, index) for index, text in enumerate(texts(deltas))}
    assert set(told) <= set(choices)
    assert math.fsum(math.exp(value) for value in told.values()) == pytest.approx(1, abs=0.05)
    for text, value in told.items():
        assert texts(deltas).count(text) / 400 == pytest.approx(math.exp(value), abs=0.08)
    assert all(delta.finish == "stop" for delta in deltas)
    assert {text: run(llama, ask("Choose.", choices=(text,)))[0].logprob for text in choices} == dict.fromkeys(
        choices, 0
    )
    likeliest = max(told, key=lambda text: told[text])
    assert texts(run(llama, ask("Choose.", choices=choices, n=3, temperature=0.0))) == [likeliest] * 3


def test_choices_are_scored_by_all_their_tokens_and_their_end(llama: HuggingFace) -> None:
    """Where one choice begins another, the probability that it ends there counts, as one pass over each gives it."""
    choices = ("ab", "abd", "x")
    deltas = run(llama, ask("Choose.", choices=choices, n=60, temperature=3.0, seed=1))
    model = llama._model  # noqa: SLF001 - the very network, to compute by hand
    assert model is not None
    prompt = render(model.tokenizer, ask("Choose.").messages).tokens
    by_hand = []
    for choice in choices:
        answer = [*model.encode(choice), 0]
        with torch.inference_mode():
            logs = model.network(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        by_hand.append(sum(float(logs[len(prompt) - 1 + place, token]) for place, token in enumerate(answer)))
    expected = dict(zip(choices, normalised(by_hand), strict=True))
    told = {text: logprob(deltas, index) for index, text in enumerate(texts(deltas))}
    assert len(told) > 1
    assert told == {text: pytest.approx(expected[text], abs=1e-3) for text in told}


def test_a_choice_over_the_limit_is_cut(llama: HuggingFace) -> None:
    """A choice of more tokens than a sample may have is cut, and says so."""
    deltas = run(llama, ask("Choose.", choices=("abcdef",), max_tokens=4))
    assert (texts(deltas), deltas[-1].finish, usage(deltas).output) == (["abcd"], "length", 4)


def test_schemas_are_kept(llama: HuggingFace) -> None:
    """Even random weights give an answer that fits its schema."""
    pytest.importorskip("llguidance")
    assert "schema" in llama.profile.can
    deltas = run(llama, ask("Answer.", json_schema=SCHEMA, n=4, max_tokens=700, temperature=1.0, seed=5))
    for text in texts(deltas):
        answer = json.loads(text)
        assert (type(answer["n"]), type(answer["word"]), type(answer["ok"])) == (int, str, bool)
        assert answer.keys() == SCHEMA["properties"].keys()


def test_a_schema_is_kept_as_far_as_it_can_be(llama: HuggingFace) -> None:
    """What no decoder enforces (a set, bytes, one of two shapes) is left to validation; the rest holds."""
    pytest.importorskip("llguidance")
    shapes = [{"properties": {name: {"const": name}}, "required": [name], "type": "object"} for name in ("a", "b")]
    fields = {
        "set": {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 1, "maxItems": 2},
        "bytes": {"type": "string", "format": "binary", "maxLength": 3},
        "either": {"oneOf": shapes},
    }
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    deltas = run(llama, ask("Answer.", json_schema=schema, max_tokens=400, temperature=1.0, seed=5))
    answer = json.loads(texts(deltas)[0])
    assert answer.keys() == fields.keys()
    assert set(answer["set"]) <= {1, 2, 3}


def test_stop_texts_end_a_sample(llama: HuggingFace) -> None:
    """The answer ends before a stop text, and nothing more is generated."""
    free = texts(run(llama, ask("x", max_tokens=30, temperature=1.0, seed=3)))[0]
    stop = free[6:8]
    deltas = run(llama, ask("x", max_tokens=30, temperature=1.0, seed=3, stop=(stop, "")))
    assert texts(deltas) == [free[: free.index(stop)]]
    assert deltas[-1].finish == "stop"
    assert usage(deltas).output < 30


def test_a_last_turn_of_the_assistant_is_gone_on_from() -> None:
    """It ends the prompt as it is, its last space too, and no turn is closed or opened after it."""
    tokenizer = tiny_hf.tokenizer()
    prompt = render(tokenizer, ask("Count.", "1, 2, ").messages)
    assert tokenizer.decode(prompt.tokens) == "<|start|>user:Count.<|end|><|start|>assistant:1, 2, "
    assert not prompt.thinking


def test_signals_are_told_on_last_pieces_only(folder: str, llama: HuggingFace, tmp_path: Any) -> None:
    """Entropy and margin of each sample, of recurrent models the memory too; none unless asked for."""
    deltas = run(llama, ask("x", n=2, max_tokens=6, temperature=1.0, seed=3))
    assert [delta.signals is not None for delta in deltas] == [delta.finish is not None for delta in deltas]
    told = [delta.signals for delta in deltas if delta.signals]
    assert all(set(one) == {"entropy", "margin"} for one in told)
    assert all(0 < one["entropy"] < math.log(tiny_hf.TOKENS) and 0 <= one["margin"] <= 1 for one in told)
    quiet = load(folder, threads=1)
    assert all(delta.signals is None and delta.logprob is None for delta in run(quiet, ask("x", max_tokens=3)))
    recurrent = load(tiny_hf.save(tmp_path / "x", "xlstm"), threads=1, signals=True)
    last = run(recurrent, ask("x", max_tokens=3))[-1].signals
    assert last is not None
    assert last["memory_norm"] > 0


def test_reasoning_is_taken_apart(tmp_path: Any) -> None:
    """What stands in think tags is reasoning, also where the template opened the tag; constraints hold after it."""

    def change(network: Any) -> None:
        """Make a model that says <think>, then b, then </think>, then a, and so on round."""
        torch.nn.init.zeros_(network.lm_head.weight)
        for layer in network.model.layers:
            torch.nn.init.zeros_(layer.mlp.down_proj.weight)
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        network.model.embed_tokens.weight[:, :] = torch.eye(tiny_hf.TOKENS)[:, : network.config.hidden_size]
        tokens = tiny_hf.tokenizer()
        start, end, b, a, colon = (tokens.convert_tokens_to_ids(t) for t in ("<think>", "</think>", "b", "a", ":"))
        for before, after in ((colon, start), (start, b), (b, end), (end, a), (a, 0)):
            network.model.embed_tokens.weight[before] = torch.eye(network.config.hidden_size)[before % 61]
            network.lm_head.weight[after] = 100 * torch.eye(network.config.hidden_size)[before % 61]

    def changed(network: Any) -> None:
        with torch.no_grad():
            change(network)

    asked = load(tiny_hf.save(tmp_path / "asked", change=changed), threads=1, reasoning="full", logprobs=True)
    deltas = run(asked, ask("x", temperature=0.0))
    assert ("".join(delta.reasoning for delta in deltas), texts(deltas)) == ("b", ["a"])
    assert usage(deltas).reasoning == 2  # b, and the tag that closes
    opened = tiny_hf.TEMPLATE.replace("assistant:{%", "assistant:<think>{%")
    thinking = load(tiny_hf.save(tmp_path / "opened", template=opened, change=changed), threads=1, logprobs=True)
    for held in ({"choices": ("yes", "no")}, {"json_schema": {"type": "object", "additionalProperties": False}}):
        deltas = run(thinking, ask("x", temperature=0.0, **held))
        assert "".join(delta.reasoning for delta in deltas) == "b"
        assert texts(deltas)[0] in {"yes", "no", "{}"}
    plain = load(str(tmp_path / "asked"), threads=1, reasoning="absent")
    assert texts(run(plain, ask("x", temperature=0.0))) == ["<think>b</think>a"]


def test_models_without_a_template_read_plain_text(tmp_path: Any) -> None:
    """A base model gets the texts themselves, a blank line between them, and goes on from a last turn."""
    backend = load(tiny_hf.save(tmp_path / "base", template=""), threads=1)
    turns = (Message("system", "ab"), Message("user", "cd"), Message("assistant", "ef"))
    assert usage(run(backend, Request(messages=turns, max_tokens=1))).input == len("ab\n\ncd\n\nef")
    assert usage(run(backend, Request(messages=turns[:2], max_tokens=1))).input == len("ab\n\ncd\n\n")


def test_templates_without_a_system_get_it_before_the_user(tmp_path: Any) -> None:
    """Where a template refuses a system's turn, the user's turn says it first."""
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + tiny_hf.TEMPLATE
    backend = load(tiny_hf.save(tmp_path / "x", template=refusing), threads=1)
    turns = (Message("system", "ab"), Message("user", "cd"))
    merged = usage(run(backend, Request(messages=turns, max_tokens=1))).input
    assert merged == usage(run(backend, Request(messages=(Message("user", "ab\n\ncd"),), max_tokens=1))).input


def test_profile_says_what_is_known(llama: HuggingFace) -> None:
    """The context is what the model was trained for, once it is loaded; its reasoning is a guess until said."""
    run(llama, ask("x", max_tokens=1))
    profile = llama.profile
    assert (profile.backend, profile.model, profile.context, profile.prices) == ("hf", "tiny-llama", 512, FREE)
    assert (profile.reasoning, profile.guessed) == ("absent", ("reasoning",))
    assert {"choices", "seed", "n", "fork", "logprobs"} <= profile.can


def test_characters_come_whole() -> None:
    """Whatever bytes come one by one, valid characters arrive whole, and nothing is lost or changed."""
    tokenizer = tiny_hf.tokenizer()
    source = random.Random(4)
    for _ in range(200):
        text = "".join(source.choice("aé\u20ac\U0001f600\n ") for _ in range(12))
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        characters = Characters(lambda part: str(tokenizer.decode(part)))
        pieces = [characters.feed(token) for token in tokens]
        assert "".join(pieces) + characters.end() == text
        assert not any("\ufffd" in piece for piece in pieces)
    broken = SampleText(lambda part: str(tokenizer.decode(part)), (), "none")
    tokens = tokenizer("\U0001f600", add_special_tokens=False)["input_ids"][:3]
    assert "".join("".join(broken.feed(token)) for token in tokens) + broken.end()[1] == "\ufffd"


def test_tokens_are_drawn_by_their_probability() -> None:
    """Tokens come as often as their probability says at a temperature; what is far too unlikely never comes."""
    scores = torch.tensor([2.0, 1.0, 0.0, -2.0, float("-inf")])
    source = random.Random(1)
    draws = [drawn(scores, 0.5, source) for _ in range(4000)]
    expected = normalised([score / 0.5 for score in (2.0, 1.0, 0.0)])
    for token, value in enumerate(expected):
        assert draws.count(token) / 4000 == pytest.approx(math.exp(value), abs=0.02)
    assert 3 not in draws
    assert drawn(scores, 0.0, source) == drawn(scores, 1e-9, source) == 0
