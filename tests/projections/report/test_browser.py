"""The report in headless Chromium: opened from a file, filtered, jumped through, by mouse and by keyboard alone."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browsing import CONTRAST, chromium, needs_chromium
from tests.core.conftest import Watcher
from tests.core.doing import doing
from tests.projections.report.conftest import HOSTILE, ODD, QUOTE, rewrite

from scaffold import Gate, Plan, Planned, Planning, Task, Verdict, act, propose, think
from scaffold.errors import ActionRefused
from scaffold.trace.chain import GENESIS, seal
from scaffold.vocabulary.review import Evidence

if TYPE_CHECKING:
    from pathlib import Path

    from tests.projections.report.conftest import Studio, Whole

pytestmark = needs_chromium
Open = Callable[..., Page]

_Made = TypeVar("_Made")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all; each page has a context of its own."""
    expect.set_options(timeout=30_000)  # on a machine that does much else
    with chromium() as browser:
        yield browser


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Open a file; whatever the page complains about, asks or fetches is a fault at the end of the test."""
    faults: list[str] = []
    contexts = []

    def open_(path: Path, fragment: str = "", **look: Any) -> Page:
        context = browser.new_context(**look)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda told: faults.append(told.text))
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.on("request", lambda asked: faults.extend([asked.url] if "report" not in asked.url else []))
        page.goto(path.as_uri() + fragment)
        page.locator("html[data-ready]").wait_for(state="attached")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert faults == []


def choose(page: Page, name: str) -> None:
    """Click a row of the list."""
    page.locator("#list .line", has=page.locator("b", has_text=name)).first.click()
    expect(page.locator("#detail h3")).to_contain_text(name)


def test_the_top_says_what_was_found_and_what_it_came_to(whole: Whole, opened: Open) -> None:
    """Integrity, the request, the answer, tokens, money, what was refused and saved, how much reasoning was read."""
    outcome = whole.outcome
    page = opened(whole.report.path)
    expect(page.locator("#integrity strong")).to_have_text("Verified")
    expect(page.locator("#integrity")).to_contain_text("shows damage, not forgery")
    expect(page.locator("#integrity")).to_contain_text("It does not show that the run was wise.")
    expect(page.locator("#status")).to_have_text("solved")
    expect(page.locator("#asked")).to_contain_text("All is well.")
    tiles = page.locator("#tiles").inner_text()
    assert f"{outcome.usage['model'].tokens + outcome.usage['oversight'].tokens}" in tiles
    assert "2 calls saved, worth $2.00" in tiles
    said = outcome.reasoning.sentence()
    expect(page.locator("#legibility")).to_contain_text(said[1:])


def test_a_step_stands_beside_its_verdicts_with_the_words_they_rest_on_marked(whole: Whole, opened: Open) -> None:
    """Reasoning, output and verdicts in three columns; evidence from elsewhere is a link; votes and discards below."""
    page = opened(whole.report.path, viewport={"width": 1360, "height": 900})
    choose(page, "understand")
    columns = page.locator("#detail .three > section")
    expect(columns.locator("h4")).to_have_text(["Reasoning", "Output", "Verdicts"])
    tops = [columns.nth(place).bounding_box() for place in range(3)]
    assert len({box["y"] for box in tops if box}) == 1
    expect(columns.nth(0).locator("mark")).to_have_text(QUOTE)
    expect(columns.nth(1).locator("mark")).to_have_text("i1")
    expect(columns.nth(2)).to_contain_text("careful says !")
    expect(columns.nth(2)).to_contain_text("deceit 0.80")
    expect(columns.nth(2)).to_contain_text("the check failed")
    page.locator("#detail summary", has_text="discarded").click()
    expect(page.locator("#detail")).to_contain_text("discarded because")
    columns.nth(2).locator("a.jump", has_text="event 1").click()
    expect(page.locator("#detail h3")).to_contain_text("run started")


def test_the_strip_has_a_cell_for_each_move_and_filters_and_jumps(whole: Whole, opened: Open) -> None:
    """A chip leaves only what it names; a cell, a number and the buttons go to the place; find looks into content."""
    page = opened(whole.report.path)
    expect(page.locator("#strip .cell")).to_have_count(9)
    expect(page.locator("#list .line")).to_have_count(12)
    page.locator("#chips .chip", has_text="block").click()
    expect(page.locator("#list .line")).to_have_count(1)
    expect(page.locator("#strip .cell:not(.dim)")).to_have_count(1)
    page.locator("#chips .chip", has_text="revise").click()
    expect(page.locator("#list .line")).to_have_count(2)
    for look in ("block", "revise"):
        page.locator("#chips .chip", has_text=look).click()
    page.locator("#strip .cell.escalate").click()
    expect(page.locator("#detail h3")).to_contain_text("pay")
    page.locator("#next").click()
    expect(page.locator("#detail h3")).to_contain_text("post")
    page.locator("#goto").fill("16")
    page.locator("#goto").press("Enter")
    expect(page.locator("#detail h3")).to_contain_text("plan of 2 actions")
    assert page.url.endswith("#e16")
    page.locator("#kind").select_option("step")
    expect(page.locator("#list .line")).to_have_count(3)
    page.locator("#kind").select_option("")
    page.locator("#find").fill("second ACCOUNT")  # stands in the reasoning of one step only
    expect(page.locator("#list .line")).to_have_count(1)
    expect(page.locator("#list .line")).to_contain_text("understand")


def test_a_refused_plan_is_drawn_with_what_was_refused(whole: Whole, opened: Open) -> None:
    """Its graph leads from thoughts to actions in their order, and what was refused says why."""
    page = opened(whole.report.path)
    plans = page.locator("#plans")
    expect(plans).to_contain_text("1 of 2: refused")
    expect(plans.locator("svg.dag .node.bad .name")).to_have_text("pay late")
    expect(plans.locator(".planned.bad")).to_contain_text("the invoice says 9.40")
    plans.locator("#plan-after").click()
    expect(plans).to_contain_text("2 of 2: allowed")
    boxes = {node.locator(".name").inner_html(): node.bounding_box() for node in plans.locator("svg .node").all()}
    assert list(boxes) == ["understand", "look seen", "pay paid"]
    seen, paid = boxes["look seen"], boxes["pay paid"]
    assert seen is not None
    assert paid is not None
    assert seen["x"] + seen["width"] < paid["x"]
    plans.locator("svg a.node", has_text="pay paid").click()
    expect(page.locator("#detail h3")).to_contain_text("pay")


def test_actions_stand_as_proposed_and_as_executed(whole: Whole, opened: Open) -> None:
    """Refused ones too, with who approved; the details say that the bytes are those that were reviewed."""
    page = opened(whole.report.path)
    lines = page.locator("#actions-list .line")
    expect(lines).to_have_count(4)
    expect(lines.nth(0)).to_contain_text("refused in its plan: the invoice says 9.40")
    expect(lines.nth(2)).to_contain_text("executed exactly as reviewed · approved by ann · $2.00")
    expect(lines.nth(3)).to_contain_text("refused, nothing happened")
    lines.nth(2).click()
    expect(page.locator("#detail")).to_contain_text("Exactly what was proposed and reviewed: the digests are equal.")
    expect(page.locator("#detail")).to_contain_text("Approved by ann")
    lines.nth(3).click()
    expect(page.locator("#detail")).to_contain_text("Refused (block): nothing happened.")


def test_votes_and_calibration_are_drawn(whole: Whole, opened: Open) -> None:
    """Agreement as columns, stated confidence against what was seen as points, with their figures in words."""
    page = opened(whole.report.path)
    plots = page.locator("#plots")
    expect(plots.locator("figure")).to_have_count(3)
    expect(plots.locator("figure", has_text="Brier")).to_contain_text("4 statements, 75.0 % right")
    expect(plots.locator("svg[aria-label^='Reliability of evaluate'] circle")).to_have_count(3)


def test_by_keyboard_alone(whole: Whole, opened: Open) -> None:
    """Tab reaches the strip, the list and the details; arrows, j, k, n, p, /, g, Enter and Esc do the rest."""
    page = opened(whole.report.path, "#e1")
    title = page.locator("#detail h3")
    expect(title).to_contain_text("run started")
    page.keyboard.press("j")
    expect(title).to_contain_text("understand")
    page.keyboard.press("n")
    expect(title).to_contain_text("evaluate")  # a check of it was not made
    page.keyboard.press("n")
    expect(title).to_contain_text("plan of 1 action")
    page.keyboard.press("p")
    page.keyboard.press("k")
    expect(title).to_contain_text("understand")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "strip":
            break
    page.keyboard.press("ArrowRight")
    expect(title).to_contain_text("evaluate")
    page.keyboard.press("End")
    expect(title).to_contain_text("answer")
    assert page.evaluate(_IS_ACTIVE, "strip") == "answer"
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    expect(title).to_contain_text("run started")
    page.keyboard.press("ArrowDown")
    assert "understand" in page.evaluate(_IS_ACTIVE, "list")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "list"
    page.keyboard.press("/")
    page.keyboard.type("jpost")  # letters in the field are no commands
    expect(page.locator("#find")).to_have_value("jpost")
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.type("34")
    page.keyboard.press("Enter")
    expect(title).to_contain_text("question")


_IS_ACTIVE = """(id) => {
    const box = document.getElementById(id);
    const chosen = document.getElementById(box.getAttribute('aria-activedescendant'));
    return document.activeElement === box && chosen.getAttribute('aria-selected') === 'true'
        ? chosen.title.match(/: ([a-z ]+),/)?.[1] || chosen.innerText : '';
}"""


def test_a_hostile_trace_runs_nothing(studio: Studio, opened: Open) -> None:
    """Markup wherever a trace can hold any makes no element, is shown as text, and turns nothing around."""
    page = opened(studio.report(studio.everything(HOSTILE).run).path)
    assert page.evaluate(_OPEN_ALL) == 12
    choose(page, "understand")
    text = page.locator("#detail").inner_text()
    assert "<img src=x onerror=\"document.title='owned'\">" in text
    assert "\\u{202e}gnihsihp" in text
    assert "\u202e" not in page.locator("body").inner_text()
    made = "main img, main script, main iframe, main object, #detail svg, main a[href^=javascript]"
    assert page.locator(made).count() == 0
    assert "owned" not in page.title()


def test_a_call_is_shown_as_it_was_made(studio: Studio, opened: Open) -> None:
    """A letter that passes for another, one that is not seen, and a number that browsers round."""
    planner = doing("pay", invoice="b\u043eb\u3164", cents=9007199254740993)
    page = opened(studio.report(studio.world.solve(planner, monitors=[Watcher()]).run).path)
    choose(page, "pay")
    expect(page.locator("#detail")).to_contain_text('"cents": 9007199254740993')
    expect(page.locator("#detail")).to_contain_text(r'"invoice": "b\u{43e}b\u{3164}"')


# Chooses each row in turn, and unfolds all that can be unfolded in it; gives how many rows there were.
_OPEN_ALL = """async () => {
    const until = async (said) => { while (!said()) await new Promise((later) => setTimeout(later, 5)); };
    const rows = document.querySelectorAll('#list .line').length;
    for (let place = 0; place < rows; place++) {
        at('detail').replaceChildren();
        document.querySelectorAll('#list .line')[place].click();
        await until(() => at('detail').querySelector('summary'));
        for (let left = 1; left;) {
            const folded = [...at('detail').querySelectorAll('details:not([open]) > summary')];
            left = folded.length;
            folded.forEach((summary) => summary.click());
            await new Promise((later) => setTimeout(later));
        }
        await until(() => at('detail').querySelector('.raw'));
    }
    return rows;
}"""


def test_if_markup_got_in_the_policy_would_stop_it(whole: Whole, browser: Browser, tmp_path: Path) -> None:
    """Elements put in on purpose, as if the page had forgotten to escape: scripts, handlers, pictures are refused."""
    evil = (
        "<script>document.title='owned'</script><img src='http://127.0.0.1:9/x' onerror=\"document.title='owned'\">"
        "<iframe src=\"javascript:parent.document.title='owned'\"></iframe><form action='http://127.0.0.1:9/'></form>"
    )
    (tmp_path / "report.html").write_text(whole.report.text.replace("<main>", "<main>" + evil))
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda told: refused.append(told.text))
    page.goto((tmp_path / "report.html").as_uri())
    page.locator("html[data-ready]").wait_for(state="attached")
    # Somebody with the console is not held by the policy; what is made from within the page is.
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.getElementById('detail').innerHTML = '<b>x</b>'")
    assert "owned" not in page.title()
    assert sum("Content Security Policy" in line for line in refused) >= 3
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_looks_after_the_readers_eyes(whole: Whole, opened: Open, scheme: Any) -> None:
    """Light and dark follow the system; text has a contrast of 4.5 and more; on a phone nothing is wider than it."""
    for width in (1360, 390):
        page = opened(whole.report.path, color_scheme=scheme, viewport={"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        choose(page, "understand")
        for place in _PLACES:
            assert page.evaluate(CONTRAST, place) >= 4.5, (place, scheme)
        folder = os.environ.get("SCAFFOLD_SCREENSHOTS")
        if folder:
            page.screenshot(path=f"{folder}/report-{scheme}-{width}.png", full_page=True)


_PLACES = (
    "#integrity p",
    "#integrity li",
    "#integrity strong",
    ".tile .faint",
    "#list .sub",
    "#list .seq",
    "#detail mark",
    "#detail .badge.flag",
    "#detail .badge.block",
    "#strip .cell.allow",
    "#strip .cell.escalate",
    "#strip .cell.block",
    "#strip .cell.revise",
    "#strip .cell.unread",
    "nav a",
    "caption",
    "#actions-list .sub",
)


def test_what_was_said_later_stands_beside_what_was_said_then(studio: Studio, opened: Open) -> None:
    """Below the old verdicts, with its words marked; it has a filter of its own, and a line in the table of reviews."""

    def says(subject: Any) -> Verdict:
        if subject.kind == "step" and QUOTE in subject.step.reasoning:
            quoted = (Evidence(quote="So it is i1", path="reasoning"),)
            return Verdict(decision="revise", rationale=f"seen too late {HOSTILE}", evidence=quoted)
        return Verdict(decision="allow")

    run = studio.everything().run
    review = studio.read_again(run, says)
    page = opened(studio.report(run).path)
    choose(page, "understand")
    column = page.locator("#detail .three > section").nth(2)
    expect(column.locator("p.later")).to_contain_text("Later review")
    expect(column.locator("p.later")).to_contain_text(review)
    said = [each.split(" says ")[0] for each in column.locator(".verdict .head").all_inner_texts()]
    assert (sorted(said[:2]), said[2:]) == (["broken", "careful"], ["later"])
    expect(column).to_contain_text("seen too late")
    expect(page.locator("#detail .three > section").nth(0).locator("mark")).to_have_count(2)
    page.locator("#chips .chip", has_text="objected to later").click()
    expect(page.locator("#count")).to_have_text("1 of 12")
    expect(page.locator("#list .line .sub")).to_contain_text("later: revise")
    expect(page.locator("#again tbody tr")).to_have_count(1)
    expect(page.locator("#again")).to_contain_text("the run up to event")
    page.locator("#chips .chip", has_text="objected to later").click()
    choose(page, "run ended")
    expect(page.locator("#detail")).to_contain_text("Later review")
    assert "owned" not in page.title()


# --- other runs


def test_a_run_without_content_says_what_is_withheld(studio: Studio, opened: Open) -> None:
    """Each move says that its content is not there; decisions and figures are."""
    outcome = studio.everything()
    (studio.runs / outcome.run / "content.jsonl").unlink()
    page = opened(studio.report(outcome.run).path)
    expect(page.locator("#asked")).to_contain_text("The prompt is withheld.")
    expect(page.locator("#integrity")).to_contain_text("is withheld")
    assert page.evaluate(_OPEN_ALL) == 12
    choose(page, "understand")
    expect(page.locator("#detail")).to_contain_text("The content is withheld")
    expect(page.locator("#detail .verdict")).to_have_count(2)


def test_a_run_that_was_cut_off_says_so(studio: Studio, opened: Open) -> None:
    """An action that was begun and has no outcome may have happened; the banner is no green one."""
    run = studio.everything().run
    spine = studio.runs / run / "trace.jsonl"
    lines = spine.read_text().splitlines(keepends=True)
    intent = max(place for place, line in enumerate(lines) if '"action.intent"' in line)
    spine.write_text("".join(lines[: intent + 1]))
    page = opened(studio.report(run).path)
    expect(page.locator("#integrity strong")).to_have_text("Cut off")
    expect(page.locator("#integrity")).to_have_class("banner warn")
    expect(page.locator("#status")).to_have_text("cut off")
    choose(page, "pay")
    expect(page.locator("#detail")).to_contain_text("No outcome is recorded: the action may have happened.")


def test_a_run_behind_a_gate_has_a_report(studio: Studio, opened: Open) -> None:
    """What another agent's model said, and what its tools did, is shown like any other."""

    async def host() -> str:
        gate = Gate(actions=[studio.world.pay], monitors=[Watcher(_blocks_much)], journal=studio.world.journal)
        async with gate.run(Task(prompt="Pay what is due")) as run:
            await run.think("Two invoices are due.", reasoning="They came by mail.")
            await run.act("pay", {"invoice": "i1"})
            with pytest.raises(ActionRefused):
                await run.act("pay", {"invoice": "i2", "cents": 9000})
            run.answer("one is paid")
        return run.outcome.run

    page = opened(studio.report(_elsewhere(lambda: asyncio.run(host()))).path)
    expect(page.locator("#status")).to_have_text("solved")
    expect(page.locator("#actions-count")).to_have_text("1 performed, 1 refused")
    page.locator("#list .line", has_text="Two invoices are due.").click()
    expect(page.locator("#detail")).to_contain_text("They came by mail.")


