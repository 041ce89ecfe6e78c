"""The page in a browser (headless Chromium), by keyboard alone."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect
from tests.approvals.conftest import paying, revising
from tests.browsing import CONTRAST, chromium, needs_chromium

from scaffold import Planning, Task, act, action
from scaffold.approvals.reaching import Waits
from scaffold.interfaces import Answer

if TYPE_CHECKING:
    from tests.approvals.conftest import Office, Serve

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all; each test has a context of its own."""
    with chromium() as browser:
        yield browser


def _is_a_fault(told: ConsoleMessage) -> bool:
    """Whether the browser complains; that a question is settled is told by a status, which it notes as well."""
    return told.type == "error" and "409" not in told.text


@pytest.fixture
def faults() -> list[str]:
    """What the browser complained about; nothing, at the end of each test."""
    return []


@pytest.fixture
def page(browser: Browser, faults: list[str]) -> Iterator[Page]:
    """A page whose every error and dialog counts as a fault."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda told: faults.extend([told.text] if _is_a_fault(told) else []))
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    yield page
    context.close()
    assert faults == []


def test_an_approval_by_keyboard_alone(office: Office, serve: Serve, page: Page) -> None:
    """With j to the question, a to approve, a comment, Enter; the run then goes on, and the page says so by itself."""
    outcome = office.wait()
    page.goto(serve("ann").addresses["ann"])
    expect(page.locator("#live")).to_have_text("live")
    assert "token" not in page.url
    page.locator("#list button").first.wait_for()
    page.keyboard.press("j")
    expect(page.locator("#detail h2")).to_have_text("pay")
    expect(page.locator("#detail")).to_contain_text('"invoice": "i1"')
    expect(page.locator("#list button[aria-current=true]")).to_be_focused()
    page.keyboard.press("a")
    expect(page.locator("#comment")).to_be_focused()
    page.keyboard.type("jada, looks right")
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_contain_text("Answered. The run uses the answer")
    expect(page.locator("#detail")).to_contain_text("ann: jada, looks right")
    assert office.agent().resume_sync(outcome.run).answer == "paid i1"
    expect(page.locator("#count")).to_have_text("nothing waiting")
    expect(page.locator("#detail")).to_contain_text("is already settled")


def test_what_waits_fills_the_window(office: Office, serve: Serve, page: Page) -> None:
    """Also before anything is chosen, the keys are told at the window's lower edge."""
    office.wait()
    page.goto(serve("ann").addresses["ann"])
    page.locator("#list button").first.wait_for()
    size, footer = page.viewport_size, page.locator("footer").bounding_box()
    assert size
    assert footer
    assert footer["y"] + footer["height"] == pytest.approx(size["height"], abs=1)
    assert footer["height"] < 60


def test_escape_approves_nothing_and_d_denies(office: Office, serve: Serve, page: Page) -> None:
    """Esc leaves everything as it was, typing in the search field approves nothing, and Tab reaches each button."""
    outcome = office.wait()
    page.goto(serve("ann").addresses["ann"])
    page.keyboard.press("a")  # nothing is shown yet
    page.locator("#list button").first.wait_for()
    page.keyboard.press("j")
    page.locator("#detail h2").wait_for()
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    expect(page.locator("#confirm")).not_to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("adpay")
    expect(page.locator("#list button")).to_have_count(0)
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")
    page.keyboard.press("Escape")
    expect(page.locator("#list button")).to_have_count(1)
    assert office.journal.inbox(outcome.run) == []
    page.locator("#list button").focus()
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Deny":
            break
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_contain_text("denied by")
    assert office.agent().resume_sync(outcome.run).answer.endswith("ann said no")


def test_an_answer_that_comes_late_does_not_replace_a_later_one(office: Office, serve: Serve, page: Page) -> None:
    """Whoever types faster than the server answers sees what was asked for last."""
    office.wait()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(lambda url: "find=none" in url, hold)
    page.goto(serve("ann").addresses["ann"])
    page.locator("#list button").first.wait_for()
    page.locator("#find").fill("none")
    page.locator("#find").fill("")
    expect(page.locator("#list button")).to_have_count(1)
    with page.expect_response(lambda response: "find=none" in response.url):
        held.pop().continue_()
    page.wait_for_timeout(300)
    assert page.locator("#list button").count() == 1


