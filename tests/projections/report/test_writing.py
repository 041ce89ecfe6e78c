"""The report as a file: what stands in it, of which runs it can be written, and what happens where it cannot."""

from __future__ import annotations

import base64
import os
import re
import resource
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from tests.core.conftest import Watcher
from tests.projections.report.conftest import HOSTILE, ODD, QUOTE, rewrite

from scaffold import Planning, Task, Verdict, act, think
from scaffold.errors import BadInput
from scaffold.odds.run_calibration import RunCalibration
from scaffold.projections.report.page import write_report
from scaffold.projections.report.reading import Told
from scaffold.projections.report.rows import Rows
from scaffold.projections.report.summaries import worst_of
from scaffold.trace.chain import GENESIS, seal
from scaffold.trace.sealing import VARIABLE
from scaffold.trace.verify import verify_run
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.events import VerdictFact
from scaffold.vocabulary.review import Evidence

if TYPE_CHECKING:
    from tests.projections.report.conftest import Studio


def test_every_event_of_the_trace_is_in_it_with_its_content(studio: Studio) -> None:
    """Rows hold each event once, in order within its row, and content as it was recorded."""
    outcome = studio.everything()
    report = studio.report(outcome.run)
    story = studio.world.story(outcome)
    found = sorted((event["e"]["seq"], event) for row in report.rows() for event in row)
    assert [seq for seq, _ in found] == [event["seq"] for event in story.events]
    for seq, event in found:
        assert event["c"] == story.contents.get(seq), seq
        assert event["e"]["kind"] == story.events[seq - 1]["kind"]
    assert report.written.events == len(story.events)
    assert report.written.bytes == report.path.stat().st_size


def test_what_belongs_to_one_move_is_one_row(studio: Studio) -> None:
    """A step with its reviews, an action from its proposal to its outcome, a plan with its decision."""
    report = studio.report(studio.everything().run)
    shown = [(row[1], row[5], row[4]) for row in report.index() if row[1] in {"step", "plan", "action", "question"}]
    assert shown == [
        ("step", "answered", "flag"),
        ("step", "answered", "allow"),
        ("plan", "refused", "revise"),
        ("plan", "allowed", "allow"),
        ("action", "performed", "allow"),
        ("action", "performed", "escalate"),
        ("action", "refused", "block"),
        ("question", "answered", ""),
        ("step", "answered", "allow"),
    ]
    paid = next(row for row in report.index() if row[3].startswith("pay"))
    assert paid[14] == {
        "effect": "irreversible",
        "cost": 2.0,
        "people": ["ann"],
        "granted": True,
        "scope": False,
        "observed": False,
        "exact": True,
        "undoes": "",
    }
    refused = next(row for row in report.index() if row[1] == "plan" and row[5] == "refused")
    assert refused[14] == [["late", "pay  invoice: i1, cents: 990", "the invoice says 9.40"]]


def test_its_figures_are_those_of_the_run(studio: Studio) -> None:
    """Tokens of both ledgers, what was saved, actions, and how much of the reasoning was read."""
    outcome = studio.everything()
    told = studio.report(outcome.run).figures
    for ledger, usage in outcome.usage.items():
        said = told["ledgers"][ledger]["usage"]
        assert (said.get("input", 0), said.get("output", 0)) == (usage.input, usage.output), ledger
    assert told["saved"]["actions"] == outcome.saved["actions"] == 2
    assert told["saved"]["usd"] == outcome.saved["usd"] == 2.0
    assert told["actions"] == {"performed": 2, "refused": 1, "plans refused": 1, "refused in a plan": 1}
    assert told["reasoning"]["sentence"] == outcome.reasoning.sentence()
    assert told["reasoning"]["read"] == outcome.reasoning.as_json()["read"]
    assert told["approvals"] == {"asked": 1, "granted": 1}
    assert told["ledgers"]["model"]["discarded"] == 1
    (group,) = (group for _, step, _, _, group in told["groups"] if step == "understand")
    assert (group["steps"], group["voted"], group["agreement"][7]) == (1, 1, 1)
    assert told["monitors"]["broken"]["statuses"] == {"error": 3}
    (score,) = told["confidence"]
    assert (score["step"], score["count"], score["right"]) == ("evaluate", 4, 0.75)


def test_nothing_that_a_trace_says_stands_in_its_markup(studio: Studio) -> None:
    """Words of the run are in packed data only; the markup and the scripts are the same whatever happened."""
    plain = studio.report(studio.everything().run)
    hostile = studio.report(studio.everything(HOSTILE).run, "hostile.html")
    packed = re.compile(r'<p id="[a-z]+-\d+">[A-Za-z0-9+/=]*</p>\n')
    run = plain.manifest["run"], hostile.manifest["run"]
    assert packed.sub("", plain.text).replace(run[0], "") == packed.sub("", hostile.text).replace(run[1], "")
    assert "owned" not in hostile.text


