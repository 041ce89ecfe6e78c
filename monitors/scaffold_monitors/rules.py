"""The monitor `rules`: goals that a machine can check, in CEL, for every call and every plan.

A goal's `rule` is an expression that is true as long as the goal holds:

    constraint: pay only to accounts on the list
    rule: action.name != 'pay' || args.account in inputs.accounts

    constraint: at most 2,000.00 in one run
    rule: total('pay', 'cents') <= 200000

What an expression may use:

| name | is |
|---|---|
| `inputs` | the task's inputs |
| `action` | of the call under review: `id`, `name`, `effect`, `cost` (US dollars), `after` (ids) |
| `args` | its arguments |
| `provenance` | for each argument: `sources` (list), `tainted` |
| `plan` | the calls of the plan: `id`, `action` (its name), `args`, `effect`, `cost`, `after` |
| `count(action)` | how often the action will have been done in this run, with this plan or call |
| `total(action, argument)` | what a numeric argument of it will have come to |
| `before(action)` | how often it was performed before this call, or will have been by what it comes after |
| `count_in(action, days)` | how often it will have been done in the last days, in this run and all others |
| `total_in(action, argument, days)` | what a numeric argument of it will have come to in that time |
| `count_to(action, argument, days, value)` | how often it will have been done with this value, unseen letters aside |
| `clock(zone)` | minutes since midnight, in UTC or a time zone such as `'Europe/Berlin'` |
| `weekday(zone)` | day of the week, 0 for Monday |

Ready rules, which stand for such expressions, are in `scaffold_monitors.ready`.

An expression that mentions `action`, `args`, `provenance` or `before` is checked for each call: when the plan
is proposed, and again with the real arguments when the call is about to run; arguments that wait for another
action's result are left to that second time. One that mentions none of them is checked once for the plan,
and again before each action. One that mentions `plan` is checked when a plan is proposed, and for an action
that belongs to no plan, as a plan of one.

`count` and `total` count what was performed, what may have been (an unknown outcome, a call that waits for a
person) and what is under review. They are for "at most"; for "at least" ask the plan:
`plan.exists(c, c.action == 'backup')`.

An amount below zero makes no room for others before it was performed: where amounts of both signs are still to come, a
rule has to hold with those above zero alone, and with those below. `total_in` cannot see what was performed elsewhere
and what is on its way there, so for it all of them are still to come.

What is asked about other runs and the time is looked up when a plan or a call is reviewed, and written down with the
verdict. The last days are so many times 24 hours; a call counts from when it was begun, or else proposed. Runs are
those of the same folder; a call counts that was performed, may have been, or is on its way, so that of two runs at the
same time both may be refused, and never both let through.

What a value can be is known before the run, of `inputs` by the task and of `args` by the actions' schemas; a rule whose
types never fit is refused then. `dyn(...)` leaves a value to the call.

CEL's `&&` and `||` need not know both sides: `false && e` is false even if `e` is an error. Any other error,
such as an argument that is missing, and any result but true or false, is a check that was not made, and
blocks; the verdict points to the part of the rule that failed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scaffold.errors import TaskError
from scaffold.interfaces import LooksAround
from scaffold.vocabulary import events
from scaffold.vocabulary.review import MonitorSpec, Verdict
from scaffold_monitors.around import DAY_S, Around
from scaffold_monitors.findings import SHOWN, Findings, unread
from scaffold_monitors.moments import Facts, Moment, Size
from scaffold_monitors.tally import History

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.review import Subject
    from scaffold.vocabulary.task import Task
    from scaffold_monitors.sheet import Rule, Sheet

_RUNS_KEPT = 256
_BREATH = 100


class Rules:
    """Checks what goals say in CEL; cheap, certain, always on.

    Args:
        rules: further rules, each with `rule`, `statement` and perhaps `for`, a list of action names.

    Raises:
        BadInput: a setting is not what it should be.
        TaskError: a further rule cannot be checked.
    """

    folds = frozenset({events.ActionProposed, events.ActionOutcome, events.ActionRefused})
    bare = frozenset({events.ActionOutcome, events.ActionRefused})

    def __init__(self, *, rules: Sequence[Mapping[str, Any]] = ()) -> None:
        self._extra: tuple[Rule, ...] = ()
        settings: dict[str, Any] = {}
        if rules:
            from scaffold_monitors import written

            self._extra, settings["rules"] = written.of_settings(rules)
        self._ready: OrderedDict[str, _Ready] = OrderedDict()
        self.spec = MonitorSpec(name="rules", tier=0, default=True, reads_rules=True, settings=settings)

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Refuse a task whose rules could not be checked.

        Raises:
            TaskError: a rule does not parse, names what does not exist, or could take too long.
        """
        if rules := self._rules(task):
            from scaffold_monitors import written

            for rule in rules:
                written.check(rule, task, actions)
        try:
            Size(task.inputs)
        except ValueError as error:
            raise TaskError(f"{error}: write it as text", path=("inputs",)) from None

    def fold(self, state: Any, event: Event, content: dict[str, Any]) -> History:
        """Remember what was done in the run."""
        history = state if isinstance(state, History) else History()
        history.follow(event, content)
        return history

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check a plan, or one action on its way."""
        _, sheets, looks_around = self._for_run(view)
        calls = subject.plan if subject.kind == "plan" else (subject.call,) if subject.call else None
        if calls is None or not sheets:
            return Verdict(decision="allow", status="abstain", rationale="no goal has a rule about this")
        history = view.state if isinstance(view.state, History) else History()
        own = history.pending.get(subject.key)
        # An action that belongs to no plan is read as a plan of one; its arguments are real all the same.
        planned = subject.kind == "plan" and own is None
        facts = []
        for call in calls:
            try:
                facts.append(Facts(call, view.actions[call.action], planned=planned))
            except KeyError:
                return unread(call.id, f"there is no action {call.action!r}")
            except ValueError as error:
                return unread(call.id, str(error))
        moment = Moment(facts, planned, history.beside(subject.key), history)
        if looks_around:
            moment.around = await _look_around(sheets, view, subject)
        of_plan = subject.kind == "plan" or not (own and own.plan)
        findings = Findings()
        for number, (sheet, target) in enumerate(_checks(sheets, moment, of_plan=of_plan)):
            _check(sheet, moment, target, findings)
            if number % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
        verdict = findings.verdict()
        return verdict if moment.around is None else _with_what_was_asked(verdict, moment.around)

    def _rules(self, task: Task) -> tuple[Rule, ...]:
        if all(goal.rule is None for goal in task.goals):
            return self._extra
        from scaffold_monitors import written

        return (*self._extra, *written.of_goals(task))

    def _for_run(self, view: TraceView) -> _Ready:
        """The task's rules with its inputs converted; it follows from the task, and is kept for speed."""
        ready = self._ready.get(view.run)
        if ready is None or ready.task is not view.task:
            ready = self._ready[view.run] = self._made_ready(view.task)
            if len(self._ready) > _RUNS_KEPT:
                self._ready.popitem(last=False)
        return ready

    def _made_ready(self, task: Task) -> _Ready:
        sheets = tuple(rule.sheet(task.inputs) for rule in self._rules(task))
        return _Ready(task, sheets, any(sheet.rule.expression.looks_around for sheet in sheets))


