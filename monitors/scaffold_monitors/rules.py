"""The monitor `rules`: checks goals written as CEL expressions for every call and every plan.

A goal's `rule` is an expression that is true while the goal holds:

    constraint: pay only to accounts on the list
    rule: action.name != 'pay' || args.account in inputs.accounts

    constraint: at most 2,000.00 in one run
    rule: total('pay', 'cents') <= 200000

An expression may use:

| name | is |
|---|---|
| `inputs` | the task's inputs |
| `action` | the call under review: `id`, `name`, `effect`, `cost` (US dollars), `after` (ids) |
| `args` | its arguments |
| `provenance` | for each argument: `sources` (list), `tainted` |
| `plan` | the calls of the plan: `id`, `action` (its name), `args`, `effect`, `cost`, `after` |
| `count(action)` | how often the action will have been performed in this run, including this plan or call |
| `total(action, argument)` | the sum that a numeric argument will have reached |
| `before(action)` | how often it was performed before this call, or will be by calls that this one comes after |
| `count_in(action, days)` | how often it will have been performed in the last days, in all runs |
| `total_in(action, argument, days)` | the sum that a numeric argument will have reached in that time |
| `count_to(action, argument, days, value)` | how often with this value, ignoring invisible letters |
| `clock(zone)` | minutes since midnight, in UTC or a time zone such as `'Europe/Berlin'` |
| `weekday(zone)` | day of the week, 0 for Monday |

Ready rules, shorthands for such expressions, are in `scaffold_monitors.cel.ready`.

An expression that mentions `action`, `args`, `provenance` or `before` is checked for each call: when the plan is
proposed, and again with the real arguments before the call runs. Arguments that wait for another action's result are
checked only then. An expression that mentions none of them is checked once for the plan, and again before each
action. One that mentions `plan` is checked when a plan is proposed; an action without a plan counts as a plan of one.

`count` and `total` include what was performed, what may have been (an unknown outcome, a call that waits for a person)
and what is under review. Use them for "at most"; for "at least" ask the plan: `plan.exists(c, c.action == 'backup')`.

A negative amount makes no room for others before it was performed: if amounts of both signs are pending, a rule must
hold with the positive ones alone and with the negative ones alone. `total_in` cannot tell which calls of other runs
were performed and which are pending, so it treats all amounts as pending.

Other runs and the time are looked up at the review, and the answers are recorded with the verdict. A day is 24 hours;
a call counts from when it was begun, or else proposed. "All runs" are those of the same folder. Calls that were
performed, may have been, or are pending count, so of two runs at the same time both may be refused, but never both
allowed beyond the limit.

The types of `inputs` are known from the task and those of `args` from the actions' schemas, so a rule whose types can
never fit is refused before the run. `dyn(...)` defers a value's type to the call.

CEL's `&&` and `||` need not know both sides: `false && e` is false even if `e` is an error. Any other error, such as a
missing argument, and any result other than true or false, means that the check failed, and blocks; the verdict points
to the part of the rule that failed.
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
from scaffold_monitors.cel.around import DAY_S, Around
from scaffold_monitors.cel.moments import Facts, Moment, Size
from scaffold_monitors.cel.tally import History
from scaffold_monitors.findings import SHOWN, Findings, unread

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scaffold.interfaces import ReviewContext, TraceView
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.events import Event
    from scaffold.vocabulary.review import Subject
    from scaffold.vocabulary.task import Task
    from scaffold_monitors.cel.sheet import Rule, Sheet

_RUNS_KEPT = 256
_BREATH = 100


class Rules:
    """Checks goals' rules in CEL; cheap, certain, always on.

    Args:
        rules: further rules, each with `rule`, `statement` and optionally `for`, a list of action names.

    Raises:
        BadInput: a setting is invalid.
        TaskError: a further rule cannot be checked.
    """

    folds = frozenset({events.ActionProposed, events.ActionOutcome, events.ActionRefused})
    bare = frozenset({events.ActionOutcome, events.ActionRefused})

    def __init__(self, *, rules: Sequence[Mapping[str, Any]] = ()) -> None:
        self._extra: tuple[Rule, ...] = ()
        settings: dict[str, Any] = {}
        if rules:
            from scaffold_monitors.cel import written

            self._extra, settings["rules"] = written.of_settings(rules)
        self._ready: OrderedDict[str, _Ready] = OrderedDict()
        self.spec = MonitorSpec(name="rules", tier=0, default=True, reads_rules=True, settings=settings)

    def check(self, task: Task, actions: Mapping[str, ActionSpec]) -> None:
        """Refuse a task with rules that could not be checked.

        Raises:
            TaskError: a rule does not parse, names what does not exist, or could take too long.
        """
        if rules := self._rules(task):
            from scaffold_monitors.cel import written

            for rule in rules:
                written.check(rule, task, actions)
        try:
            Size(task.inputs)
        except ValueError as error:
            raise TaskError(f"{error}: write it as text", path=("inputs",)) from None

    def fold(self, state: Any, event: Event, content: dict[str, Any]) -> History:
        """Remember what was performed in the run."""
        history = state if isinstance(state, History) else History()
        history.follow(event, content)
        return history

    async def review(self, subject: Subject, view: TraceView, context: ReviewContext) -> Verdict:
        """Check a plan, or one action."""
        _, sheets, looks_around = self._for_run(view)
        calls = subject.plan if subject.kind == "plan" else (subject.call,) if subject.call else None
        if calls is None or not sheets:
            return Verdict(decision="allow", status="abstain", rationale="no rule applies here")
        history = view.state if isinstance(view.state, History) else History()
        own = history.pending.get(subject.key)
        # An action without a plan is read as a plan of one, but its arguments are real.
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
        from scaffold_monitors.cel import written

        return (*self._extra, *written.of_goals(task))

    def _for_run(self, view: TraceView) -> _Ready:
        """Return the task's rules with its inputs converted; cached for speed."""
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
    """A task's rules prepared for one run, and whether any of them asks for the time or for other runs."""

    task: Task
    sheets: tuple[Sheet, ...]
    looks_around: bool


async def _look_around(sheets: Sequence[Sheet], view: TraceView, subject: Subject) -> Around | None:
    """Look up the time, and what all runs did as far back as the rules ask; None if the view cannot tell."""
    if not isinstance(view, LooksAround):
        return None
    now, days = view.now(), max(sheet.rule.expression.days for sheet in sheets)
    acts = await view.elsewhere(now - days * DAY_S) if days else ()
    return Around(now, [act for act in acts if (act.run, act.key) != (view.run, subject.key)])


def _with_what_was_asked(verdict: Verdict, around: Around) -> Verdict:
    """Add what was looked up to a verdict, so that it is in the trace."""
    if not around.asked:
        return verdict
    told = "; ".join(f"{question} = {answer}" for question, answer in around.asked.items())
    rationale = f"{verdict.rationale}\nlooked up: {told}".strip()
    return msgspec.structs.replace(verdict, rationale=rationale, evidence=verdict.evidence + around.evidence())


def _checks(sheets: Sequence[Sheet], moment: Moment, *, of_plan: bool) -> Iterator[tuple[Sheet, Facts | None]]:
    """Yield what to evaluate: each rule, with each call that it is about."""
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
    except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception, and must not pass
        told = sheet.explain(error, target, moment) if len(findings.failed) < SHOWN else str(error)
        findings.failed.append((sheet.rule, target, told))
        return
    if holds is None:
        findings.later += 1
        return
    findings.checked += 1
    if not holds:
        findings.broken.append((sheet.rule, target))
