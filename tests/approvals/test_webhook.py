"""The webhook: what is sent, signed; which replies count; and that nothing is lost when it is down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.approvals.conftest import paying
from tests.core.conftest import Person

from scaffold import Task
from scaffold.approvals.reaching import Waits
from scaffold.approvals.webhook import Secret, Untrusted, Webhook, from_environment
from scaffold.errors import BadInput
from scaffold.interfaces import Answer
from scaffold.trace.witnesses import WebhookWitness

if TYPE_CHECKING:
    from tests.approvals.conftest import Office

SECRET = Secret.read("whsec_c2VjcmV0LW9mLXRoZS13ZWJob29r")
Reply = tuple[int, dict[str, str], bytes]


class Receiver:
    """A server that keeps what it is sent, and replies by script.

    Attributes:
        got: headers and body of each message.
        replies: gives status, headers and body for a message; 202 and nothing unless a test says otherwise.
    """

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.replies: Callable[[dict[str, Any]], Reply] = lambda _: (202, {}, b"")
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                status, headers, said = receiver.replies(json.loads(body))
                with contextlib.suppress(ConnectionError):  # who was kept waiting may have hung up
                    self.send_response(status)
                    for name, value in {**headers, "content-length": str(len(said))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on the loopback."""
    receiver = Receiver()
    serving = threading.Thread(target=receiver.server.serve_forever, args=(0.01,))
    serving.start()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()
    serving.join()


def answering(*, secret: Secret = SECRET, age: float = 0.0, **more: Any) -> Callable[[dict[str, Any]], Reply]:
    """Reply with a signed yes."""

    def reply(message: dict[str, Any]) -> Reply:
        asked = message["question"]
        said = Answer(**{"id": asked["id"], "digest": asked["digest"], "granted": True, "by": "cy", **more})
        body = msgspec.json.encode(said)
        return 200, secret.headers(asked["id"], body, time.time() - age), body

    return reply


def solve(office: Office, webhook: Webhook, *others: Any, **oversight: Any) -> Any:
    """Solve, with a webhook as the first approver."""
    task = Task.model_validate({"prompt": "x", "oversight": oversight})
    return office.agent(paying, approvers=[webhook, *others]).solve_sync(task)


def test_the_question_goes_out_signed(office: Office, receiver: Receiver) -> None:
    """The exact call, its digest, who may answer, until when and where; the run waits, and the message is sent once."""
    outcome = solve(office, Webhook(receiver.url, SECRET, answer_at="http://127.0.0.1:1/"), approvers=["ann"])
    assert outcome.status == "waiting"
    ((headers, body),) = receiver.got
    asked = office.asked(outcome)
    assert SECRET.check(headers, body) == asked["id"]
    message = json.loads(body)
    assert message["question"]["detail"]["calls"][0]["arguments"] == {"invoice": "i1", "cents": 100}
    assert {name: message["question"][name] for name in ("run", "digest", "approvers", "needs")} == {
        "run": outcome.run,
        "digest": asked["digest"],
        "approvers": ["ann"],
        "needs": 1,
    }
    assert message["answer"]["page"] == "http://127.0.0.1:1/"
    assert message["answer"]["command"] == f"scaffold approvals approve {outcome.run} {asked['id']}"


def test_a_question_that_was_taken_is_not_sent_again(office: Office, receiver: Receiver) -> None:
    """While the process goes on: whoever resumes the run before it is answered bothers nobody twice."""
    agent = office.agent(paying, approvers=[Webhook(receiver.url, SECRET)])
    outcome = agent.solve_sync(Task(prompt="x"))
    assert agent.resume_sync(outcome.run).status == "waiting"
    assert len(receiver.got) == 1


