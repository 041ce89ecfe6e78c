"""Recording, replaying and caching: the same question has the same answer, and no other question has it."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold.errors import BackendUnavailable, BadInput, BadResponse, TaskError
from scaffold.registry import backend_of
from scaffold.testing import Scripted
from scaffold.vocabulary.models import Delta, Message, Origin, ReasoningBlock, Request, Sample, Usage
from scaffold.wrapping import Cached, Recorded, Recording
from scaffold.wrapping.answers import AnswerFile
from scaffold.wrapping.naming import request_name
from scaffold.wrapping.scrubbing import scrubbed

from .conftest import ask, gather, texts, usage
from .stage import PLAIN, Dice, Stage, said


def run(backend: Any, request: Request) -> list[Delta]:
    """Answer on an event loop of its own."""
    return asyncio.run(gather(backend, request))


def asked(path: Path, text: str = "Throw.", dice: Dice | None = None, **more: Any) -> list[Delta]:
    """Ask through a cache that was just opened."""
    return run(Cached(dice or Dice(), path), ask(text, **more))


# --- the cache


def test_the_same_request_is_answered_from_the_file_for_nothing(tmp_path: Path) -> None:
    """The second time nobody is asked, the pieces are the same, nothing is charged, and the samples say why."""
    path = tmp_path / "said.jsonl"
    first = asked(path, seed=5, n=2)
    dice = Dice()
    again = asked(path, dice=dice, seed=5, n=2)
    assert dice.asked == []
    assert [(each.index, each.text) for each in again] == [(each.index, each.text) for each in first]
    assert (usage(first), usage(again)) == (Usage(3, 4), Usage())
    assert [each.origin for each in again if each.finish] == [
        Origin(backend="stage", model="m", recorded=True, saved=Usage(3, 4)),
        Origin(backend="stage", model="m", recorded=True),
    ]
    assert not any(each.origin for each in first)


def test_samples_are_known_one_by_one(tmp_path: Path) -> None:
    """Of five samples two are known: three are asked for, in as few requests as can be, and all five are right."""
    path = tmp_path / "said.jsonl"
    alone = [texts(asked(tmp_path / "other.jsonl", seed=5 + index))[0] for index in range(5)]
    asked(path, seed=6)
    asked(path, seed=9)
    dice = Dice()
    deltas = asked(path, dice=dice, seed=5, n=5)
    assert dice.asked == [5, 7, 8]
    assert texts(deltas) == alone
    assert usage(deltas) == Usage(6, 6)  # one request for one sample, one for two


def test_a_seed_matters_unless_the_likeliest_is_asked_for(tmp_path: Path) -> None:
    """Another seed is another sample; at temperature 0 it is the same one."""
    path = tmp_path / "said.jsonl"
    assert texts(asked(path, seed=1)) != texts(asked(path, seed=2))
    greedy = texts(asked(path, seed=1, temperature=0.0))
    assert texts(asked(path, seed=2, temperature=0.0)) == greedy


@pytest.mark.parametrize(
    "more",
    [
        {"text": "Throw!"},
        {"prefill": "It"},
        {"max_tokens": 9},
        {"temperature": 0.8},
        {"stop": ("x",)},
        {"json_schema": {"type": "object"}},
        {"choices": ("a",)},
    ],
    ids=lambda more: next(iter(more)),
)
def test_another_request_never_gets_its_answer(tmp_path: Path, more: dict[str, Any]) -> None:
    """Whatever differs in what is asked, the model is asked."""
    path = tmp_path / "said.jsonl"
    asked(path, seed=1)
    dice = Dice()
    run(Cached(dice, path), ask(**{"text": "Throw.", "seed": 1, **more}))
    assert dice.asked == [1]


CODES = ("0123abcd", "4567cdef", "<data #0>", "0")


@given(st.lists(st.sampled_from(CODES), max_size=4), st.lists(st.sampled_from(CODES), max_size=4))
def test_only_the_choice_of_codes_in_data_marks_is_looked_past(one: list[str], two: list[str]) -> None:
    """Two prompts have one name only if renaming the marks' codes makes one of the other."""

    def prompt(codes: list[str]) -> Request:
        return ask("".join(f"<data {code}>x</data {code}>" for code in codes))

    def shape(codes: list[str]) -> list[Any]:
        real = [code for code in dict.fromkeys(codes) if len(code) == 8]
        return [real.index(code) if code in real else code for code in codes]

    assert (request_name(prompt(one)) == request_name(prompt(two))) == (shape(one) == shape(two))