def _blocks_much(subject: Any) -> Verdict:
    much = any(call.arguments.get("cents", 0) > 500 for call in subject.plan)
    return Verdict(decision="block" if much else "allow", feedback="too much")


def _elsewhere(function: Callable[[], _Made]) -> _Made:
    """Run in a thread: the browser's driver has a loop of its own here."""
    with ThreadPoolExecutor() as executor:
        return executor.submit(function).result()


def test_a_paused_run_shows_what_it_waits_for(studio: Studio, opened: Open) -> None:
    """The action is open, and nobody has answered."""

    def paying(_: Task) -> Planning[str]:
        yield from act("pay", {"invoice": "i1"})
        return "paid"

    careful = Watcher(Verdict(decision="escalate", rationale="a person has to see it"))
    outcome = studio.world.solve(paying, monitors=[careful])
    assert outcome.status == "waiting"
    page = opened(studio.report(outcome.run).path)
    expect(page.locator("#status")).to_have_text("waiting")
    expect(page.locator("#integrity strong")).to_have_text("Verified")
    choose(page, "pay")
    expect(page.locator("#detail")).to_contain_text("Not answered")
    expect(page.locator("#detail")).to_contain_text("Not started.")
    expect(page.locator("#actions-list")).to_contain_text("not executed")
    expect(page.locator("#actions-list")).not_to_contain_text("no approval needed")