def test_a_hostile_trace_is_shown_as_text(office: Office, serve: Serve, page: Page) -> None:
    """Markup in calls, verdicts, evidence and thoughts runs nothing, makes no element, and hides nothing."""
    office.wait(revising)
    page.goto(serve("ann").addresses["ann"])
    page.locator("#list button").first.wait_for()
    page.keyboard.press("j")
    page.locator("#detail h2").wait_for()
    text = page.locator("#detail").inner_text()
    assert "<script>document.title='owned'</script>\\u{202e}gnihsihp" in text
    assert text.count("it is much; <img src=x") == 2  # why they are asked, and the verdict: no line of its own
    assert "our account <b>has changed</b>" in text
    page.locator("#detail summary").click() if page.locator("#detail summary").count() else None
    page.keyboard.press("a")
    expect(page.locator("#confirm-what")).to_contain_text("<script>")
    assert page.locator("#detail script, #detail img, #detail b b, #list img").count() == 0
    assert page.title() == "(1) Approvals"


def _transferring(arguments: dict[str, Any]) -> Any:
    """A planner that transfers once."""

    def planner(_: Task) -> Planning[Any]:
        return (yield from act("transfer", arguments)).value

    return planner


def _transfer() -> Any:
    """An action whose arguments may be anything, which says what it would do."""

    @action(effect="irreversible")
    def transfer(account: int, note: str = "", amount: float = 1.0) -> str:
        """Transfer an amount."""
        return f"{account} {note} {amount}"

    @transfer.previewer
    def foresee(account: int, note: str = "", amount: float = 1.0) -> Any:
        """Say what it would come to."""
        return {"balance": -account, "of": [note, amount]}

    return transfer


def test_what_is_shown_is_exactly_what_is_done(office: Office, serve: Serve, page: Page) -> None:
    """Numbers that a browser cannot hold stand digit by digit, previews beside their calls, look-alikes as such."""
    arguments = {"account": 9007199254740993, "note": "\u0440ayment\u00a0to Иван\u3164", "amount": 2.0}
    office.agent(_transferring(arguments), actions=[_transfer()]).solve_sync(Task(prompt="x"))
    page.goto(serve("ann").addresses["ann"])
    page.locator("#list button").first.wait_for()
    expect(page.locator("#list button")).to_contain_text("\\u{440}ayment\\u{a0}to Иван\\u{3164}")
    page.keyboard.press("j")
    page.locator("#detail h2").wait_for()
    call, would = page.locator("#detail pre.call").all_inner_texts()
    assert '"account": 9007199254740993,' in call
    assert '"amount": 2.0' in call
    assert "\\u{440}ayment\\u{a0}to Иван\\u{3164}" in call
    assert '"balance": -9007199254740993,' in would
    page.keyboard.press("a")
    expect(page.locator("#confirm-what")).to_contain_text('"account": 9007199254740993,')


def test_who_reads_stays_where_they_are(office: Office, serve: Serve, page: Page) -> None:
    """What others say appears; neither the place in a long call nor the button that is focused is lost."""
    planner = _transferring({"account": 1, "note": "long " * 3000})
    task = Task.model_validate({"prompt": "x", "oversight": {"needs": 2}})
    outcome = office.agent(planner, actions=[_transfer()]).solve_sync(task)
    page.set_viewport_size({"width": 1000, "height": 500})
    page.goto(serve("ann").addresses["ann"])
    page.locator("#list button").first.wait_for()
    page.keyboard.press("j")
    page.locator("#detail h2").wait_for()
    page.locator(".actions .no").focus()
    page.locator("#detail").evaluate("(detail) => { detail.scrollTop = 700; }")
    office.wait()
    expect(page.locator("#list button")).to_have_count(2)
    asked = office.asked(outcome)
    said = Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ben")
    with ThreadPoolExecutor() as elsewhere:  # the browser's driver has a loop of its own here
        elsewhere.submit(asyncio.run, office.journal.post(outcome.run, said)).result()
    expect(page.locator("#detail")).to_contain_text("approved by")
    assert page.locator("#detail").evaluate("(detail) => detail.scrollTop") == 700
    expect(page.locator(".actions .no")).to_be_focused()


def test_a_key_that_is_held_down_passes_over_nothing(office: Office, serve: Serve, page: Page) -> None:
    """At the end of one page of the list the next one comes, from its first row, however long it is in coming."""
    for _ in range(51):
        office.wait()
    page.goto(serve("ann").addresses["ann"])
    expect(page.locator("#list button")).to_have_count(50)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(lambda url: "from=50" in url or "from=100" in url, hold)
    for _ in range(53):
        page.keyboard.press("j")
    expect(page.locator("#list button").last).to_have_attribute("aria-current", "true")
    page.wait_for_timeout(300)
    assert len(held) == 1
    held.pop().continue_()
    expect(page.locator("#range")).to_have_text("51 to 51 of 51")
    expect(page.locator("#list button")).to_have_attribute("aria-current", "true")