def test_settings_of_the_backend_are_part_of_the_question(tmp_path: Path) -> None:
    """What a table says beside `use` decides the answers too, so another table is another question."""
    file = str(tmp_path / "said.jsonl")
    for replies in ("one", "two"):
        backend = backend_of({"use": "cached", "file": file, "backend": {"use": "scripted", "replies": replies}})
        assert texts(run(backend, ask("Say it.", seed=1))) == [replies]


def test_a_file_belongs_to_one_model(tmp_path: Path) -> None:
    """Another model's file, and a file of something else, are refused by name."""
    path = tmp_path / "said.jsonl"
    asked(path)
    other = Dice(msgspec.structs.replace(PLAIN, model="other"))
    with pytest.raises(BadInput, match="has the answers of stage:m, not of stage:other"):
        Cached(other, path)
    path.write_bytes(path.read_bytes().replace(b'{"format":1', b'{"format":2', 1))
    with pytest.raises(BadInput, match=r"another version \(format 2\): record it again"):
        Cached(Dice(), path)
    path.write_text("prompt: hello\n")
    with pytest.raises(BadInput, match="is not a file of recorded answers"):
        Cached(Dice(), path)


def test_what_is_not_whole_is_not_kept(tmp_path: Path) -> None:
    """A sample that was cut, and a stream that was closed or broke off, are asked again."""
    path = tmp_path / "said.jsonl"
    cut = [Delta(text="half", finish="cut", usage=Usage(1, 1))]
    stage = Stage(cut, [Delta(text="h"), BadResponse("cut")], [Delta(text="w"), *said("hole")])
    cached = Cached(stage, path)

    async def inner() -> None:
        await gather(cached, ask("Go."))
        with pytest.raises(BadResponse):
            await gather(cached, ask("Go."))
        stream = cached.generate(ask("Go."))
        await anext(stream)
        await stream.aclose()
        assert texts(await gather(cached, ask("Go."))) == ["whole"]
        assert texts(await gather(cached, ask("Go."))) == ["whole"]

    asyncio.run(inner())
    assert len(stage.requests) == 4


def test_a_torn_line_is_survived(tmp_path: Path) -> None:
    """Wherever a writer died, what was whole is found, and what comes next is added and found."""
    whole = tmp_path / "whole.jsonl"
    asked(whole, "one", seed=1)
    asked(whole, "two", seed=1)
    lines = whole.read_bytes()
    path = tmp_path / "torn.jsonl"
    for length in (0, 1, 40, len(lines) - 1, lines.index(b"\n") + 2):
        path.write_bytes(lines[:length])
        asked(path, "three", seed=1)
        dice = Dice()
        asked(path, "three", dice=dice, seed=1)
        assert dice.asked == [], length
    dice = Dice()
    path.write_bytes(lines[:-9] + b"\n{not json}\n")
    asked(path, "one", dice=dice, seed=1)
    assert dice.asked == []


WORKER = """
import asyncio, sys
from scaffold.testing import Scripted
from scaffold.vocabulary.models import Message, Request
from scaffold.wrapping import Cached

async def fill(cached, number):
    for place in range(25):
        request = Request(messages=(Message("user", f"question {place}"),), seed=number)
        async for _ in cached.generate(request):
            pass

asyncio.run(fill(Cached(Scripted("a long answer " * 500), sys.argv[1]), int(sys.argv[2])))
"""


def test_several_processes_add_to_one_file(tmp_path: Path) -> None:
    """Four processes that write at once lose nothing and spoil nothing, and one sees what the others add."""
    path = tmp_path / "said.jsonl"
    early = Cached(Scripted("late"), path)
    commands = [[sys.executable, "-c", WORKER, str(path), str(number)] for number in range(4)]
    workers = [subprocess.Popen(command) for command in commands]
    assert [worker.wait() for worker in workers] == [0] * 4
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert len(lines) == 1 + 4 * 25
    assert [usage(run(early, ask("question 7", seed=number))) for number in range(4)] == [Usage()] * 4


