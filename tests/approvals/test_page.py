"""The page's server: who is let in, what it tells, which answers it takes."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from tests.approvals.conftest import revising

from scaffold import Plan, Planned, Planning, Task, act, ask, propose, think
from scaffold.approvals.queue import Queue
from scaffold.approvals.webhook import Secret
from scaffold.cli import main
from scaffold.errors import JournalFailed
from scaffold.interfaces import Answer
from scaffold.trace.files import FileJournal
from scaffold.trace.heads import new_key

if TYPE_CHECKING:
    from tests.approvals.conftest import Office, Serve, Served

    from scaffold.vocabulary.outcome import Outcome

SECRET = "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29r"


def path_of(office: Office, outcome: Outcome) -> str:
    """Where the page has a run's last question."""
    return f"/api/runs/{outcome.run}/{office.asked(outcome)['id']}"


def said(office: Office, outcome: Outcome, **more: Any) -> dict[str, Any]:
    """A yes to a run's last question, as a browser sends it."""
    return {"digest": office.asked(outcome)["digest"], "granted": True, **more}


def test_without_the_token_nothing_is_told(office: Office, serve: Serve) -> None:
    """No cookie, a made-up one or a made-up token get a sentence, and no answer is taken."""
    outcome = office.wait()
    page = serve("ann")
    place = path_of(office, outcome)
    with httpx.Client(base_url=page.base, headers={"origin": page.base}) as stranger:
        for way in ("/", "/page.js", "/api/queue", place, "/api/news", "/?token=guess", "/?token=", "/?token=%C3%A9"):
            reply = stranger.get(way)
            assert reply.status_code == 401, way
            assert "token" in reply.text
            assert outcome.run not in reply.text
        assert stranger.post(place, json=said(office, outcome)).status_code == 401
        port = page.base.rpartition(":")[2]
        guess = {"cookie": f"scaffold-approvals-{port}=guess"}
        assert stranger.get("/api/queue", headers=guess).status_code == 401
    assert office.journal.inbox(outcome.run) == []


def test_the_token_becomes_a_cookie_that_scripts_cannot_read(serve: Serve) -> None:
    """The first visit is sent on to the page without the token; the cookie stays with this site."""
    page = serve("ann")
    reply = httpx.get(page.addresses["ann"])
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert page.addresses["ann"].rpartition("=")[2].lower() not in cookie
    with page.client("ann") as client:
        opened = client.get("/")
    assert (opened.status_code, "<script" in opened.text) == (200, True)