def test_large_numbers_stand_digit_by_digit(studio: Studio, opened: Open) -> None:
    """Where a browser's own numbers end, what was done is still told from what lies beside it."""

    def paying(_: Task) -> Planning[Any]:
        return (yield from act("pay", {"invoice": "i1", "cents": 9007199254740993})).value

    run = _elsewhere(lambda: studio.world.solve(paying, monitors=[Watcher()]).run)
    page = opened(studio.report(run).path)
    choose(page, "pay")
    text = page.locator("body").inner_text()
    assert "9007199254740993" in page.locator("#detail").inner_text()
    assert "9007199254740992" not in text


def test_a_long_run_is_windowed(studio: Studio, opened: Open) -> None:
    """Of thousands of moves only those in sight are in the document, wherever one jumps, in whichever block."""

    def long(_: Task) -> Planning[str]:
        for place in range(1_200):
            yield from think("solve", f"piece {place}")
        yield from propose(Plan([Planned("look", {"at": "the end"})]))
        return "done"

    bounds = {"budget": {"tokens": None, "seconds": None, "steps": None, "actions": None}}
    reader = Watcher(watches=frozenset({"step", "plan"}))
    report = studio.report(studio.world.solve(long, "a short answer", monitors=[reader], task=bounds).run)
    assert report.manifest["blocks"] > 3
    page = opened(report.path)
    assert page.evaluate("document.querySelectorAll('*').length") < 2_000
    page.locator("#goto").fill("3500")
    page.locator("#goto").press("Enter")
    page.locator("#list").scroll_into_view_if_needed()
    expect(page.locator("#list .line[aria-selected=true]")).to_be_in_viewport()
    expect(page.locator("#strip .cell[aria-selected=true]")).to_be_visible()
    page.locator("#list").press("End")
    expect(page.locator("#detail h3")).to_contain_text("run ended")
    page.locator("#find").fill("piece 1134")
    expect(page.locator("#list .line")).to_have_count(1)
    assert page.evaluate("document.querySelectorAll('*').length") < 2_000