FULL = """
import asyncio, os, resource, sys, warnings
from scaffold.testing import Scripted
from scaffold.vocabulary.models import Message, Request
from scaffold.wrapping import Cached

async def ask(cached):
    return [each.text async for each in cached.generate(Request(messages=(Message("user", "two"),), seed=1))]

warnings.simplefilter("ignore")
cached = Cached(Scripted("x" * 5000), sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(sys.argv[1]) + 100,) * 2)
print(len(asyncio.run(ask(cached))[0]))
"""


def test_what_a_full_disk_cuts_off_leaves_no_trace(tmp_path: Path) -> None:
    """A write that stops in the middle is taken back: the file is as it was, and the answer is passed on."""
    path = tmp_path / "said.jsonl"
    run(Cached(Scripted("one"), path), ask("one", seed=1))
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "5000\n"
    assert path.read_bytes() == before


def test_a_writer_waits_for_another_to_be_done(tmp_path: Path) -> None:
    """While somebody holds the file's lock nothing is written; then it is."""
    path = tmp_path / "said.jsonl"
    asked(path, "one", seed=1)
    size = path.stat().st_size
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writing = threading.Thread(target=asked, args=(path, "two"), kwargs={"seed": 1})
        writing.start()
        writing.join(0.3)
        assert writing.is_alive()
        assert path.stat().st_size == size
    writing.join(5)
    assert path.stat().st_size > size


def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    """When somebody clears the file, the old answers are gone, and no place in it is mistaken for another."""
    path = tmp_path / "said.jsonl"
    dice = Dice()
    cached = Cached(dice, path)
    run(cached, ask("one", seed=1))
    path.unlink()
    run(cached, ask("two", seed=1))
    run(cached, ask("one", seed=1))
    assert dice.asked == [1, 1, 1]
    assert usage(run(cached, ask("two", seed=1))) == Usage()


def test_what_was_read_before_does_not_hide_what_stands_in_its_place(tmp_path: Path) -> None:
    """A file that was read to its end and cleared, or replaced by a longer one, is read from its beginning."""
    path, longer = tmp_path / "said.jsonl", tmp_path / "longer.jsonl"
    dice = Dice()
    cached = Cached(dice, path)
    for question in ("one", "two", "two"):
        run(cached, ask(question, seed=1))
    for question in ("four", "five", "six"):
        run(Cached(Dice(), longer), ask(question, seed=1))
    size = path.stat().st_size
    os.truncate(path, 0)
    run(Cached(Dice(), path), ask("three", seed=1))
    assert path.stat().st_size < size
    assert usage(run(cached, ask("three", seed=1))) == Usage()
    longer.replace(path)
    assert [usage(run(cached, ask(question, seed=1))) for question in ("four", "five", "six")] == [Usage()] * 3
    assert dice.asked == [1, 1]


def test_another_file_of_the_same_layout_is_not_mistaken_for_it(tmp_path: Path) -> None:
    """Where an answer stood there stands another of the same length: it is not given for the first one's question."""
    path, other = tmp_path / "said.jsonl", tmp_path / "other.jsonl"
    inner = Scripted({"one": "111", "two": "222"})
    cached = Cached(inner, path)
    run(cached, ask("one", seed=1))
    run(cached, ask("one", seed=1))
    run(Cached(inner, other), ask("two", seed=1))
    assert path.stat().st_size == other.stat().st_size
    path.write_bytes(other.read_bytes())
    again = run(cached, ask("one", seed=1))
    assert (texts(again), usage(again)) == (["111"], Usage(1, 1))
    again = run(cached, ask("two", seed=1))
    assert (texts(again), usage(again)) == (["222"], Usage())


def test_an_answer_that_has_moved_is_found(tmp_path: Path) -> None:
    """In a file with the same answers in another order, each is found at its new place."""
    path, other = tmp_path / "said.jsonl", tmp_path / "other.jsonl"
    dice = Dice()
    cached = Cached(dice, path)
    for file, questions in ((path, ("one", "two")), (other, ("two", "one"))):
        for question in questions:
            run(Cached(Dice(), file), ask(question, seed=1))
    assert usage(run(cached, ask("one", seed=1))) == Usage()
    other.replace(path)
    assert usage(run(cached, ask("one", seed=1))) == Usage()
    assert dice.asked == []