def test_what_is_passed_over_is_not_read(office: Office, serve: Serve, page: Page) -> None:
    """However long a question is in coming: a key that is held down leaves nothing behind that has to be waited for."""
    for _ in range(20):
        office.wait()
    asked: list[Route] = []
    page.route("**/api/runs/**", lambda route: asked.append(route))  # noqa: PLW0108 - it looks at the signature
    page.goto(serve("ann").addresses["ann"])
    expect(page.locator("#list button")).to_have_count(20)
    for _ in range(20):
        page.keyboard.press("j")
    expect(page.locator("#list button").last).to_have_attribute("aria-current", "true")
    page.wait_for_timeout(300)
    assert len(asked) == 1
    with page.expect_request("**/api/runs/**") as then:
        asked.pop().continue_()
    assert then.value.url.endswith(str(page.locator("#list button").last.get_attribute("data-place")))
    while not asked:
        page.wait_for_timeout(20)
    asked.pop().continue_()
    expect(page.locator("#detail h2")).to_have_text("pay")


def test_a_page_whose_server_is_gone_says_so(office: Office, serve: Serve, page: Page, faults: list[str]) -> None:
    """In words, where the list is looked for; and so does one whose cookie is of another time."""
    office.wait()
    page.goto(serve("ann").addresses["ann"])
    expect(page.locator("#live")).to_have_text("live")
    page.route("**/api/queue*", lambda route: route.abort())
    page.locator("#find").fill("pay")
    expect(page.locator("#faults")).to_contain_text("is `scaffold approvals serve` still running?")
    expect(page.locator("#live")).to_have_text("not connected")
    page.unroute("**/api/queue*")
    page.context.clear_cookies()
    page.locator("#find").fill("")
    expect(page.locator("#faults")).to_contain_text("Open the address that `scaffold approvals serve` printed")
    assert {each for each in faults if "Failed to load resource" not in each} == set()
    faults.clear()


def test_a_plan_shows_what_is_other_than_before_and_is_approved_with_its_scope(
    office: Office, serve: Serve, page: Page
) -> None:
    """The difference stands line by line; with the box ticked, its calls are not asked about again."""
    outcome = office.wait(revising)
    page.goto(serve("ann").addresses["ann"])
    page.locator("#list button").first.wait_for()
    page.keyboard.press("j")
    expect(page.locator(".diff .gone").first).to_have_text('  "cents": 990,')
    expect(page.locator(".diff .added").first).to_have_text('  "cents": 940,')
    expect(page.locator(".verdict")).to_contain_text("careful says escalate, risk 0.80")
    page.keyboard.press("a")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_contain_text("Answered.")
    done = office.agent(revising).resume_sync(outcome.run)
    assert set(done.answer.values()) == {"performed"}


def test_a_run_that_waits_acts_at_once(office: Office, serve: Serve, page: Page) -> None:
    """The question appears by itself; once approved, the waiting run acts. How soon is in `test_approvals`."""
    page.goto(serve("ann").addresses["ann"])
    expect(page.locator("#detail")).to_contain_text("Nothing is waiting for a person.")
    outcomes: list[Any] = []
    agent = office.agent(paying, approvers=[Waits()])
    running = Thread(target=lambda: outcomes.append(agent.solve_sync(Task(prompt="x"))))
    running.start()
    page.locator("#list button").first.wait_for()
    page.keyboard.press("j")
    page.locator("#detail h2").wait_for()
    page.keyboard.press("a")
    with page.expect_response(lambda reply: reply.request.method == "POST"):
        page.keyboard.press("Enter")
    running.join(60)
    (outcome,) = outcomes
    assert outcome.answer == "paid i1"
    inbox = office.runs / outcome.run / "inbox"
    posted = max(each.stat().st_mtime for each in inbox.iterdir())
    (given,) = office.world.facts(outcome, "approval.given")
    assert given["at"] - posted < 5.0


def test_two_people_at_once_are_told_of_each_other(office: Office, serve: Serve, page: Page) -> None:
    """Who is second sees that it was answered, if they have it open, or is told when they confirm."""
    outcome = office.wait()
    page.goto(serve("ben").addresses["ben"])
    page.locator("#list button").first.wait_for()
    page.keyboard.press("j")
    page.locator("#detail h2").wait_for()
    asked = office.asked(outcome)
    said = Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann")
    with ThreadPoolExecutor() as elsewhere:  # the browser's driver has a loop of its own here
        elsewhere.submit(asyncio.run, office.journal.post(outcome.run, said)).result()
    expect(page.locator("#detail")).to_contain_text("Answered.")
    expect(page.locator("#detail .actions button")).to_have_count(0)
    page.keyboard.press("d")
    expect(page.locator("#confirm")).not_to_be_visible()