def test_no_proxy_may_name_networks(office: Office, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A webhook and a witness go round the proxy for the same servers as backends do."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "10.0.0.0/8,127.0.0.0/8")
    assert solve(office, Webhook(receiver.url, SECRET)).status == "waiting"
    assert len(receiver.got) == 1
    asyncio.run(WebhookWitness(receiver.url).keep("run", 1, "{}"))
    assert receiver.got[1][1] == b"{}"


def test_a_signed_reply_is_the_answer(office: Office, receiver: Receiver) -> None:
    """It is by whom the receiver says."""
    receiver.replies = answering(comment="by phone")
    outcome = solve(office, Webhook(receiver.url, SECRET))
    assert outcome.answer == "paid i1"
    (given,) = office.world.facts(outcome, "approval.given")
    assert (given["by"], given["comment"]) == ("cy", "by phone")


@pytest.mark.parametrize(
    "reply",
    [
        answering(secret=Secret(b"another secret!!")),
        answering(age=1000.0),
        answering(id="another"),
        answering(digest="0" * 64),
        answering(by="mallory"),
        lambda _: (200, {}, b'{"granted": true}'),
        lambda _: (200, SECRET.headers("x", b"yes"), b"yes"),
        answering(comment="x" * 100_000),
        lambda _: (302, {"location": "http://127.0.0.1:9/"}, b""),
        lambda _: (404, {}, b"no"),
    ],
    ids=["secret", "age", "id", "digest", "person", "unsigned", "no json", "large", "redirect", "absent"],
)
def test_a_reply_that_is_no_answer_counts_for_nothing(
    office: Office, receiver: Receiver, reply: Callable[[dict[str, Any]], Reply]
) -> None:
    """Forged, stale, for something else, by the wrong person, or babble: the question stays open."""
    receiver.replies = reply
    outcome = solve(office, Webhook(receiver.url, SECRET), approvers=["cy"])
    assert outcome.status == "waiting"
    assert office.world.done == []


def test_what_fails_is_tried_again_within_bounds(office: Office, receiver: Receiver) -> None:
    """A server that is busy gets the same message, under the same id, until it takes it."""
    replies: Iterator[Reply] = iter([(503, {}, b""), (429, {}, b"")])
    receiver.replies = lambda message: next(replies, None) or answering()(message)
    assert solve(office, Webhook(receiver.url, SECRET)).answer == "paid i1"
    assert len({body for _, body in receiver.got}) == 1
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    assert len(receiver.got) == 3


def test_a_question_is_sent_to_nobody_else(office: Office, receiver: Receiver) -> None:
    """Where the webhook says to ask elsewhere, nobody is: the question stays in the trace."""
    receiver.replies = lambda _: (307, {"location": receiver.url + "/elsewhere"}, b"")
    assert solve(office, Webhook(receiver.url, SECRET)).status == "waiting"
    assert len(receiver.got) == 1


def test_a_webhook_that_is_down_loses_nothing(office: Office) -> None:
    """The question stays in the trace, and is answered from elsewhere."""
    outcome = solve(office, Webhook("http://127.0.0.1:9/", SECRET, seconds=1.0, tries=2))
    assert outcome.status == "waiting"
    from scaffold.approvals.queue import waiting

    (each,) = waiting(office.journal, outcome.run)
    assert each.state == "open"
    office.world.answer(outcome)
    assert office.agent().resume_sync(outcome.run).answer == "paid i1"


def test_a_webhook_that_hangs_holds_nobody_up(office: Office, receiver: Receiver) -> None:
    """After its time the next approver is asked."""
    over = threading.Event()
    receiver.replies = lambda _: (202, {}, b"x" * over.wait(90))
    began = time.monotonic()
    outcome = solve(office, Webhook(receiver.url, SECRET, seconds=0.3))
    took = time.monotonic() - began
    over.set()
    assert outcome.status == "waiting"
    assert took < 60


def test_a_person_is_asked_while_a_webhook_hangs(office: Office, receiver: Receiver) -> None:
    """Who comes after it is asked at once, and their answer ends the wait for it."""
    over = threading.Event()
    receiver.replies = lambda _: (202, {}, b"x" * over.wait(90))
    people = Person("yes")
    began = time.monotonic()
    outcome = solve(office, Webhook(receiver.url, SECRET, seconds=90.0), people)
    took = time.monotonic() - began
    over.set()
    assert (outcome.answer, len(people.asked)) == ("paid i1", 1)
    assert took < 60


def test_an_answer_of_a_webhook_ends_the_wait_for_who_comes_after_it(office: Office, receiver: Receiver) -> None:
    """A signed reply counts while somebody else, who was asked meanwhile, says nothing."""
    receiver.replies = answering()
    assert solve(office, Webhook(receiver.url, SECRET), Waits()).answer == "paid i1"


def test_while_the_run_waits_an_answer_by_another_way_counts(office: Office, receiver: Receiver) -> None:
    """A webhook that has taken the question, and a run that stands by: the inbox has the answer."""

    def post_later(message: dict[str, Any]) -> Reply:
        asked = message["question"]
        said = Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann")
        (office.runs / asked["run"] / "inbox").mkdir(exist_ok=True)
        (office.runs / asked["run"] / "inbox" / f"{asked['id']}.json").write_bytes(msgspec.json.encode(said))
        return 202, {}, b""

    receiver.replies = post_later
    assert solve(office, Webhook(receiver.url, SECRET), Waits()).answer == "paid i1"
    assert len(receiver.got) == 1


@pytest.mark.parametrize("secret", ["", "short", "whsec_!!!"])
def test_without_a_good_secret_no_webhook_is_made(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """What cannot be signed is refused before the run."""
    monkeypatch.setenv("SCAFFOLD_WEBHOOK_URL", "https://example.com/hook")
    monkeypatch.setenv("SCAFFOLD_WEBHOOK_SECRET", secret)
    with pytest.raises(BadInput, match="SCAFFOLD_WEBHOOK_SECRET"):
        from_environment()


def test_an_address_that_is_none_is_refused() -> None:
    """Only http and https."""
    with pytest.raises(BadInput, match="not an http or https address"):
        Webhook("file:///etc/passwd", SECRET)


def test_signatures_are_those_of_the_specification() -> None:
    """The test vector of Standard Webhooks' own libraries is signed alike, and a changed body is not."""
    secret = Secret.read("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body, name = b'{"test": 2432232314}', "msg_p5jXN8AQM9LWM0D4loKWxJek"
    headers = secret.headers(name, body, 1614265330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert secret.check(headers, body, 1614265330) == name
    with pytest.raises(Untrusted):
        secret.check(headers, body + b" ", 1614265330)