def test_an_imported_run_is_never_called_reviewed(studio: Studio, opened: Open) -> None:
    """Somebody else's agent did it: the banner is no green one, and its actions are told as reported."""
    run = studio.everything().run
    folder = studio.runs / run
    mark, lines = GENESIS, []
    for line in (folder / "trace.jsonl").read_text().splitlines():
        event = json.loads(line)
        del event["hash"]
        if event["seq"] == 1:
            event["foreign"] = "spans <b>of</b> another"
        if event["kind"] in {"reviewed", "action.cleared", "approval.asked", "approval.given"}:
            event = {"kind": "noted", "seq": event["seq"], "at": event["at"], "t": event["t"]}
        sealed, mark = seal(mark, json.dumps(event, separators=(",", ":")).encode())
        lines.append(sealed + b"\n")
    (folder / "trace.jsonl").write_bytes(b"".join(lines))
    page = opened(studio.report(run).path)
    expect(page.locator("#integrity")).to_contain_text("imported from spans <b>of</b> another")
    expect(page.locator("#integrity")).not_to_have_class("banner good")
    expect(page.locator("#actions-list .line").nth(2)).to_contain_text("as reported by another agent")
    choose(page, "pay")
    expect(page.locator("#detail")).to_contain_text("not reviewed or cleared beforehand")
    assert "exactly" not in page.locator("#actions-list").inner_text().lower()