def test_what_is_typed_for_one_question_answers_no_other(office: Office, serve: Serve, page: Page) -> None:
    """Where somebody else has answered it meanwhile, the rest of a comment goes on to no other question."""
    outcome, other = office.wait(), office.wait()
    page.goto(serve("ben").addresses["ben"])
    expect(page.locator("#list button")).to_have_count(2)
    page.keyboard.press("j")
    page.locator("#detail h2").wait_for()
    page.keyboard.press("a")
    asked = office.asked(outcome)
    said = Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann")
    with ThreadPoolExecutor() as elsewhere:
        elsewhere.submit(asyncio.run, office.journal.post(outcome.run, said)).result()
        elsewhere.submit(office.agent().resume_sync, outcome.run).result()
    expect(page.locator("#list button")).to_have_count(1)
    expect(page.locator("#detail")).to_contain_text(re.compile("is already settled|waits no more"))
    page.keyboard.type("just as agreed", delay=100)
    expect(page.locator("#problem")).to_contain_text("is already settled")
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)
    assert list(office.journal.inbox(other.run)) == []
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("#detail h2")).to_have_text("pay")
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    expect(page.locator("#detail")).to_contain_text("Answered.")


def test_the_countdown_goes_on_and_ends_in_a_no(office: Office, serve: Serve, page: Page) -> None:
    """Seconds pass on the page, and in the end nothing can be approved there."""
    office.wait(approval_timeout_s=300)
    page.clock.install()
    page.goto(serve("ann").addresses["ann"])
    page.locator("#list button").first.wait_for()
    page.keyboard.press("j")
    expect(page.locator("#detail .soon")).to_have_text(re.compile(r"^[0-4]:\d\d left$"))
    page.clock.fast_forward(60_000)
    expect(page.locator("#detail .soon")).to_have_text(re.compile(r"^[0-3]:\d\d left$"))
    page.keyboard.press("a")
    page.clock.fast_forward(300_000)
    expect(page.locator("#detail")).to_contain_text("Expired, which means no.")
    expect(page.locator("#problem")).to_have_text("Expired, which means no.")
    expect(page.locator("#sure")).to_be_disabled()
    page.keyboard.press("Escape")
    assert page.locator("#detail .actions button").count() == 0


def test_another_site_cannot_use_an_open_page(office: Office, serve: Serve, page: Page) -> None:
    """A page of another origin in the same browser, cookie and all, can neither read the queue nor answer."""
    outcome = office.wait()
    served = serve("ann")
    page.goto(served.addresses["ann"])
    page.locator("#list button").wait_for()
    asked = office.asked(outcome)
    evil = page.context.new_page()
    evil.route("http://evil.example/", lambda route: route.fulfill(body="<h1>evil</h1>", content_type="text/html"))
    evil.goto("http://evil.example/")
    script = """async ([base, path, digest]) => {
        const tries = [
            fetch(base + '/api/queue', {credentials: 'include'}).then((reply) => reply.text()),
            fetch(base + path, {method: 'POST', credentials: 'include', mode: 'no-cors',
                headers: {'content-type': 'text/plain'}, body: JSON.stringify({digest, granted: true})}),
        ];
        return (await Promise.allSettled(tries)).map((each) => each.status + ' ' + (each.value || ''));
    }"""
    path = f"/api/runs/{outcome.run}/{asked['id']}"
    said = evil.evaluate(script, [served.base, path, asked["digest"]])
    assert said[0].startswith("rejected")
    assert office.journal.inbox(outcome.run) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_looks_after_the_persons_eyes(office: Office, serve: Serve, browser: Browser, scheme: Any) -> None:
    """Light and dark follow the system; text has a contrast of 4.5 and more; nothing is wider than the window."""
    office.wait(revising)
    address = serve("ann").addresses["ann"]
    for width in (1280, 480):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
        page = context.new_page()
        page.goto(address)
        page.locator("#list button").first.wait_for()
        page.keyboard.press("j")
        page.locator("#detail h2").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for place in (
            "#detail h2",
            ".kind",
            "#list .run",
            ".actions .yes",
            ".actions .no",
            ".diff .added",
            ".note, #count",
        ):
            assert page.evaluate(CONTRAST, place) >= 4.5, (place, scheme)
        folder = os.environ.get("SCAFFOLD_SCREENSHOTS")
        if folder:
            page.screenshot(path=f"{folder}/{scheme}-{width}.png")
        context.close()