class _Ready(NamedTuple):
    """A task's rules made ready for one run, and whether any of them asks for the time or for other runs."""

    task: Task
    sheets: tuple[Sheet, ...]
    looks_around: bool


async def _look_around(sheets: Sequence[Sheet], view: TraceView, subject: Subject) -> Around | None:
    """The time, and what all runs did as far back as rules ask; None when the view cannot tell."""
    if not isinstance(view, LooksAround):
        return None
    now, days = view.now(), max(sheet.rule.expression.days for sheet in sheets)
    acts = await view.elsewhere(now - days * DAY_S) if days else ()
    return Around(now, [act for act in acts if (act.run, act.key) != (view.run, subject.key)])


def _with_what_was_asked(verdict: Verdict, around: Around) -> Verdict:
    """A verdict that says what it found around it, so that the trace does."""
    if not around.asked:
        return verdict
    told = "; ".join(f"{question} = {answer}" for question, answer in around.asked.items())
    rationale = f"{verdict.rationale}\nlooked up: {told}".strip()
    return msgspec.structs.replace(verdict, rationale=rationale, evidence=verdict.evidence + around.evidence())


def _checks(sheets: Sequence[Sheet], moment: Moment, *, of_plan: bool) -> Iterator[tuple[Sheet, Facts | None]]:
    """What is to be evaluated: each rule, for each call that it is about."""
    for sheet in sheets:
        expression, only = sheet.rule.expression, sheet.rule.only
        if expression.of_plan and not of_plan:
            continue
        this = sheet.with_plan(moment) if expression.of_plan else sheet
        if not expression.per_call:
            yield this, None
            continue
        for facts in moment.calls:
            if only is None or facts.call.action in only:
                yield this, facts


def _check(sheet: Sheet, moment: Moment, target: Facts | None, findings: Findings) -> None:
    try:
        holds = sheet.holds(moment, target)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception, and must not pass either
        told = sheet.explain(error, target, moment) if len(findings.failed) < SHOWN else str(error)
        findings.failed.append((sheet.rule, target, told))
        return
    if holds is None:
        findings.later += 1
        return
    findings.checked += 1
    if not holds:
        findings.broken.append((sheet.rule, target))