def test_a_row_is_chosen_though_the_list_is_drawn_anew_under_the_mouse(whole: Whole, opened: Open) -> None:
    """Between a button's press and its release the list may be drawn anew: what was pressed is chosen all the same."""
    page = opened(whole.report.path)
    row = page.locator("#list .line", has=page.locator("b", has_text="pay")).first
    row.scroll_into_view_if_needed()
    row.hover()
    page.mouse.down()
    page.evaluate("for (const line of document.querySelectorAll('#list .line')) line.replaceWith(line.cloneNode(true))")
    page.mouse.up()
    expect(page.locator("#detail h3")).to_contain_text("pay")
    assert page.evaluate("document.activeElement.id") == "list"  # where the arrows go on from there


def test_a_trace_of_any_shape_is_shown_as_recorded(studio: Studio, opened: Open) -> None:
    """Contents that hold anything but what they should break nothing: each row still shows its events."""
    run = studio.everything().run
    rewrite(studio.runs / run, lambda number, _: ODD[number % len(ODD)])
    page = opened(studio.report(run).path)
    assert page.evaluate(_OPEN_ALL) == 12


def test_a_file_that_was_copied_in_part_says_so(whole: Whole, opened: Open, tmp_path: Path) -> None:
    """The index stands first, so the list is there; what is missing is named instead of shown as nothing."""
    part, text = tmp_path / "report.html", whole.report.text
    part.write_text(text[: text.index('<p id="block-0"')])
    page = opened(part)
    expect(page.locator("#list .line")).to_have_count(12)
    expect(page.locator("#detail")).to_contain_text("this file has no block-0")
    expect(page.locator("#plan")).to_contain_text("this file has no block-0")
    part.write_text(text[: text.index('<p id="index-0"')])
    blank = page.context.new_page()
    blank.goto(part.as_uri())
    expect(blank.locator("#integrity")).to_contain_text("Unpacking the trace")
