"""What is measured of a task's steps, and what follows: against runs whose odds are known."""

from __future__ import annotations

import json
import random
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from scaffold import Options, Planning, Scaffold, Task, Thought, ahead_by, majority, think, together
from scaffold.cli import cli
from scaffold.errors import BackendUnavailable, TraceDamaged
from scaffold.odds.estimate import estimate
from scaffold.odds.measured import Measured, key_of
from scaffold.testing import Scripted
from scaffold.testing.tampering import place_of, sealed_anew
from scaffold.trace.files import FileJournal
from scaffold.vocabulary.models import Prices, Profile

if TYPE_CHECKING:
    from pathlib import Path

    from scaffold.odds.estimate import Estimate, StepOdds
    from scaffold.vocabulary.models import Request
    from scaffold.vocabulary.sampling import Sampling

QUESTIONS = 40


def asking(policy: Sampling, questions: int = QUESTIONS) -> Any:
    """A planner that asks so many questions side by side."""

    def planner(_: Task) -> Planning[list[int]]:
        thoughts: tuple[Thought[int], ...] = yield from together(
            *(
                think("solve", f"question {number}.", returns=int, sampling=policy, options=Options(max_tokens=4))
                for number in range(questions)
            )
        )
        return [thought.value for thought in thoughts]

    return planner


def number_in(request: Request) -> int:
    """Which question is asked."""
    return int(request.messages[-1].content.split("question ")[1].split(".")[0])


def erring(share: float, seed: str, *, stubborn: int = 0) -> Scripted:
    """A model that says the question's number with a probability, else one wrong answer; some it always gets wrong."""
    dice = random.Random(seed)

    def say(request: Request) -> str:
        number = number_in(request)
        right = number >= stubborn and dice.random() < share
        return str(number if right else -1)

    return Scripted(say)


def run(folder: Path, planner: Any, backend: Scripted, **more: Any) -> Path:
    """Solve once, and give the folder of the run."""
    agent = Scaffold(planner, backends={"default": backend}, monitors=(), journal=FileJournal(folder), **more)
    outcome = agent.solve_sync(Task.model_validate({"prompt": "x", "budget": {"tokens": None}}))
    return folder / outcome.run


def only(found: Estimate) -> StepOdds:
    """The one kind of step there is."""
    (step,) = found.steps
    return step


def test_the_share_of_right_samples_is_found_by_a_key(tmp_path: Path) -> None:
    """Held against a run that is right, the error rate of samples is what the model has, within its interval."""
    key = key_of(run(tmp_path, asking(majority(1)), erring(1.0, "key")))
    tried = run(tmp_path, asking(majority(3)), erring(0.8, "try"), oversample=8)
    step = only(estimate(Measured().read([tried]), wanted=0.95, key=key))
    assert (step.measured, step.samples, step.prompts, step.steps) == ("key", 8 * QUESTIONS, QUESTIONS, QUESTIONS)
    assert step.right.low <= 0.8 <= step.right.high
    assert step.right.high - step.right.low < 0.12
    assert step.correlation < 0.1


@pytest.mark.parametrize("gone", [False, True])
def test_samples_that_a_backend_never_gave_fail_no_step_and_count_for_nothing(tmp_path: Path, *, gone: bool) -> None:
    """What was to be drawn for measuring alone may break off: the vote stands, and nobody takes it for a refusal."""
    script = Scripted(["yes", "no", "yes", *([BackendUnavailable("gone")] * 5 if gone else [])])

    def planner(task: Task) -> Planning[str]:
        return (yield from think("solve", task.request, sampling=majority(3))).value

    tried = run(tmp_path, planner, script, oversample=8)
    measured = Measured().read([tried])
    assert [each.status for each in measured.runs] == ["solved"]
    step = only(estimate(measured, wanted=0.95))
    assert (step.samples, step.accepted) == (3, 1.0)
    assert step.right.value == pytest.approx(2 / 3)


@pytest.mark.parametrize("shares", [True, False])
def test_what_a_run_takes_is_told_from_tries_with_other_numbers_of_samples(tmp_path: Path, *, shares: bool) -> None:
    """Eight samples that share a prompt do not make three of them cheaper than they are; tokens and money agree."""
    prices = Prices(3.0, 15.0)
    profile = Profile(
        backend="scripted",
        model="scripted",
        context=10_000,
        prices=prices,
        reasoning="full",
        can=frozenset({"n"}) if shares else frozenset(),
    )
    backend = Scripted(lambda request: str(number_in(request)), profile=profile)
    planner = asking(ahead_by(3), 5)
    sharing = {("scripted", "scripted"): prices} if shares else {}
    tried = run(tmp_path, planner, backend, oversample=8)
    found = estimate(Measured().read([tried]), wanted=0.95, sharing=sharing).as_it_is
    (taken,) = Measured().read([run(tmp_path, planner, backend)]).runs
    assert found.samples == taken.samples
    assert found.tokens == pytest.approx(taken.tokens)
    assert found.usd == pytest.approx(taken.usd)