def test_a_file_that_becomes_anothers_costs_the_cache_not_the_answer(tmp_path: Path) -> None:
    """Replaced by the file of another model while it is in use: one warning, the model is asked, and nothing is added.

    A recording, which has no model to ask, is gone.
    """
    path, other = tmp_path / "said.jsonl", tmp_path / "other.jsonl"
    dice = Dice()
    cached = Cached(dice, path)
    run(cached, ask("one", seed=1))
    recorded = Recorded(path)
    run(Cached(Scripted("x"), other), ask("two", seed=1))
    other.replace(path)
    before = path.read_bytes()
    with pytest.warns(UserWarning, match="neither looked up nor kept"):
        run(cached, ask("two", seed=1))
    run(cached, ask("three", seed=1))
    assert dice.asked == [1, 1, 1]
    assert path.read_bytes() == before
    path.write_text("something else\n")
    with pytest.raises(BackendUnavailable, match="is not a file of recorded answers"):
        run(recorded, ask("two", seed=1))


def test_the_file_grows_no_larger_than_it_may(tmp_path: Path) -> None:
    """At its bound, said once, the cache goes on answering and keeps nothing more; what is in it stays."""
    path = tmp_path / "said.jsonl"
    asked(path, "one", seed=1)
    size = path.stat().st_size
    cached = Cached(Dice(), path, most_bytes=size + 10)
    with pytest.warns(UserWarning, match="is full: no further answers are kept"):
        run(cached, ask("two", seed=1))
    assert path.stat().st_size == size
    assert texts(run(cached, ask("two", seed=1))) != [""]
    assert usage(run(cached, ask("one", seed=1))) == Usage()


def test_a_disk_that_cannot_be_written_costs_the_cache_not_the_answer(tmp_path: Path) -> None:
    """An answer that cannot be kept is passed on, with a warning; a recording that cannot be written is an error."""
    folder = tmp_path / "folder"
    cached, recording = Cached(Dice(), folder / "a"), Recording(Dice(), folder / "b")
    folder.write_text("in the way")
    with pytest.warns(UserWarning, match="answers are not kept"):
        assert texts(run(cached, ask("one", seed=1))) != [""]
    assert texts(run(cached, ask("two", seed=1))) != [""]  # which is said once
    with pytest.raises(BackendUnavailable, match="could not be recorded"):
        run(recording, ask("one", seed=1))


# --- secrets


def test_secrets_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that a model says, even in pieces, is in no file: a recording has it replaced, a cache no answer."""
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    spoken = [Delta(reasoning="it is sk-abcdefgh"), Delta(reasoning="ijklmnopqrst"), Delta(text="correct-horse-")]
    stage = Stage([*spoken, *said("battery!")])
    recording, cached = Recording(stage, tmp_path / "a.jsonl"), Cached(stage, tmp_path / "b.jsonl")
    question = ask("My key is correct-horse-battery, what is it?")
    for backend in (recording, cached):
        assert texts(run(backend, question)) == ["correct-horse-battery!"]
    kept = "".join(path.read_text() for path in tmp_path.iterdir())
    assert not any(secret in kept for secret in ("horse", "sk-", "ijkl"))
    deltas = run(Recorded(tmp_path / "a.jsonl"), question)
    assert texts(deltas) == ["[secret removed]!"]
    assert "".join(delta.reasoning for delta in deltas) == "it is [secret removed]"
    run(cached, question)
    assert len(stage.requests) == 3


def test_a_secret_in_reasoning_that_an_api_wants_back_is_not_kept(tmp_path: Path) -> None:
    """The block goes, with the provider's signature over it; one without a secret is replayed as it was."""
    secret = ReasoningBlock(kind="text", text="it is sk-abcdefghijklmnopqrst", signature="signed")
    plain = ReasoningBlock(kind="text", text="a task", signature="signed")
    for number, block in enumerate((secret, plain)):
        stage = Stage([Delta(reasoning="so", block=block), *said("yes")])
        path, cache = tmp_path / f"a{number}.jsonl", tmp_path / f"b{number}.jsonl"
        run(Recording(stage, path), ask("Go."))
        run(Cached(stage, cache), ask("Go."))
        assert "sk-" not in path.read_text()
        assert cache.exists() == (block is plain)
        replayed = run(Recorded(path), ask("Go."))
        assert [delta.block for delta in replayed if delta.block] == ([plain] if block is plain else [])
        assert "".join(delta.reasoning for delta in replayed) == "so"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnopqrstu",
        "ghp_abcdefghijklmnopqrstuvwx",
        "AKIAABCDEFGHIJKLMNOP",
        "hf_abcdefghijklmnopqrstuvwx",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijklmnop",
        "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
    ],
    ids=lambda secret: secret[:6],
)
def test_what_looks_like_a_key_is_taken_out(secret: str) -> None:
    """Well-known shapes of keys go; the words around them stay."""
    assert scrubbed(f"before {secret} after") == "before [secret removed] after"
    assert scrubbed("a task, a skill, a risk-free desk") == "a task, a skill, a risk-free desk"