def test_the_token_stands_in_no_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Who reads the logs of the process that serves the page is not let in by them."""
    caplog.set_level("DEBUG")
    page = serve("ann")
    with page.client("ann") as client:
        assert client.get("/").status_code == 200
    token = page.addresses["ann"].rpartition("=")[2]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("http")]  # the client's
    assert not any(token in said for said in ours)


ELSEWHERE: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"host": "evil.example"},
    {"host": "127.0.0.1"},
    {"host": "localhost.evil.example:80"},
]


def test_another_origin_gets_nowhere(office: Office, serve: Serve) -> None:
    """With the cookie, from another site or under another name (DNS rebinding), no answer is taken."""
    outcome = office.wait()
    with serve("ann").client("ann") as client:
        for headers in ELSEWHERE:
            reply = client.post(path_of(office, outcome), json=said(office, outcome), headers=headers)
            assert reply.status_code == (421 if "host" in headers else 403), headers
            assert client.get("/api/queue", headers=headers).status_code == reply.status_code, headers
        del client.headers["origin"]
        assert client.get("/api/queue").status_code == 200
        assert client.post(path_of(office, outcome), json=said(office, outcome)).status_code == 403
    assert office.journal.inbox(outcome.run) == []


def test_no_script_but_ours_may_run(serve: Serve) -> None:
    """Every reply forbids inline script, framing and leaving with a referrer."""
    with serve("ann").client("ann") as client:
        for way in ("/", "/page.js", "/api/queue", "/nowhere", "/api/runs/../x"):
            headers = client.get(way).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        text = client.get("/").text
        assert "<script>" not in text
        assert "onclick" not in text


def test_the_page_and_the_command_show_the_same_queue(
    office: Office, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over many runs, in the same order, with the same states."""
    for seconds in (300, 100, 200):
        office.wait(approval_timeout_s=seconds)
    with serve("ann").client("ann") as client:
        shown = client.get("/api/queue").json()["items"]
    capsys.readouterr()
    assert main(["approvals", "list", "--json", "--runs", str(office.runs)]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 3
    assert [(each["run"], each["id"], each["state"]) for each in shown] == [
        (each["run"], each["id"], each["state"]) for each in listed
    ]
    expiries = [each["expires"] for each in listed]
    assert expiries == sorted(expiries)


def test_a_question_is_found_by_all_that_it_asks(office: Office, serve: Serve) -> None:
    """By what stands deep in an argument, or in one of a plan's calls, and by the id that a message named."""

    def posting(_: Task) -> Planning[Any]:
        return (yield from act("post", {"text": "a long letter, " * 20 + "at last"}))

    plan, action = office.wait(revising), office.wait(posting)
    with serve("ann").client("ann") as client:

        def found(by: str) -> list[str]:
            said = client.get("/api/queue", params={"find": by}).json()
            return [each["run"] for each in said["items"]]

        assert found("invoice: i1") == found("CENTS: 940") == [plan.run]
        assert found("at last") == found(office.asked(action)["id"]) == [action.run]
        assert found("i2") == []


def test_the_list_says_what_each_question_is_and_who_has_a_say(office: Office, serve: Serve) -> None:
    """A call with its arguments, calls of a plan by their number, a fact by its words; who may answer, and who has."""

    def posting(_: Task) -> Planning[Any]:
        return (yield from act("post", {"text": "long " * 50}))

    def planning(_: Task) -> Planning[Any]:
        calls = [Planned("pay", {"invoice": f"i{number}"}) for number in range(3)]
        return (yield from propose(Plan([*calls, Planned("look", {"at": "acme"})])))

    def asking(_: Task) -> Planning[Any]:
        return (yield from ask("How many?", "the order", returns=int))

    paying = office.wait(approvers=["ann", "ben"], needs=2)
    plan, fact, long = office.wait(planning), office.wait(asking), office.wait(posting)
    page = serve("ann", "ben", "cy")

    def listed(person: str, start: str = "0") -> dict[str, Any]:
        with page.client(person) as client:
            items = client.get("/api/queue", params={"from": start}).json()["items"]
        return {each["run"]: each for each in items}

    items = listed("ann")
    assert items[paying.run]["what"] == "pay cents: 100, invoice: i1"
    assert items[plan.run]["what"] == "plan: 3 \u00d7 pay, look"
    assert items[fact.run]["what"] == "How many?"
    assert (items[long.run]["what"][:15], items[long.run]["what"][-1]) == ("post text: long", "\u2026")
    assert len(items[long.run]["what"]) == 160
    assert [listed(person)[paying.run]["may"] for person in ("ann", "ben", "cy")] == [True, True, False]
    assert [listed(person)[fact.run]["may"] for person in ("ann", "ben", "cy")] == [True] * 3
    with page.client("ann") as client:
        assert client.post(path_of(office, paying), json=said(office, paying)).status_code == 200
        (asked,) = office.world.facts(fact, "question.asked")
        path = f"/api/runs/{fact.run}/{asked['id']}"
        told = client.get(path).json()
        assert (told["kind"], told["signs"], told["wants_key"]) == ("question", False, False)
        assert json.loads(told["shown"]["about"]) == ["the order"]
        assert told["shown"]["form"] == "Answer with one whole number, and nothing else."
        answer = {"digest": told["digest"], "granted": True, "value": "7"}
        refused(client, path, {**answer, "value": "seven"}, 422, "not a whole number")
        assert client.post(path, json=answer).status_code == 200
        assert client.get("/nothing.js").status_code == 404
    assert [listed(person)[paying.run]["said"] for person in ("ann", "ben", "cy")] == [True, False, False]
    assert office.agent(asking).resume_sync(fact.run).answer == 7
    assert len(listed("ann", "1")) == 2
    for odd in ("x", "-1", "\u00b2", "1" * 20, ""):
        assert len(listed("ann", odd)) == 3, odd


def test_a_question_comes_with_what_led_to_it(office: Office, serve: Serve) -> None:
    """The exact calls, what is other than the plan before, verdicts with evidence, and the thoughts behind it."""
    plan, action = office.wait(revising), office.wait()
    with serve("ann").client("ann") as client:
        told = client.get(path_of(office, plan)).json()
        assert [each["arguments"].get("cents") for each in told["detail"]["calls"]] == [940, None]
        change = told["dossier"]["change"]
        assert change["since"] == "the previous plan"
        assert ["-", '  "cents": 990,'] in change["lines"]
        assert ["+", '  "cents": 940,'] in change["lines"]
        assert told["dossier"]["reason"] == "It is due."
        (verdict,) = told["dossier"]["verdicts"]
        assert (verdict["monitor"], verdict["decision"], verdict["score"]) == ("careful", "escalate", 0.8)
        assert verdict["evidence"][0]["quote"] == "our account <b>has changed</b>"
        (thought,) = client.get(path_of(office, action)).json()["dossier"]["thoughts"]
        assert thought["step"] == "understand"
        assert thought["text"].startswith("The account was changed.")


def test_an_approval_on_the_page_lets_the_run_go_on(office: Office, serve: Serve) -> None:
    """It is by the person whose token it was, and its comment is in the trace."""
    outcome = office.wait()
    with serve("ann", "ben").client("ben") as client:
        reply = client.post(path_of(office, outcome), json=said(office, outcome, comment="fine"))
        assert reply.json() == {"taken": True}
        assert client.get("/api/queue").json()["items"][0]["settled"]
    assert office.agent().resume_sync(outcome.run).answer == "paid i1"
    (given,) = office.world.facts(outcome, "approval.given")
    assert (given["granted"], given["by"], given["comment"]) == (True, "ben", "fine")


def refused(client: httpx.Client, path: str, body: Any, status: int, words: str) -> None:
    """An answer is refused, in words."""
    reply = client.post(path, json=body)
    assert (reply.status_code, words in reply.json()["error"]) == (status, True), reply.text


def test_an_answer_that_cannot_count_is_refused_in_words(office: Office, serve: Serve) -> None:
    """Given twice, for another call, of another kind, of no question, of no run."""
    outcome, other = office.wait(), office.wait()
    path, body = path_of(office, outcome), said(office, outcome)
    with serve("ann", "ben").client("ann") as client:
        refused(client, path, said(office, other), 409, "has changed since it was looked at")
        refused(client, path, {**body, "scope": True}, 422, "is not a plan")
        refused(client, path, {"granted": True}, 422, "is not an answer")
        refused(client, path, {**body, "by": "ben"}, 422, "is not an answer")
        refused(client, path, {**body, "comment": "x" * 70_000}, 422, "too long")
        refused(client, path[:-1] + "!", body, 404, "has no open question")
        refused(client, "/api/runs/none/" + path[-8:], body, 404, "there is no run")
        refused(client, "/api/runs/%2e%2e/" + path[-8:], body, 404, "there is no run")
        assert client.post(path, content=json.dumps(body)).status_code == 415
        assert office.journal.inbox(outcome.run) == []
        assert client.post(path, json=body).status_code == 200
        refused(client, path, body, 409, "was already answered by ann")
        office.agent().resume_sync(outcome.run)
        refused(client, path, body, 409, "is already settled")


def test_what_expires_while_it_is_looked_at_is_a_no(office: Office, serve: Serve) -> None:
    """An answer after the time is refused, and so is one after the run has ended."""
    outcome, ended = office.wait(approval_timeout_s=1.0), office.wait()
    name = office.asked(ended)
    with serve("ann").client("ann") as client:
        time.sleep(1.05)
        refused(client, path_of(office, outcome), said(office, outcome), 410, "which means no")
        assert main(["approvals", "approve", ended.run, name["id"], "--runs", str(office.runs)]) == 0
        assert main(["stop", ended.run, "--runs", str(office.runs)]) == 0
        assert office.agent().resume_sync(ended.run).status == "stopped"
        assert client.post(path_of(office, ended), json=said(office, ended)).status_code == 409
    assert office.agent().resume_sync(outcome.run).answer.endswith("nobody answered in time")
    assert office.world.done == []


def test_who_answers_is_told_how_the_run_goes_on(office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """A program goes on with its own runs, which no command can; one that stands by takes the answer in at once."""
    outcome, other = office.wait(), office.wait()
    approve = ["approvals", "approve", outcome.run, office.asked(outcome)["id"], "--runs", str(office.runs)]
    assert main(approve) == 0
    assert capsys.readouterr().out == f"approved; the program that started run {outcome.run} continues it\n"
    deny = ["approvals", "deny", other.run, office.asked(other)["id"], "--runs", str(office.runs)]

    async def deny_while_it_is_held() -> None:
        claim = await office.journal.claim(other.run, "test")
        assert await asyncio.to_thread(main, deny) == 0
        await office.journal.release(claim)

    asyncio.run(deny_while_it_is_held())
    assert capsys.readouterr().out == "denied; the process that runs it picks it up\n"


def test_of_two_people_at_once_one_is_told_of_the_other(office: Office, serve: Serve) -> None:
    """Ten times: one answer is taken, the other is refused and says who was first."""
    runs = [office.wait() for _ in range(10)]
    page = serve("ann", "ben")
    with (
        page.client("ann") as ann,
        page.client("ben") as ben,
        concurrent.futures.ThreadPoolExecutor(2) as both,
    ):
        for outcome in runs:
            path, body = path_of(office, outcome), said(office, outcome)
            replies = [each.result() for each in [both.submit(one.post, path, json=body) for one in (ann, ben)]]
            assert sorted(reply.status_code for reply in replies) == [200, 409]
            (by,) = (answer.by for answer in office.journal.inbox(outcome.run))
            assert f"already answered by {by}" in next(reply.text for reply in replies if reply.status_code == 409)


def test_the_wrong_person_is_refused_and_two_of_three_are_counted(office: Office, serve: Serve) -> None:
    """Who may approve is the task's to say; the first of two who have to leaves it open for the other."""
    outcome = office.wait(approvers=["ann", "ben", "cy"], needs=2)
    path, body = path_of(office, outcome), said(office, outcome)
    page = serve("ann", "ben", "mallory")
    with page.client("ann") as ann, page.client("ben") as ben, page.client("mallory") as mallory:
        refused(mallory, path, body, 403, "not among those who may approve: ann, ben, cy")
        assert not mallory.get(path).json()["may"]
        assert ann.post(path, json=body).status_code == 200
        assert ben.get(path).json()["state"] == "1 of 2 approved"
        refused(ann, path, body, 409, "2 people have to approve")
        assert ben.post(path, json=body).status_code == 200
    assert office.agent().resume_sync(outcome.run).answer == "paid i1"


def test_an_answer_is_signed_with_the_key_of_its_person(office: Office, serve: Serve) -> None:
    """Where the task names keys, a person without theirs is refused, and one with it approves."""
    folder = office.world.folder
    keys = {name: new_key(folder / name).verifier() for name in ("ann", "ben")}
    outcome = office.wait(approvers=keys)
    path, body = path_of(office, outcome), said(office, outcome)
    page = serve(f"ann={folder / 'ann'}", "ben")
    with page.client("ben") as ben, page.client("ann") as ann:
        refused(ben, path, body, 403, "not signed by the key of ben")
        assert ann.post(path, json=body).status_code == 200
    assert office.agent().resume_sync(outcome.run).answer == "paid i1"


# --- answers from whoever a webhook was sent to


def signed_answer(office: Office, outcome: Outcome, *, secret: str = SECRET, age: float = 0.0, **more: Any) -> Any:
    """A body with headers that sign it."""
    asked = office.asked(outcome)
    answer = Answer(**{"id": asked["id"], "digest": asked["digest"], "granted": True, "by": "cy", **more})
    body = msgspec.json.encode({"run": outcome.run, "answer": answer})
    return {"content": body, "headers": Secret.read(secret).headers(asked["id"], body, time.time() - age)}


def test_a_signed_answer_is_taken_without_a_cookie(office: Office, serve: Serve) -> None:
    """Whoever knows the webhook's secret may answer; replayed, it says that it was answered."""
    outcome = office.wait()
    page = serve("ann", SCAFFOLD_WEBHOOK_SECRET=SECRET)
    address, message = f"{page.base}/hook/answer", signed_answer(office, outcome)
    assert httpx.post(address, **message).json() == {"taken": True}
    again = httpx.post(address, **message)
    assert (again.status_code, "was already answered by cy" in again.text) == (409, True)
    assert office.agent().resume_sync(outcome.run).answer == "paid i1"
    replayed = httpx.post(address, **message)
    assert (replayed.status_code, "nothing is waiting" in replayed.text or "settled" in replayed.text) == (409, True)


def test_an_answer_that_cannot_be_kept_now_may_be_sent_again(office: Office, serve: Serve) -> None:
    """As with a full disk or a database that is away: with 503, by which senders of webhooks know that."""
    outcome = office.wait()
    page = serve("ann", SCAFFOLD_WEBHOOK_SECRET=SECRET)
    address, message = f"{page.base}/hook/answer", signed_answer(office, outcome)
    kept = office.runs.rename(office.runs.with_name("kept"))
    office.runs.symlink_to(office.runs)  # nobody can follow it
    reply = httpx.post(address, **message)
    said = f"cannot use {office.runs}: Too many levels of symbolic links"
    assert (reply.status_code, reply.json()["error"]) == (503, said)
    office.runs.unlink()
    kept.rename(office.runs)
    assert httpx.post(address, **message).json() == {"taken": True}


def test_a_forged_answer_is_not_taken(office: Office, serve: Serve) -> None:
    """Another secret, a changed body, an old signature, a browser's origin, or no secret here: nothing is taken."""
    outcome, other = office.wait(), office.wait()
    page = serve("ann", SCAFFOLD_WEBHOOK_SECRET=SECRET)
    address, good = f"{page.base}/hook/answer", signed_answer(office, outcome)
    forged = [
        signed_answer(office, outcome, secret="another secret, long enough"),
        signed_answer(office, outcome, age=600.0),
        signed_answer(office, outcome, age=-600.0),
        {**good, "content": good["content"].replace(b'"cy"', b'"me"')},
        {**good, "headers": {}},
        {**good, "headers": {**good["headers"], "origin": page.base}},
        {**good, "headers": {**good["headers"], "webhook-id": "another"}},
    ]
    for message in forged:
        assert httpx.post(address, **message).status_code == 403, message
    mixed = signed_answer(office, outcome, id=office.asked(other)["id"])
    assert httpx.post(address, **mixed).status_code == 422
    without = serve("ann", SCAFFOLD_WEBHOOK_SECRET="")
    assert httpx.post(f"{without.base}/hook/answer", **good).status_code == 403
    assert office.journal.inbox(outcome.run) == office.journal.inbox(other.run) == []


# --- serving


def test_a_damaged_trace_is_told_and_asks_nothing(office: Office, serve: Serve) -> None:
    """One altered run does not hide the others."""
    bad, good = office.wait(), office.wait()
    spine = office.runs / bad.run / "trace.jsonl"
    spine.write_bytes(spine.read_bytes().replace(b"approval.asked", b"approval.askeD"))
    with serve("ann").client("ann") as client:
        told = client.get("/api/queue").json()
    assert [each["run"] for each in told["items"]] == [good.run]
    assert "was altered" in told["faults"][bad.run]


def test_an_inbox_that_cannot_be_read_is_told(office: Office, serve: Serve) -> None:
    """Whoever opens or answers its question directly hears which file it is; the queue names the run."""
    outcome = office.wait()
    place, answer = path_of(office, outcome), said(office, outcome)
    inbox = office.runs / outcome.run / "inbox"
    inbox.write_text("no folder")
    with serve("ann").client("ann") as client:
        for reply in (client.get(place), client.post(place, json=answer)):
            assert (reply.status_code, reply.json()) == (503, {"error": f"{inbox}: Not a directory"})
        assert client.get("/api/queue").json()["faults"] == {outcome.run: "its inbox cannot be read: Not a directory"}


def test_runs_that_cannot_be_read_for_a_while_are_read_again(office: Office, serve: Serve) -> None:
    """Who has the page open is told that they cannot, and then of what waits."""
    office.wait()
    page = serve("ann")
    with page.client("ann") as client, page.client("ann") as looking, looking.stream("GET", "/api/news") as news:
        told = (line for line in news.iter_lines() if line.startswith("data:"))

        def until(name: str, value: object) -> None:
            """Load the queue at each change, as the browser does."""
            next(told)
            while client.get("/api/queue").json().get(name) != value:
                next(told)

        until("all", 1)
        kept = office.runs.rename(office.runs.with_name("kept"))
        office.runs.symlink_to(office.runs)  # nobody can follow it
        until("error", f"cannot use {office.runs}: Too many levels of symbolic links")
        office.runs.unlink()
        kept.rename(office.runs)
        until("all", 1)
        office.wait()
        until("all", 2)


class Breaks(FileJournal):
    """A folder that cannot be read any more once an answer is in it."""

    async def post(self, run: str, answer: Answer) -> None:
        """Put it there."""
        await super().post(run, answer)
        self.runs = self._away  # type: ignore[method-assign]  # as a database that stops then

    def _away(self) -> list[str]:
        raise JournalFailed("the database is away")


def test_an_answer_that_was_taken_is_told_as_such(office: Office, serve: Serve) -> None:
    """Though the list cannot be read afterwards: whoever is told an error takes their answer for lost."""
    outcome = office.wait()
    office.journal = Breaks(office.runs)
    with serve("ann").client("ann") as client:
        reply = client.post(path_of(office, outcome), json=said(office, outcome))
        assert (reply.status_code, reply.json()) == (200, {"taken": True})
        assert client.get("/api/queue").json() == {"error": "the database is away"}
    assert office.agent().resume_sync(outcome.run).answer == "paid i1"


def test_no_other_address_leads_to_the_page(serve: Serve) -> None:
    """It listens on one address of the loopback: another machine, and another of this one's addresses, meet nobody."""
    port = int(serve("ann").base.rpartition(":")[2])
    with pytest.raises(OSError):  # noqa: PT011 - which one is the machine's to say
        socket.create_connection(("127.0.0.2", port), 2)


def test_a_taken_port_is_a_clear_error(serve: Serve, office: Office, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the port."""
    page: Served = serve("ann")
    port = page.base.rpartition(":")[2]
    assert main(["approvals", "serve", "--port", port, "--runs", str(office.runs)]) == 2
    assert f"cannot listen on port {port}" in capsys.readouterr().err


def test_no_other_command_loads_a_server() -> None:
    """`import scaffold`, the help, and listing what waits import no web library."""
    code = (
        "import sys, scaffold\nfrom scaffold.cli import main\nmain(['--help'])\nmain(['approvals', '--help'])\n"
        "main(['approvals', 'list', '--runs', '/nowhere'])\n"
        "assert not {'starlette', 'uvicorn', 'anyio', 'httpx', 'tenacity'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_no_value_begins_a_line_of_its_own_in_what_is_other_than_before(office: Office, serve: Serve) -> None:
    """Each argument has one line, whatever separators of lines stand in it."""

    def planner(_: Task) -> Planning[None]:
        yield from propose(Plan([Planned("pay", {"invoice": "i1", "cents": 990})]))
        yield from propose(Plan([Planned("pay", {"invoice": 'i1\u2028  "cents": 1,\x85', "cents": 940})]))

    plan = office.wait(planner)
    with serve("ann").client("ann") as client:
        lines = client.get(path_of(office, plan)).json()["dossier"]["change"]["lines"]
    assert [line for mark, line in lines if mark == "+"] == [
        '  "cents": 940,',
        '  "invoice": "i1\u2028  \\"cents\\": 1,\x85"',
    ]


def thinking(_: Task) -> Planning[str]:
    """Think, and nothing else."""
    thought = yield from think("decide", "What now?")
    return str(thought.value)


def test_a_run_that_has_ended_is_looked_at_once(office: Office) -> None:
    """The page looks twice a second, and most runs have ended; a look at one of a database copies it."""
    looked_at: list[str] = []

    class Looked(FileJournal):
        def folder(self, run: str, *, brief: bool = False) -> Path:
            looked_at.append(run)
            return super().folder(run, brief=brief)

    ended = office.agent(thinking).solve_sync(Task(prompt="x")).run
    waits = office.wait().run
    queue = Queue(Looked(office.runs))
    assert [each.question.run for each in queue.waiting()] == [waits]
    assert ended in looked_at
    looked_at.clear()
    assert [each.question.run for each in queue.waiting()] == [waits]
    assert looked_at == [waits]  # for its size, and no more: it has not grown