def test_runs_that_were_not_solved_are_told(tmp_path: Path) -> None:
    """A run that fails early does not show all that a whole one takes, and the estimate says so."""
    tried = run(tmp_path, asking(majority(3), 2), erring(1.0, "sure"), oversample=3)
    failed = run(tmp_path, asking(majority(1), 1), Scripted("none"))
    found = estimate(Measured().read([tried, failed]), wanted=0.95)
    assert any("not every run was solved (1 failed)" in said for said in found.said)
    assert not any("not every run" in said for said in estimate(Measured().read([tried]), wanted=0.95).said)


def test_agreement_without_a_key_is_a_lower_bound_on_errors(tmp_path: Path) -> None:
    """What most samples say is taken for right: never fewer right samples than by any key, and it is said openly."""
    key = key_of(run(tmp_path, asking(majority(1)), erring(1.0, "key")))
    tried = run(tmp_path, asking(majority(3)), erring(0.7, "try", stubborn=10), oversample=8)
    measured = Measured().read([tried])
    known, agreed = only(estimate(measured, wanted=0.95, key=key)), estimate(measured, wanted=0.95)
    assert only(agreed).right.value >= known.right.value
    assert any("errors that all samples share cannot be seen" in said for said in agreed.said)


def test_errors_that_repeat_are_told_and_no_vote_is_advised(tmp_path: Path) -> None:
    """Ten questions that are always got wrong: votes cannot help, and the estimate says on how many."""
    key = key_of(run(tmp_path, asking(majority(1)), erring(1.0, "key")))
    tried = run(tmp_path, asking(majority(3)), erring(0.95, "try", stubborn=10), oversample=8)
    found = estimate(Measured().read([tried]), wanted=0.95, key=key)
    step = only(found)
    assert any("errors repeat: on 10 of 40 prompts" in said for said in step.said)
    assert (step.lead, found.with_votes) == (None, None)
    assert step.correlation > 0.8
    assert step.ceiling == pytest.approx(0.75, abs=0.05)


def test_steps_right_less_than_half_the_time_are_told(tmp_path: Path) -> None:
    """Votes would make it worse, and none is advised."""
    key = key_of(run(tmp_path, asking(majority(1)), erring(1.0, "key")))
    tried = run(tmp_path, asking(majority(3)), erring(0.4, "try"), oversample=8)
    step = only(estimate(Measured().read([tried]), wanted=0.95, key=key))
    assert any("half the time or less" in said for said in step.said)
    assert step.lead is None


@pytest.mark.parametrize("policy", [majority(3), ahead_by(2)], ids=["majority", "ahead by"])
def test_what_is_predicted_is_what_runs_then_take(tmp_path: Path, policy: Sampling) -> None:
    """From one try: the samples of later runs within a tenth, and their share of right steps within its interval."""
    key = key_of(run(tmp_path, asking(majority(1)), erring(1.0, "key")))
    tried = run(tmp_path, asking(policy), erring(0.85, "try"), oversample=8)
    found = estimate(Measured().read([tried]), wanted=0.95, key=key)
    later = Measured().read(run(tmp_path, asking(policy), erring(0.85, f"{number}")) for number in range(8))
    samples = sum(taken.samples for taken in later.runs) / len(later.runs)
    assert found.as_it_is.samples == pytest.approx(samples, rel=0.1)
    right = []
    for name in (taken.run for taken in later.runs):
        answers = key_of(tmp_path / name)
        right += [answers[digest] == key[digest] for digest in answers]
    success = only(found).success
    assert success.low <= sum(right) / len(right) <= success.high
    assert only(found).lead is not None


def test_with_the_lead_it_names_the_wanted_share_of_runs_is_right(tmp_path: Path) -> None:
    """Twenty runs sampled with the advised lead: about as many are right as was wanted, no fewer than chance allows."""
    key = key_of(run(tmp_path, asking(majority(1)), erring(1.0, "key")))
    tries = [run(tmp_path, asking(majority(3)), erring(0.85, f"try {number}"), oversample=16) for number in range(2)]
    lead = only(estimate(Measured().read(tries), wanted=0.9, key=key)).lead
    assert lead is not None
    assert 3 <= lead <= 5
    right = 0
    for number in range(20):
        folder = run(tmp_path, asking(ahead_by(lead, cap=60)), erring(0.85, f"run {number}"))
        right += dict(key_of(folder)) == dict(key)
    assert right >= 14  # of 20 at 90 %, fewer come once in 400 times