# --- recording and replaying


def test_a_recording_says_again_what_was_said_piece_by_piece(tmp_path: Path) -> None:
    """Pieces, reasoning, log-probabilities, signals and usage come as they came, marked as recorded."""
    pieces = [
        Delta(reasoning="hm"),
        Delta(text="4", logprob=-1.0),
        Delta(text="2", finish="stop", usage=Usage(3, 4, 1, usd=0.25), signals={"entropy": 1.5}),
    ]
    path = tmp_path / "said.jsonl"
    recording = Recording(Stage(pieces), path)
    assert run(recording, ask("Go.", seed=1)) == pieces
    again = Recorded(path)
    assert again.profile == PLAIN
    marked = msgspec.structs.replace(pieces[-1], origin=Origin(backend="stage", model="m", recorded=True))
    assert run(again, ask("Go.", seed=1)) == [*pieces[:-1], marked]
    assert (path.stat().st_mode & 0o777) == 0o600
    assert json.loads(path.read_bytes().splitlines()[1])["prompt"] == "Go."


def test_who_answered_inside_is_named_by_a_recording(tmp_path: Path) -> None:
    """Of a backend that asks several others, each recorded sample still names the one that gave it."""
    path = tmp_path / "said.jsonl"
    run(Recording(Stage(said("yes", origin=Origin(backend="inner", model="small"))), path), ask("Go."))
    assert run(Recorded(path), ask("Go."))[-1].origin == Origin(backend="inner", model="small", recorded=True)


def test_a_recording_answers_other_seeds_in_turn(tmp_path: Path) -> None:
    """Samples of one prompt come in the order of recording when nobody asks for their seeds, and by seed when so."""
    path = tmp_path / "said.jsonl"
    recording = Recording(Scripted(["a", "b", "c"]), path)
    run(recording, ask("Go.", seed=1, n=3))
    again = Recorded(path)
    assert texts(run(again, ask("Go.", seed=3))) == ["c"]
    assert texts(run(again, ask("Go.", seed=90, n=2))) == ["a", "b"]
    assert texts(run(again, ask("Go.", seed=80, n=2))) == ["c", "a"]
    assert texts(run(again, ask("Go."))) == ["b"]
    assert texts(run(again, ask("Go."))) == ["c"]
    with pytest.raises(BackendUnavailable, match="record it again"):
        run(again, ask("Stop."))
    run(Recording(Scripted("d"), path), ask("Run."))
    run(Recording(Scripted("f"), path), ask("Run."))
    assert [texts(run(again, ask("Run."))) for _ in range(3)] == [["d"], ["f"], ["d"]]


def test_there_is_no_recording_where_there_is_no_file(tmp_path: Path) -> None:
    """Replaying what does not exist says so before the run."""
    with pytest.raises(BadInput, match="record some first"):
        Recorded(tmp_path / "nothing.jsonl")
    with pytest.raises(ValueError, match="to add answers"):
        AnswerFile(tmp_path / "x").add([])