def test_the_policy_lets_its_own_scripts_run_and_nothing_else(studio: Studio) -> None:
    """Each script and style has its hash in the policy, which allows no source, no address, no form."""
    text = studio.report(studio.everything().run).text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    hashes = rules.pop("script-src").split() + rules.pop("style-src").split()
    assert rules == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert all(re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", each) for each in hashes)
    assert len(hashes) == len(re.findall(r"<script>|<style>", text))
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[a-z0-9-]+\.[a-z]", text.partition("<body>")[0])
    assert not re.search(r"""(?:src|href)=["'](?!#)""", text)


def test_only_its_owner_may_read_it(studio: Studio) -> None:
    """It holds what the trace holds."""
    report = studio.report(studio.everything().run)
    assert stat.S_IMODE(report.path.stat().st_mode) == 0o600


def test_the_same_trace_gives_the_same_file(studio: Studio) -> None:
    """Nothing of the moment or the machine gets in."""
    run = studio.everything().run
    assert studio.report(run, "one.html").text == studio.report(run, "two.html").text


# --- runs that are not whole


def test_without_content_none_of_it_is_in_the_file(studio: Studio) -> None:
    """`--no-content` leaves out every word; the verdicts that the spine keeps are still there."""
    outcome = studio.everything("a word of mouth")
    report = studio.report(outcome.run, content=False)
    parts = [report.part("manifest-0"), *(report.part(f"block-{n}") for n in range(report.manifest["blocks"]))]
    parts += [report.part(f"index-{n}") for n in range(report.manifest["indexes"])]
    for word in ("word of mouth", QUOTE, "9.40", "It is late", "Which invoice"):
        assert all(word not in part for part in parts), word
    assert [row[4] for row in report.index() if row[1] == "plan"] == ["revise", "allow"]
    assert report.figures["reasoning"]["sentence"] == outcome.reasoning.sentence()


def test_of_a_run_without_its_content_the_spine_is_shown(studio: Studio) -> None:
    """Content that was deleted is called withheld, and the run is still verified."""
    run = studio.everything().run
    (studio.runs / run / "content.jsonl").unlink()
    report = studio.report(run)
    assert report.manifest["verification"]["ok"] is True
    kept = {event["k"] for row in report.rows() for event in row}
    assert kept == {"none", "withheld"}
    assert all("w" in row[6] for row in report.index() if row[1] in {"step", "plan", "action"})


def test_an_altered_content_is_left_out_and_the_rest_shown(studio: Studio) -> None:
    """One word changed in the content: that event says so, all others stand, and the banner says it too."""
    run = studio.everything().run
    path = studio.runs / run / "content.jsonl"
    path.write_text(path.read_text().replace("the amount is wrong", "the amount is right"))
    report = studio.report(run)
    assert report.manifest["verification"]["state"] == "content altered"
    altered = [event["e"]["kind"] for row in report.rows() for event in row if event["k"] == "altered"]
    assert altered == ["reviewed"]
    assert "the amount is right" not in "".join(report.part(f"block-{n}") for n in range(report.manifest["blocks"]))
    assert report.manifest["stopped"] == ""


def test_an_altered_spine_is_shown_up_to_the_place(studio: Studio) -> None:
    """Nothing after the altered line is believed, and the report says so."""
    run = studio.everything().run
    path = studio.runs / run / "trace.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[9] = lines[9].replace(b'"kind":"', b'"kind": "')
    path.write_bytes(b"".join(lines))
    report = studio.report(run)
    assert report.manifest["verification"]["state"] == "altered"
    assert (report.manifest["events"], report.written.events) == (9, 9)
    assert "line 10 of the trace" in report.manifest["stopped"]


def test_a_trace_of_a_newer_version_is_shown_as_far_as_it_is_known(studio: Studio) -> None:
    """A kind of event that this version does not know ends what is shown, with the reason."""
    run = studio.everything().run
    path = studio.runs / run / "trace.jsonl"
    mark = GENESIS
    lines = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        body = line[: line.rindex(b',"hash"')] + b"}"
        if number == 8:
            body = re.sub(rb'"kind":"[a-z.]+"', b'"kind":"thought.read"', body, count=1)
        sealed, mark = seal(mark, body)
        lines.append(sealed + b"\n")
    path.write_bytes(b"".join(lines))
    report = studio.report(run)
    assert report.manifest["verification"]["state"] == "newer format"
    assert report.manifest["events"] == 7
    assert "does not know" in report.manifest["stopped"]


@pytest.mark.parametrize("events", [1, 2, 5, 11, 23])
def test_a_run_that_was_cut_off_anywhere_has_a_report(studio: Studio, events: int) -> None:
    """What was under way is shown as open, and the run as cut off."""
    run = studio.everything().run
    path = studio.runs / run / "trace.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:events]) + b'{"kind":"torn')
    report = studio.report(run)
    assert report.manifest["verification"]["ok"] is False
    assert report.manifest["frame"]["status"] == ""
    assert report.manifest["events"] == events
    assert sum(len(row[0]) for row in report.index()) == events


def test_an_empty_trace_has_a_report(studio: Studio) -> None:
    """There is nothing to show, and it says so."""
    run = studio.everything().run
    (studio.runs / run / "trace.jsonl").write_bytes(b"")
    report = studio.report(run)
    assert (report.manifest["events"], report.index()) == (0, [])


def test_content_of_no_shape_we_know_breaks_nothing(studio: Studio) -> None:
    """Whoever can write the folder can write any JSON: the report is still made."""
    run = studio.everything().run
    spine = studio.runs / run / "trace.jsonl"
    rewrite(studio.runs / run, lambda number, _: ODD[number % len(ODD)])
    assert spine.is_file()
    report = studio.report(run)
    assert report.manifest["verification"]["state"] == "verified"
    assert report.manifest["stopped"] == ""


# --- where it cannot be written


def test_a_place_that_cannot_be_written_is_named(studio: Studio) -> None:
    """A folder in its place, a folder that is not there, a full disk: what is wrong, in words."""
    run = studio.everything().run
    with pytest.raises(BadInput, match="is a folder: name a file"):
        studio.report(run, ".")
    with pytest.raises(BadInput, match=r"cannot write .*No such file"):
        studio.report(run, "nowhere/report.html")
    if os.path.exists("/dev/full"):  # noqa: PTH110 - a device, not a path of ours
        with pytest.raises(BadInput, match="No space left"):
            studio.report(run, "/dev/full")


def test_a_report_that_fails_leaves_the_old_one(studio: Studio) -> None:
    """It takes its name once it is whole, and leaves nothing behind where there is no room for it."""
    run = studio.everything().run
    (studio.folder / "report.html").write_text("the old one")
    before = sorted(studio.folder.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(BadInput, match="File too large"):
            studio.report(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (studio.folder / "report.html").read_text() == "the old one"
    assert sorted(studio.folder.iterdir()) == before


def test_what_was_said_while_monitors_only_observed_is_shown(studio: Studio) -> None:
    """The action was performed, and that a monitor would have blocked it is what its row shows."""

    def paying(_: Task) -> Planning[str]:
        yield from act("pay", {"invoice": "i1"})
        return "paid"

    against = Watcher(Verdict(decision="block", rationale="never"))
    outcome = studio.world.solve(paying, monitors=[against], observe=True)
    report = studio.report(outcome.run)
    (paid,) = (row for row in report.index() if row[1] == "action")
    assert (paid[4], paid[5], paid[14]["observed"]) == ("block", "performed", True)
    assert report.figures["actions"] == {"performed": 1, "cleared while monitors only observed": 1}


def test_encrypted_content_is_shown_to_whoever_has_the_key(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, it is withheld, and the spine is shown all the same."""
    monkeypatch.setenv(VARIABLE, base64.b64encode(bytes(range(32))).decode())
    run = studio.everything().run
    assert {event["k"] for row in studio.report(run).rows() for event in row} == {"none", "here"}
    monkeypatch.delenv(VARIABLE)
    report = studio.report(run)
    assert {event["k"] for row in report.rows() for event in row} == {"none", "withheld"}
    assert report.manifest["stopped"] == ""


def objecting(subject: Any) -> Verdict:
    """Flags steps that hide something, blocks what is paid, and has nothing against the rest."""
    if subject.kind == "step" and QUOTE in subject.step.reasoning:
        return Verdict(decision="flag", rationale="seen too late", evidence=(Evidence(quote=QUOTE),))
    paid = subject.kind == "action" and subject.plan[0].action == "pay"
    return Verdict(decision="block" if paid else "allow", rationale="never" if paid else "")


def test_what_a_later_review_said_is_in_it(studio: Studio) -> None:
    """Each thing that was read again has a line that says where its verdicts are; other runs' reviews are left out."""
    run, other = studio.everything().run, studio.everything().run
    inside = studio.read_again(run, objecting)
    studio.read_again(other, objecting, out="elsewhere")
    outside = studio.read_again(run, Verdict(decision="allow"), out="elsewhere")
    assert [each["id"] for each in studio.report(run).manifest["reviews"]] == [inside]
    report = studio.report(run, reviews=[studio.folder / "elsewhere"])
    told = report.manifest["reviews"]
    assert {each["id"]: each["objections"] for each in told} == {inside: 2, outside: 0}
    assert all(each["same"] and each["ended"] and each["verdicts"] > 8 and not each["stopped"] for each in told)
    number = next(place for place, each in enumerate(told) if each["id"] == inside)
    late = [line for line in report.later() if line[0] == number and line[4] != "allow"]
    assert [(line[1], line[4]) for line in late] == [("step", "flag"), ("action", "block")]
    keys = {row[2] for row in report.index()}
    assert all(line[2] in keys for line in late)
    (event,) = report.line(late[0])
    assert event["c"]["verdicts"][0]["rationale"] == "seen too late"
    hidden = studio.report(run, content=False)
    assert "seen too late" not in "".join(hidden.part(f"block-{n}") for n in range(hidden.manifest["blocks"]))


def test_a_review_that_is_not_of_this_run_as_it_is_says_so(studio: Studio) -> None:
    """Of a run that was changed since, of a review that was altered, of one whose content is gone."""
    run = studio.everything().run
    review = studio.read_again(run, objecting)
    folder = studio.runs / run / "reviews" / review
    spine = (folder / "trace.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "trace.jsonl").write_bytes(b"".join([*spine[:4], spine[4].replace(b"allow", b"block"), *spine[5:]]))
    (told,) = studio.report(run).manifest["reviews"]
    assert (told["ended"], "line 5 of the trace" in told["stopped"], told["verdicts"]) == (False, True, 3)
    (folder / "trace.jsonl").write_bytes(b"".join(spine))
    (folder / "content.jsonl").unlink()
    (told,) = studio.report(run).manifest["reviews"]
    assert (told["same"], told["ended"], told["verdicts"] > 8) == (False, True, True)
    review = studio.read_again(run, objecting)
    rewrite(studio.runs / run, lambda _, body: {**body, "more": 1} if "samples" in body else body)
    (told,) = (each for each in studio.report(run).manifest["reviews"] if each["id"] == review)
    assert told["same"] is False


def test_reviews_of_another_run_are_rows_of_their_own() -> None:
    """What `audit review` keeps is a run whose reviews stand alone: each has a cell, with the strictest said of it."""
    told = Told(
        ev.Reviewed(
            seq=2, key="3", subject="plan", digest="d", decision="allow", verdicts=(VerdictFact("m", "block"),)
        ),
        {},
        "none",
    )
    (row,) = Rows().take(told)
    assert (row.kind, worst_of(row)) == ("review", "block")


def test_a_step_that_died_with_its_process_is_charged_as_the_run_charges_it(studio: Studio) -> None:
    """Cut off while a step was asked and resumed: tokens are those of the run's own ledger."""

    def thinking(_: Task) -> Planning[str]:
        for place in range(3):
            yield from think("solve", f"piece {place}")
        return "done"

    agent = studio.world.agent(thinking, "an answer of five words")
    run = agent.solve_sync(Task(prompt="x")).run
    spine = studio.runs / run / "trace.jsonl"
    lines = spine.read_bytes().splitlines(keepends=True)
    second = [place for place, line in enumerate(lines) if b'"step.asked"' in line][1]
    spine.write_bytes(b"".join(lines[: second + 1]))
    outcome = studio.world.agent(thinking, "an answer of five words").resume_sync(run)
    told = studio.report(run).figures["ledgers"]["model"]
    assert (told["steps"], told["open"]) == (4, 1)
    assert told["usage"]["input"] + told["usage"]["output"] == outcome.usage["model"].tokens


def test_a_link_stays_a_link_and_a_pipe_is_written_to(studio: Studio) -> None:
    """What has the name already is not replaced by a file where it is no file."""
    run = studio.everything().run
    (studio.folder / "linked.html").symlink_to("report.html")
    text = studio.report(run, "linked.html").text
    assert (studio.folder / "linked.html").is_symlink()
    assert (studio.folder / "report.html").read_text() == text
    pipe = studio.folder / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as executor:
        read = executor.submit(pipe.read_text)
        write_report(studio.runs / run, pipe, verify_run(studio.runs / run), confidences=RunCalibration())
        assert read.result() == text
    assert pipe.is_fifo()
