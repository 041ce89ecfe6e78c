"""The gate between a planner and the world. Every action passes these stages in this fixed order.

    schema → rules → monitors → people → digest → intent → perform → result review

Nothing else in the project makes a Clearance, and no action runs without one.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import ActionRefused, PlanChanged, Stopped, nearest
from scaffold.machinery.gating.effects import NOT_CLEARED, Effects, idempotency_key, objections_of
from scaffold.machinery.gating.identities import Identities
from scaffold.machinery.gating.people import EXPIRY
from scaffold.machinery.gating.undoing import Undoing, offer_in
from scaffold.vocabulary import events as ev
from scaffold.vocabulary.actions import Call
from scaffold.vocabulary.canonical import canonical, decode, not_finite, recordable
from scaffold.vocabulary.clearance import Clearance, Mint
from scaffold.vocabulary.moves import Review
from scaffold.vocabulary.plan import ActionCall, is_pending
from scaffold.vocabulary.review import SEVERITY, Objection, Subject, Verdict, reason_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from scaffold.credentials import Credentials
    from scaffold.errors import ActionError
    from scaffold.interfaces import Action, Journal, Surroundings
    from scaffold.machinery.gating.people import People
    from scaffold.machinery.gating.permissions import Permissions
    from scaffold.machinery.interpreter import Pending
    from scaffold.machinery.recording.recorder import Recorder
    from scaffold.machinery.recording.state import Progress, RunState
    from scaffold.machinery.reviewing.reviews import Reviews
    from scaffold.vocabulary.actions import Observation
    from scaffold.vocabulary.moves import Act, Propose
    from scaffold.vocabulary.review import Decision, Stakes
    from scaffold.vocabulary.task import Task


_NOT_FINITE = "its arguments are not valid: JSON cannot hold a number that is not finite"


class PlanOnly(Exception):
    """The next call would change the world, and the run was asked only to plan."""


def plan_asked(calls: Sequence[ActionCall]) -> bytes:
    """Return the canonical bytes of what a plan proposes: actions, arguments and order, but not the reasons given."""
    return canonical([[call.id, call.action, call.arguments, call.after] for call in calls])


def call_asked(call: ActionCall) -> bytes:
    """Return the canonical bytes of one call as the planner made it."""
    return canonical([call.action, call.arguments])


class Gate:
    """The gate of one run."""

    def __init__(  # noqa: PLR0913 - a gate needs all these parts
        self,
        *,
        task: Task,
        actions: Mapping[str, Action],
        reviews: Reviews,
        permissions: Permissions,
        people: People,
        journal: Journal,
        recorder: Recorder,
        state: RunState,
        surroundings: Surroundings,
        credentials: Credentials,
        observe: bool,
        plan_only: bool,
    ) -> None:
        self._task = task
        self._actions = actions
        self._reviews = reviews
        self._permissions = permissions
        self._people = people
        self._recorder = recorder
        self._state = state
        self._clock = surroundings.clock
        self._reach = surroundings.reach
        self._observe = observe
        self._plan_only = plan_only
        self._specs = {name: action.spec for name, action in actions.items()}
        self._schemas = {name: canonical(spec.parameters) for name, spec in self._specs.items()}
        self._mint = Mint()
        self._identities = Identities(actions, journal, recorder, state, surroundings)
        self._undoing = Undoing(task, actions, state)
        self._effects = Effects(
            actions=actions,
            reviews=reviews,
            recorder=recorder,
            state=state,
            surroundings=surroundings,
            identities=self._identities,
            credentials=credentials,
            undoing=self._undoing,
            ask_person=self._ask_person,
        )

    # --- plans

    async def propose(self, pending: Pending, move: Propose) -> Review:
        """Have a whole plan reviewed; return what the planner is sent.

        Raises:
            Stopped: a monitor halts the run, a refused proposal is repeated, or too many were refused.
            Parked: it waits for a person.
            PlanOnly: it would wait for a person and change the world, in a run that only plans.
            PlanChanged: it was changed while it waited.
        """
        key, plan = pending.key, move.plan
        calls = plan.calls(pending.history)
        progress = self._state.at(key)
        what = plan_asked(calls)
        if progress.digest:
            _must_be_the_same(what, progress.asked, key)
        else:
            event = ev.PlanProposed(key=key, digest="", actions=len(calls))
            self._reach("plan.proposed:before")
            self._recorder.record(
                event, {"asked": msgspec.Raw(what), "calls": calls, "reason": plan.reason}, asked=what
            )
            self._reach("plan.proposed:after")
        lost = {call.id for call in calls if not_finite(call.arguments) is not None}
        calls = tuple(self._filled_in(call) for call in msgspec.json.decode(canonical(calls), type=list[ActionCall]))
        checked = _said_before(progress) or await self._check_plan(key, calls, lost)
        previews = {} if checked else await self._effects.preview(key, calls)
        subject = Subject(kind="plan", key=key, plan=calls, reason=plan.reason, previews=previews)
        stakes = self._reviews.stakes(calls)
        decision, verdicts = await self._judge(subject, progress.digest, stakes, checked)
        if decision == "escalate":
            self._check_plan_only(*calls)  # nobody is asked for what will not be done
            decision, verdicts = await self._ask_person(
                subject, progress.digest, f"a plan of {len(calls)} actions", verdicts
            )
        objections = () if SEVERITY[decision] < NOT_CLEARED else objections_of(verdicts)
        self._reach("plan.decided:before")
        decided = ev.PlanDecided(key=key, digest=progress.digest, decision=decision, allowed=not objections)
        body = self._recorder.record(decided, {"objections": objections} if objections else None)
        await self._recorder.flush()
        self._reach("plan.decided:after")
        if objections and self._state.insists:
            raise Stopped(self._state.insists)
        return review_from(decided, body)

    def _filled_in(self, call: ActionCall) -> ActionCall:
        """Return a call as it would be performed: with its action's defaults."""
        _, arguments = self._fit(call)
        return call if arguments is None else msgspec.structs.replace(call, arguments=arguments)

    async def _check_plan(self, key: str, calls: Sequence[ActionCall], lost: Collection[str]) -> list[Verdict]:
        """Apply the core's own rules to a plan: allowed actions, valid arguments, nothing done twice, budget.

        Args:
            key: the plan's key.
            calls: its calls, as recorded.
            lost: ids of calls with a number that recording lost.
        """
        problems = []
        seen: dict[str, str] = {}
        for call in calls:
            problem, arguments = (_NOT_FINITE, None) if call.id in lost else self._fit(call)
            if arguments is not None:
                identity = self._identities.of(call)
                if identity and identity in seen:
                    problem = f"it does the same as {seen[identity]}"
                elif identity:
                    problem = self._identities.taken_here(call) or await self._identities.taken(call, key)
                seen[identity or f"node:{call.id}"] = call.id
            if problem:
                problems.append(Objection(call.id, problem))
        if problems:
            text = "; ".join(f"{problem.node}: {problem.feedback}" for problem in problems)
            return [Verdict(decision="block", monitor="gate", rationale=text, objections=tuple(problems))]
        spent = self._state.model.room(
            actions=len(calls), usd=sum(self._actions[call.action].spec.cost for call in calls)
        )
        if spent is not None:
            return [Verdict(decision="block", monitor="gate", rationale=str(spent), feedback=str(spent))]
        return []

    def _fit(self, call: ActionCall) -> tuple[str, dict[str, Any] | None]:
        """Return what is wrong with a call, or its arguments; None while some of them are not known yet."""
        if problem := self._unfit(call.action):
            return problem, None
        try:
            written = recordable(call.arguments)
        except ValueError:
            return _NOT_FINITE, None
        if is_pending(call.arguments):
            return "", None
        try:
            arguments = self._actions[call.action].validate(decode(written))
        except ValueError as error:
            return f"its arguments are not valid: {error}", None
        if not_finite(arguments) is not None:  # defaults and conversions may bring one in
            return _NOT_FINITE, None
        return "", arguments

    def _unfit(self, name: str) -> str:
        """Say why an action cannot be performed, whatever its arguments; empty if it can."""
        action = self._actions.get(name)
        if action is None:
            return f"there is no action {name!r}{nearest(name, self._actions)}"
        spec, known = action.spec, self._specs[name]
        if (spec is not known and spec != known) or canonical(spec.parameters) != self._schemas[name]:
            return f"the declaration of {name!r} has changed since the run started"
        if spec.effect != "read" and not (self._reviews.guards or self._task.oversight.unmonitored):
            return f"no monitor would check it: add monitors, or allow {name!r} with oversight.unmonitored"
        return ""

    # --- actions

    async def act(self, key: str, move: Act, call: ActionCall, what: bytes) -> Observation[Any] | ActionError:
        """Clear one call and perform it; return what the planner is sent.

        Args:
            key: the move's key.
            move: the move as the planner made it.
            call: the call as reviewers see it.
            what: canonical bytes of the call as the planner made it.

        Raises:
            Stopped: a monitor halts the run, somebody stopped it, a refused call is repeated, or too many were refused.
            Parked: it waits for a person.
            PlanOnly: it would change the world in a run that only plans.
            PlanChanged: it was changed while it waited.
        """
        wrong, call = self._undoing.filled_in(call)
        progress = self._state.at(key)
        if progress.action is not None:  # defaults were filled in then, and are not computed again
            call = msgspec.structs.replace(call, arguments={**progress.action.arguments, **call.arguments})
        problem, arguments = (wrong, None) if wrong else self._fit(call)
        if arguments is None:
            problem = problem or "it needs a result that is not known yet: carry out its plan, or give the value itself"
            arguments = call.arguments
        exact = canonical(arguments)  # the bytes reviewed are the bytes performed
        call = msgspec.structs.replace(call, arguments=decode(exact))
        action = self._actions.get(call.action)
        if progress.action is None:
            self._write_proposal(key, call, move, what, exact)
        else:
            _must_be_the_same(what, progress.asked, key)
            if not problem:
                _must_be_the_same(exact, canonical(progress.action.arguments), key)
        if progress.outcome is not None:
            return await self._effects.review_result(key, call, progress)
        if progress.intent is not None and action is not None and action.spec.effect != "read":
            settled = await self._effects.recover(call, progress, key)
            if settled is not None:
                return settled
        plan = move.plan if move.plan and self._in_plan(move.plan, key, call) else ""
        decision, refusal = await self._reserved(key, call, progress, problem, plan=plan)
        if refusal is not None:
            return refusal
        return await self._effects.perform(key, call, progress, self._mint_for(key, call, exact, progress, decision))

    def _write_proposal(self, key: str, call: ActionCall, move: Act, what: bytes, exact: bytes) -> None:
        """Record what is proposed.

        Args:
            key: the move's key.
            call: the call.
            move: the move as the planner made it.
            what: canonical bytes of the call as the planner made it.
            exact: canonical bytes of the arguments as they would be performed; reviews are bound to these.
        """
        spec = self._actions[call.action].spec if call.action in self._actions else None
        event = ev.ActionProposed(
            key=key,
            action=call.action,
            effect=spec.effect if spec else "irreversible",
            digest="",
            cost=spec.cost if spec else 0.0,
            plan=move.plan,
            node=call.id,
            compensates=call.compensates,
        )
        content: dict[str, Any] = {"asked": msgspec.Raw(what), "call": call}
        if spec is not None and spec.identity and spec.effect != "read":
            content["identity"] = self._identities.of(call)  # lets the index over all runs be rebuilt
        self._recorder.record(event, content, asked=canonical([call.action, msgspec.Raw(exact)]))

    def _in_plan(self, proposal: str, key: str, call: ActionCall) -> bool:
        """Whether a call is exactly what was allowed as part of a plan, and the first made for its node."""
        node = self._state.plans.get(proposal, {}).get(call.id)
        if node is None or self._state.callers.get((proposal, call.id)) != key:
            return False
        action, arguments = decode(node)
        if action != call.action or is_pending(arguments):
            return False
        try:
            known: dict[str, Any] = self._actions[action].validate(arguments)
        except ValueError:
            return False
        return canonical(known) == canonical(call.arguments)

    async def _clear(
        self, key: str, call: ActionCall, progress: Progress, problem: str, *, plan: str
    ) -> tuple[Decision, ActionError | None]:
        """Take a call through schema, rules, monitors and people; it is cleared if there is no refusal.

        Args:
            key: the call's key.
            call: the call.
            progress: what is known of it.
            problem: why it cannot be performed, if that is known already.
            plan: the allowed proposal that holds exactly this call; empty if none does.
        """
        verdicts: list[Verdict] = []
        problem = problem or self._check_rules(key, call, progress)
        checked = [_blocked(problem)] if problem else _said_before(progress)
        if not checked and self._actions[call.action].spec.identity:
            checked = await self._check_others(key, call, progress)
        previewed = not checked and self._actions[call.action].spec.preview
        previews = await self._effects.preview(key, (call,)) if previewed else {}
        stakes = self._reviews.stakes((call,))
        decision: Decision = "allow"
        if not plan or checked:
            alone = Subject(kind="plan", key=key, plan=(call,), previews=previews)
            decision, verdicts = await self._judge(alone, progress.digest, stakes, checked)
        if call.compensates:
            decision, verdicts = self._put_to_a_person(key, call, progress, decision, verdicts)
        beside = "" if plan else "plan"
        if SEVERITY[decision] <= SEVERITY["escalate"] and self._reviews.watches("action", beside=beside):
            subject = Subject(kind="action", key=key, plan=(call,), call=call, previews=previews)
            then, said = await self._reviews.review(subject, progress.digest, stakes, beside=beside)
            decision = max(decision, then, key=SEVERITY.__getitem__)
            verdicts = verdicts + said
            if decision == "halt":
                await self._recorder.flush()
                raise Stopped(reason_of(verdicts, "halt"))
        decision, verdicts = self._tighten(key, call, progress, decision, verdicts, stakes)
        if decision == "escalate" and self._is_in_scope(plan, progress, verdicts):
            decision = "allow"
        if decision == "escalate":
            self._check_plan_only(call)  # nobody is asked for what will not be done
            subject = Subject(kind="action", key=key, plan=(call,), call=call, previews=previews)
            decision, verdicts = await self._ask_person(subject, progress.digest, call.action, verdicts)
        if SEVERITY[decision] < NOT_CLEARED:
            problem = self._check_rules(key, call, progress)  # other branches may have acted meanwhile
            if not problem:
                return decision, None
            decision, verdicts = "block", [_blocked(problem)]
        return decision, await self._refuse(key, call, progress, decision, verdicts)

    def _put_to_a_person(
        self, key: str, call: ActionCall, progress: Progress, decision: Decision, verdicts: list[Verdict]
    ) -> tuple[Decision, list[Verdict]]:
        """Escalate an undo if the task says that a person is to be asked."""
        if self._task.oversight.undo != "ask" or SEVERITY[decision] >= SEVERITY["escalate"]:
            return decision, verdicts
        said = f"it undoes what was done at {call.compensates}: a person decides"
        verdicts = [*verdicts, Verdict(decision="escalate", monitor="gate", rationale=said)]
        subject = Subject(kind="plan", key=key, plan=(call,))
        self._reviews.write(subject, progress.digest, "escalate", self._reviews.stakes((call,)), verdicts)
        return "escalate", verdicts

    def _tighten(
        self,
        key: str,
        call: ActionCall,
        progress: Progress,
        decision: Decision,
        verdicts: list[Verdict],
        stakes: Stakes,
    ) -> tuple[Decision, list[Verdict]]:
        """Demand more if the reasoning behind an effect cannot be read, or is not known to carry the answers."""
        spec = self._actions.get(call.action)
        if spec is None or decision not in {"allow", "flag", "escalate"}:
            return decision, verdicts
        before = progress.verdicts.get(("action", progress.digest, "gate", ""))
        if before is not None:  # as final as any verdict: monitors asked again do not lift it
            if not self._observe:
                decision = max(decision, before.decision, key=SEVERITY.__getitem__)
            return decision, [*verdicts, before]
        said = self._permissions.tightened(spec.spec, decision, partial(self._reviews.binding, verdicts))
        if said is None:
            return decision, verdicts
        subject = Subject(kind="action", key=key, plan=(call,), call=call)
        decision = decision if self._observe else said.decision
        self._reviews.write(subject, progress.digest, decision, stakes, [said])
        return decision, [*verdicts, said]

    def _is_in_scope(self, plan: str, progress: Progress, verdicts: Sequence[Verdict]) -> bool:
        """Whether a person approved this very call with its plan; that lifts escalations and nothing else."""
        approval, expires = self._state.scopes.get(plan, ("", 0.0))
        standing = self._reviews.decide(verdict for verdict in verdicts if verdict.decision != "escalate")
        if not approval or SEVERITY[standing] >= NOT_CLEARED or self._clock.now() >= expires:
            return False
        progress.covered = approval
        return True

    async def _reserved(
        self, key: str, call: ActionCall, progress: Progress, problem: str, *, plan: str
    ) -> tuple[Decision, ActionError | None]:
        """Clear a call and claim its identity, so that no other run does the same; then check that all still holds."""
        while True:
            decision, refusal = await self._clear(key, call, progress, problem, plan=plan)
            if refusal is not None:
                return decision, refusal
            self._people.check_stop()
            self._check_plan_only(call)
            spec = self._actions[call.action].spec
            if not spec.identity:
                return decision, None
            until = self._approved_until(plan, progress)
            held = self._clock.now() < until
            taken = await self._identities.take(call, key)  # of concurrent calls, only one gets it
            if taken:
                return "block", await self._refuse(key, call, progress, "block", [_blocked(taken)])
            late = held and self._clock.now() >= until
            spent = self._check_rules(key, call, progress)  # other branches may have begun meanwhile
            if not late and not spent:
                return decision, None
            await self._identities.give_back(call, key)
            if spent:
                return "block", await self._refuse(key, call, progress, "block", [_blocked(spent)])
            progress.covered = ""  # the approval expired meanwhile: ask again, or count it as no answer

    def _check_plan_only(self, *calls: ActionCall) -> None:
        """Check that calls may be performed in this run.

        Raises:
            PlanOnly: one would change the world in a run that only plans.
        """
        if self._plan_only and any(self._actions[call.action].spec.effect != "read" for call in calls):
            raise PlanOnly

    def _approved_until(self, plan: str, progress: Progress) -> float:
        """Return when the approval that a call rests on expires; infinity if it rests on none."""
        if progress.approved is not None and progress.approval is not None:
            return progress.approval.expires
        return self._state.scopes.get(plan, ("", 0.0))[1] if progress.covered else inf

    async def _check_others(self, key: str, call: ActionCall, progress: Progress) -> list[Verdict]:
        """Refuse what another run has done; once begun here, the identity is ours."""
        taken = "" if progress.intent is not None else await self._identities.taken(call, key)
        return [_blocked(taken)] if taken else []

    def _check_rules(self, key: str, call: ActionCall, progress: Progress) -> str:
        spec = self._actions[call.action].spec
        taken = self._identities.taken_here(call, key) if spec.identity else ""
        if taken or progress.attempts:  # what was begun once is charged already
            return taken
        spent = self._state.model.room(actions=1, usd=spec.cost)
        return "" if spent is None else str(spent)

    async def _judge(
        self, subject: Subject, subject_digest: str, stakes: Stakes, checked: list[Verdict]
    ) -> tuple[Decision, list[Verdict]]:
        if checked:
            # Recorded like any verdict; monitors need not read what cannot be allowed anyway.
            self._reviews.write(subject, subject_digest, "block", stakes, checked)
            return "block", checked
        decision, verdicts = await self._reviews.review(subject, subject_digest, stakes)
        if decision == "halt":
            await self._recorder.flush()
            raise Stopped(reason_of(verdicts, "halt"))
        return decision, verdicts

    async def _ask_person(
        self, subject: Subject, subject_digest: str, title: str, verdicts: Sequence[Verdict]
    ) -> tuple[Decision, list[Verdict]]:
        """Ask a person about exactly this; return the decision, and the verdicts including theirs."""
        standing = self._reviews.decide(verdict for verdict in verdicts if verdict.decision != "escalate")
        if SEVERITY[standing] >= NOT_CLEARED:
            return standing, list(verdicts)  # a person can lift only escalations, so do not ask in vain
        if self._state.at(subject.key).approval is None and await self._is_waived(subject, subject_digest):
            return "allow", list(verdicts)
        reasons = [
            f"{verdict.monitor}: {verdict.rationale or verdict.feedback}"
            for verdict in verdicts
            if verdict.decision == "escalate"
        ]
        # A copy: the approver cannot change what will be performed.
        calls = subject.plan or ((subject.call,) if subject.call is not None else ())
        detail = {"calls": decode(canonical(calls)), "reasons": reasons}
        if subject.previews:
            detail["previews"] = decode(canonical(subject.previews))
        if subject.observation is not None:
            said = "value" if subject.observation.status == "performed" else "error"
            detail[said] = decode(canonical(subject.observation.said))
        given = await self._people.approve(subject.key, subject.kind, subject_digest, title, detail)
        if given.granted:
            return "allow", list(verdicts)
        comment = self._state.at(subject.key).comment
        if given.by == EXPIRY:
            said = comment or "nobody answered in time"
        else:
            said = f"{given.by or 'a person'} said no{comment and f': {comment}'}"
        return "block", [*verdicts, Verdict(decision="block", monitor="people", rationale=said, feedback=said)]

    async def _is_waived(self, subject: Subject, subject_digest: str) -> bool:
        """Whether monitors spare a person this question; once a person was asked, nobody answers for them."""
        calls = subject.plan or ((subject.call,) if subject.call is not None else ())
        return await self._reviews.waive(subject, subject_digest, self._reviews.stakes(calls))

    async def _refuse(
        self, key: str, call: ActionCall, progress: Progress, decision: Decision, verdicts: Sequence[Verdict]
    ) -> ActionError:
        feedback = "; ".join(objection.feedback for objection in objections_of(verdicts))
        if progress.intent is not None and progress.intent.effect != "read":
            # It may have happened before the process died; `refused` would say that it did not.
            reason = f"it was interrupted and may not be tried again: {feedback}"
            return await self._effects.conclude(key, call, "unknown", reason=reason)  # type: ignore[return-value]  # unknown is an error
        cost = self._actions[call.action].spec.cost if call.action in self._actions else 0.0
        event = ev.ActionRefused(key=key, action=call.action, digest=progress.digest, decision=decision, cost=cost)
        self._reach("action.refused:before")
        body = self._recorder.record(event, {"feedback": feedback, **self._undoing.offer(progress, call)})
        await self._recorder.flush()
        self._reach("action.refused:after")
        if self._state.insists:
            raise Stopped(self._state.insists)
        return refusal_from(event, body)

    def _mint_for(self, key: str, call: ActionCall, exact: bytes, progress: Progress, decision: Decision) -> Clearance:
        """Make the clearance for one call and record it, with no await in between."""
        told = Call(
            run=self._recorder.claim.run,
            key=idempotency_key(self._recorder.claim.run, key),
            attempt=progress.attempts + 1,
            credentials=self._effects.reveal(call.action),
            epoch=self._recorder.claim.epoch,
        )
        self._recorder.record(
            ev.ActionCleared(
                key=key,
                action=call.action,
                digest=progress.digest,
                decision=decision,
                approval=progress.approved.id if progress.approved is not None else progress.covered,
                observed=self._observe,
            )
        )
        return Clearance(self._mint, call.action, exact, told, observed=self._observe)