def test_what_is_no_file_of_answers_is_refused_at_once(tmp_path: Path) -> None:
    """A folder, a pipe, a device and a line without end are neither read nor waited for."""
    pipe, long, deep = (tmp_path / name for name in ("pipe", "long", "deep"))
    os.mkfifo(pipe)
    long.write_bytes(bytes(200_000))
    deep.write_bytes(b'{"format": 1, "profile": ' + b"[" * 50_000 + b"\n")
    for path in (tmp_path, pipe, Path("/dev/zero"), long, deep):
        with pytest.raises(BadInput, match=f"'{path}' is not a file"):
            Recorded(path)
        with pytest.raises(BadInput, match=f"'{path}' is not a file"):
            Cached(Dice(), path)


def test_an_answer_that_holds_nothing_is_none(tmp_path: Path) -> None:
    """A line without pieces, or nested without end, is passed over as a torn one is."""
    path = tmp_path / "said.jsonl"
    run(Recording(Dice(), path), ask("Throw."))
    header, line = path.read_bytes().splitlines()
    names = {name: json.loads(line)[name] for name in ("request", "sample")}
    empty = json.dumps(names).encode()
    path.write_bytes(b"\n".join([header, empty, empty[:-1] + b', "pieces": ' + b"[" * 50_000, b""]))
    with pytest.raises(BackendUnavailable, match="has no answer"):
        run(Recorded(path), ask("Throw."))


def test_they_are_named_in_task_files(tmp_path: Path) -> None:
    """Tables and short specs make them; what is wrong is said with its place."""
    file = str(tmp_path / "said.jsonl")
    recording = backend_of({"use": "recording", "file": file, "backend": {"use": "scripted", "replies": "yes"}})
    run(recording, ask("Go."))
    assert texts(run(backend_of(f"recorded:{file}"), ask("Go."))) == ["yes"]
    with pytest.raises(TaskError, match="backend: cached needs `backend`"):
        backend_of({"use": "cached", "file": file})
    with pytest.raises(TaskError, match="is given its backend twice"):
        backend_of({"use": "cached:scripted", "backend": "scripted"})
    with pytest.raises(TaskError, match="backend: needs `use`"):
        backend_of({"use": "cached", "backend": {"replies": "x"}})
    with pytest.raises(TaskError, match="file: recorded needs one `file`"):
        backend_of("recorded")
    with pytest.raises(TaskError, match=r"recording has no option 'fil'; did you mean 'file'"):
        backend_of({"use": "recording", "backend": "scripted", "fil": "x"})


def test_what_is_wrong_deep_inside_is_said_to_be_there(tmp_path: Path) -> None:
    """Through wrappers in wrappers, a fault keeps the keys that lead to it."""
    file = str(tmp_path / "said.jsonl")
    inner: dict[str, Any] = {"use": "fallback", "backends": ["scripted", {"use": "scripted", "replies": 7}]}
    table = {"use": "cached", "file": file, "backend": {"use": "recording", "file": file, "backend": inner}}
    with pytest.raises(TaskError) as caught:
        backend_of(table)
    assert caught.value.path == ("backend", "backend", "backends", 1, "replies")
    inner["backends"][1] = {"use": "scripted", "reply": "x"}
    with pytest.raises(TaskError, match="cannot be made with these settings") as caught:
        backend_of(table)
    assert caught.value.path == ("backend", "backend", "backends", 1)


def test_a_cache_without_a_file_has_one_for_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache folder holds a file for each model."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with warnings.catch_warnings():
        run(backend_of("cached:scripted:yes"), ask("Go.", seed=1))
    (kept,) = (tmp_path / "scaffold" / "answers").iterdir()
    assert kept.name.startswith("scripted-scripted-")


def test_a_discarded_sample_is_replayed_as_such(tmp_path: Path) -> None:
    """How a sample ended is part of it."""
    path = tmp_path / "said.jsonl"
    run(Recording(Scripted([Sample(0, "half", finish="cut")]), path), ask("Go."))
    assert run(Recorded(path), ask("Go."))[-1].finish == "cut"


def test_the_turns_before_are_part_of_the_question(tmp_path: Path) -> None:
    """Two conversations that end alike are two questions."""
    path = tmp_path / "said.jsonl"
    asked(path, seed=1)
    dice = Dice()
    longer = Request(messages=(Message("system", "Be brief."), Message("user", "Throw.")), seed=1)
    run(Cached(dice, path), longer)
    assert dice.asked == [1]
