"""Credentials are told to the action at the moment of the call, and to nobody else."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import pytest
from tests.core.doing import doing

from scaffold import Call, Credential, Scaffold, Task, action
from scaffold.errors import TaskError
from scaffold.wrapping.scrubbing import hiding

if TYPE_CHECKING:
    from tests.core.conftest import Watcher, World

TOKEN = "s3cret/t0ken with spaces"
Told = Annotated[str, Credential("BANK_TOKEN")]


def everything_in(folder: Path) -> str:
    """All that was written below a folder."""
    return "".join(each.read_text(errors="replace") for each in folder.rglob("*") if each.is_file())


@action(effect="irreversible")
async def send(to: str, how: str = "", *, token: Told, call: Call) -> Any:
    """Send something, and talk about the token in every way it should not."""
    assert token == call.credentials["BANK_TOKEN"] == TOKEN
    match how:
        case "raise":
            raise OSError(f"refused: Authorization: Bearer {token}")
        case "url":
            return "https://bank.example/?token=s3cret%2Ft0ken%20with%20spaces"
        case "call":
            return {"call": repr(call)}
        case "other":
            return call.credentials["OTHER"]
        case _:
            return {"to": to, token: [f"with {token}", 1, None, True]}


def test_an_action_is_told_and_nothing_else_is(
    world: World, watcher: type[Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no argument; what the action gives back, and all that is written, has its name in its place."""
    monkeypatch.setenv("BANK_TOKEN", TOKEN)
    reader = watcher()
    assert "token" not in send.spec.parameters["properties"]
    assert send.spec.credentials == ("BANK_TOKEN",)
    outcome = world.solve(doing("send", to="ann"), actions=[send], monitors=[reader])
    assert outcome.answer == str({"[BANK_TOKEN]": ["with [BANK_TOKEN]", 1, None, True], "to": "ann"})
    assert TOKEN not in everything_in(world.folder)
    assert TOKEN not in repr(reader.seen)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("raise", "OutcomeUnknown: OSError: refused: Authorization: Bearer [BANK_TOKEN]"),
        ("url", "https://bank.example/?token=[BANK_TOKEN]"),
        ("call", "<credentials BANK_TOKEN>"),
        ("other", "the action does not declare the credential 'OTHER'"),
    ],
)
def test_what_an_action_says_of_it_is_hidden(
    world: World, watcher: type[Watcher], monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    """In exceptions, in URLs, and in what the call looks like printed."""
    monkeypatch.setenv("BANK_TOKEN", TOKEN)
    outcome = world.solve(doing("send", to="ann", how=how), actions=[send], monitors=[watcher()])
    assert said in outcome.answer
    assert TOKEN not in everything_in(world.folder)
    assert "s3cret%2F" not in everything_in(world.folder)


@pytest.mark.parametrize(
    "said",
    [
        lambda token: f"Illegal header value {f'Bearer {token}'.encode()!r}",
        lambda token: f"bad config { ({'password': token})!r}",
        lambda token: json.dumps({"token": token}),
        lambda token: json.dumps([token], ensure_ascii=False),
        lambda token: urlencode({"token": token}),
        lambda token: token.strip(),
        lambda token: f'<input value="{html.escape(token)}">',
        lambda token: f"Authorization: Basic {base64.b64encode(f'bob:{token}'.encode()).decode()}",
    ],
    ids=["header", "repr", "ascii JSON", "JSON", "form", "stripped", "HTML", "Basic"],
)
def test_it_is_hidden_however_it_is_written(world: World, monkeypatch: pytest.MonkeyPatch, said: Any) -> None:
    """With the line break that a mounted secret ends with, with marks that are escaped, as a form's field."""
    monkeypatch.setenv("BANK_TOKEN", 's3cret "&\\" t0ken\n')

    @action(effect="read")
    async def leak(at: str, token: Told) -> str:
        return f"{at}: {said(token)}"

    outcome = world.solve(doing("leak", at="x"), actions=[leak])
    assert "[BANK_TOKEN]" in outcome.answer
    assert "s3cret" not in everything_in(world.folder)
    assert "t0ken" not in everything_in(world.folder)


@pytest.mark.parametrize("pin", [482913, 4829.13])
def test_it_is_hidden_where_it_comes_back_as_a_number(
    world: World, monkeypatch: pytest.MonkeyPatch, pin: float
) -> None:
    """Other numbers stay numbers."""
    monkeypatch.setenv("BANK_TOKEN", str(pin))

    @action(effect="read")
    async def leak(at: str, token: Told) -> dict[str, Any]:
        return {"at": at, "pin": json.loads(token), "cents": 100}

    outcome = world.solve(doing("leak", at="x"), actions=[leak])
    assert outcome.answer == str({"at": "x", "cents": 100, "pin": "[BANK_TOKEN]"})
    assert str(pin) not in everything_in(world.folder)


def test_of_two_of_which_one_begins_with_the_other_nothing_shows() -> None:
    """In whatever order they are named, the longer one goes as a whole."""
    named = {"hunter2-hunter2": "[one]", "hunter2-hunter2-more": "[two]"}
    for secrets in (named, dict(reversed(named.items()))):
        assert hiding(secrets)("hunter2-hunter2-more, hunter2-hunter2") == "[two], [one]"


def test_a_missing_one_is_found_before_the_run_begins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which action needs it and where it was looked for; an action that is not allowed needs none."""
    monkeypatch.delenv("BANK_TOKEN", raising=False)
    with pytest.raises(
        TaskError, match="'send' needs this credential: the environment variable BANK_TOKEN is not set"
    ) as raised:
        world.solve(doing("send", to="ann"), actions=[send])
    assert raised.value.path == ("credentials", "BANK_TOKEN")
    assert world.journal.runs() == []
    assert world.solve(doing("look", at="x"), actions=[send, world.look], task={"actions": ["look"]}).status == "solved"


def test_one_that_goes_missing_during_a_run_is_not_performed(
    world: World, watcher: type[Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known that nothing happened."""
    monkeypatch.setenv("BANK_TOKEN", TOKEN)

    def unset(_: Any) -> Any:
        monkeypatch.delenv("BANK_TOKEN", raising=False)
        return watcher()._says  # noqa: SLF001 - what it says by default

    outcome = world.solve(doing("send", to="ann"), actions=[send], monitors=[watcher(unset)])
    assert outcome.actions[0].status == "failed"
    assert "BANK_TOKEN is missing" in outcome.answer


def test_where_it_is_found_is_said_by_name(
    world: World, watcher: type[Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another variable, or in a file, beside the task; two agents may have different ones."""
    monkeypatch.delenv("BANK_TOKEN", raising=False)
    monkeypatch.setenv("PROD_TOKEN", TOKEN)
    (world.folder / "token").write_text("\ufeff" + TOKEN + "\n", encoding="utf-8")  # as some editors write it
    for source in ({"env": "PROD_TOKEN"}, {"file": "token"}):
        given: dict[str, Any] = {"credentials": {"BANK_TOKEN": source}, "base": world.folder}
        outcome = world.solve(doing("send", to="ann"), actions=[send], monitors=[watcher()], **given)
        assert outcome.actions[0].status == "performed", outcome.reason


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (TOKEN, "never its value"),
        ({"vault": "x"}, "env: VARIABLE"),
        ({"env": ""}, "should be text"),
        ({"file": "nowhere"}, "nowhere cannot be read: No such file"),
        ({"file": "empty"}, "is empty"),
        ({"file": "binary"}, "binary cannot be read: it is not text"),
        ({"env": "PROD_TOKEN", "file": "empty"}, "env: VARIABLE"),
    ],
)
def test_a_source_that_is_none_is_said(world: World, source: Any, said: str) -> None:
    """The error says what is wrong, and does not repeat what may be the credential itself."""
    (world.folder / "empty").write_text("\n")
    (world.folder / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match=said) as raised:
        Scaffold(
            doing("send", to="ann"),
            actions=[send],
            monitors=[],
            journal=world.journal,
            credentials={"BANK_TOKEN": source},
            base=world.folder,
        ).check(Task(prompt="x"))
    assert TOKEN not in str(raised.value)


def test_without_a_base_a_file_is_looked_for_where_the_program_runs(
    world: World, watcher: type[Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is no task file has no folder of its own."""
    monkeypatch.delenv("BANK_TOKEN", raising=False)
    (world.folder / "token").write_text(TOKEN)
    monkeypatch.chdir(world.folder)
    given: dict[str, Any] = {"credentials": {"BANK_TOKEN": {"file": "token"}}}
    outcome = world.solve(doing("send", to="ann"), actions=[send], monitors=[watcher()], **given)
    assert outcome.actions[0].status == "performed", outcome.reason