def test_a_run_that_cannot_be_read_is_named_and_left_out(tmp_path: Path) -> None:
    """Damage in one trace does not spoil the others."""
    good = run(tmp_path, asking(majority(3), 2), erring(1.0, "x"))
    bad = run(tmp_path, asking(majority(3), 2), erring(1.0, "x"))
    spine = (bad / "trace.jsonl").read_bytes()
    (bad / "trace.jsonl").write_bytes(spine.replace(b'"solve"', b'"prove"', 1))
    measured = Measured().read([good, bad])
    assert (measured.unreadable, len(measured.runs)) == ([bad.name], 1)


@pytest.mark.parametrize("change", [{"samples": [{"index": "0"}]}, {"samples": {}}, {}])
def test_of_a_forged_run_not_even_a_part_counts(tmp_path: Path, change: dict[str, Any]) -> None:
    """Its chain fits, but what its last step holds is what no step holds: it is left out, and read as no key."""
    good, bad = (run(tmp_path, asking(majority(3), 2), erring(1.0, "x")) for _ in range(2))
    body = json.dumps(change).encode()
    lines = (bad / "trace.jsonl").read_bytes().splitlines(keepends=True)
    place = place_of(lines, "step.answered", 1)
    digest = sha256(bytes(16) + body).hexdigest()
    spine = sealed_anew(
        lines, lambda events: [*events[:place], {**events[place], "content": digest}, *events[place + 1 :]]
    )
    contents = {
        json.loads(line)["seq"]: line for line in (bad / "content.jsonl").read_bytes().splitlines(keepends=True)
    }
    contents[place + 1] = b'{"seq":%d,"salt":"%b","body":%b}\n' % (place + 1, b"0" * 32, body)
    (bad / "trace.jsonl").write_bytes(b"".join(spine))
    (bad / "content.jsonl").write_bytes(b"".join(contents[seq] for seq in sorted(contents)))
    alone, measured = Measured().read([good]), Measured().read([bad, good])
    assert (measured.unreadable, measured.runs, measured.groups) == ([bad.name], alone.runs, alone.groups)
    with pytest.raises(TraceDamaged, match=f"line {place + 1} of the trace"):
        key_of(bad)


# --- the command

TASK = """\
prompt: Is it so?
answer: [yes, no]
planner: direct
backends: {default: {use: scripted, replies: [yes, yes, no, yes, yes, yes, yes, yes, yes, yes, yes, yes]}}
sampling: {majority: 3}
"""


def command(*arguments: str) -> tuple[int, str]:
    """Run the command in this process; gives its status and stdout."""
    result = CliRunner().invoke(cli, ["estimate", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_the_command_tries_then_tells_and_later_holds_it_against_a_run(tmp_path: Path) -> None:
    """Without earlier runs it tries once; after that it reads that trace, asks nothing, and shows what a run took."""
    file, runs = tmp_path / "task.yaml", str(tmp_path / "runs")
    file.write_text(TASK)
    status, text = command(str(file), "--runs", runs)
    assert status == 0
    assert "87.5% (52.9% to 97.8%) of samples agreeing (8 samples of 1 prompt)" in text
    (tried,) = FileJournal(tmp_path / "runs").runs()
    status, text = command(str(file), "--runs", runs)
    assert FileJournal(tmp_path / "runs").runs() == [tried]
    CliRunner().invoke(cli, ["solve", str(file), "--runs", runs])
    status, text = command(str(file), "--runs", runs, "--run", "last", "--json")
    told = json.loads(text)
    assert told["runs"] == [tried]
    assert told["taken"][0]["samples"] == 2
    assert told["steps"][0]["policy"] == "majority(3, cap=6)"


def test_a_task_without_steps_has_nothing_to_estimate(tmp_path: Path) -> None:
    """The planner asks no model: the command says so, as bad input."""
    (tmp_path / "still.py").write_text("def still(task):\n    return 1\n    yield\n")
    file = tmp_path / "task.yaml"
    file.write_text("prompt: x\nplanner: still:still\n")
    from scaffold.cli import main

    assert main(["estimate", str(file), "--runs", str(tmp_path / "runs")]) == 2


def test_samples_that_are_all_flagged_are_told(tmp_path: Path) -> None:
    """More tries of a step whose answers are all malformed are not advised."""
    tried = run(tmp_path, asking(majority(3), 2), Scripted(lambda _: "hm"), oversample=8)
    step = only(estimate(Measured().read([tried]), wanted=0.95))
    assert step.accepted == 0
    assert step.said == ("every sample is flagged: such a step gets no answer, however many are drawn",)


def test_too_few_samples_are_no_evidence(tmp_path: Path) -> None:
    """A past run with one sample a step tells costs, and says that it takes more to tell odds."""
    file, runs = tmp_path / "task.yaml", str(tmp_path / "runs")
    file.write_text(TASK.replace("{majority: 3}", "once"))
    CliRunner().invoke(cli, ["solve", str(file), "--runs", runs])
    status, text = command(str(file), "--runs", runs)
    assert status == 0
    assert "too few samples of one prompt to compare" in text
    assert "success not known; 1 samples" in text
    assert "there is too little data to tell which votes reach 95%" in text