def _blocked(problem: str) -> Verdict:
    """Return the verdict of the gate's own rules against a call."""
    return Verdict(decision="block", monitor="gate", rationale=problem, feedback=problem)


def _said_before(progress: Progress) -> list[Verdict]:
    """Return the refusal that the gate's own rules recorded for exactly this before an interruption; it stays."""
    if progress.intent is not None or not progress.verdicts:
        return []
    said = progress.verdicts.get(("plan", progress.digest, "gate", ""))
    return [said] if said is not None and said.decision == "block" else []


def _must_be_the_same(now: bytes, then: bytes, key: str) -> None:
    """Check that a move that waited is unchanged since it was reviewed.

    Raises:
        PlanChanged: its arguments were changed meanwhile.
    """
    if now != then:
        raise PlanChanged(
            f"what the planner proposed at {key} was changed while it waited, so it is no longer what was reviewed"
        )


def review_from(event: ev.PlanDecided, body: bytes) -> Review:
    """Return what the planner is sent for a recorded decision on its plan."""
    objections = msgspec.convert(decode(body)["objections"], tuple[Objection, ...]) if body else ()
    return Review(event.key, event.allowed, objections)


def refusal_from(event: ev.ActionRefused, body: bytes) -> ActionRefused:
    """Return what is thrown into the planner for a recorded refusal."""
    content = decode(body)
    said, undo = offer_in(content)
    return ActionRefused(content["feedback"] + said, event.key, action=event.action, **undo)
