"""Builds the `Situation` that `entailment` judges, from the calls under review and the results read before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.plan import is_pending
from scaffold_monitors.entailment.calls import COMPOSED, Call, Leaf, Origin, leaves
from scaffold_monitors.entailment.kept import Kept
from scaffold_monitors.entailment.licences import Reading, read
from scaffold_monitors.entailment.sightings import pieces
from scaffold_monitors.entailment.situation import Situation
from scaffold_monitors.entailment.tools import Tool, descriptions_apart, read_tool
from scaffold_monitors.entailment.wording import stands_in

if TYPE_CHECKING:
    from scaffold.interfaces import TraceView
    from scaffold.vocabulary.actions import ActionSpec
    from scaffold.vocabulary.plan import ActionCall
    from scaffold.vocabulary.references import Provenance
    from scaffold.vocabulary.task import Task
    from scaffold_monitors.recollection import Recollection

# How many tasks' parsed requests are cached.
_TASKS = 64


class Unreadable(ValueError):
    """A plan that cannot be analysed.

    Attributes:
        node: the call at fault.
    """

    def __init__(self, node: str, problem: str) -> None:
        super().__init__(problem)
        self.node = node


class Request:
    """A task's words and inputs, parsed once."""

    def __init__(self, task: Task, tools: Mapping[str, Tool]) -> None:
        objectives = [goal.statement for goal in task.goals if goal.kind == "objective"]
        self.words = "\n".join([task.prompt, *objectives])
        self.facts = {name: value for name, value in task.inputs.items() if name not in task.untrusted}
        self.foreign = {
            f"input:{name}": Call(id=f"input:{name}", tool=_input(name), seen=task.inputs[name])
            for name in task.untrusted
        }
        self.reading: Reading = read(self.words, tools)


def _input(name: str) -> Tool:
    return read_tool(f"get_{name}", "", {}, effect=False)


def tools_of(actions: Mapping[str, ActionSpec]) -> dict[str, Tool]:
    """Read all action specifications into the core's form."""
    described = descriptions_apart({name: spec.description for name, spec in actions.items()})
    return {
        name: read_tool(name, described[name], spec.parameters, effect=spec.effect != "read", identity=spec.identity)
        for name, spec in actions.items()
    }


def done_before(past: Recollection, key: str, tools: Mapping[str, Tool], action: str) -> list[Call]:
    """Return an effect's recent calls, without the plan or action with this key; value origins are not traced."""
    tool = tools.get(action)
    calls = past.earlier(action, key) if tool else ()
    return [Call(each.id, tool, leaves(tool, each.arguments, {})) for each in calls if tool]


class Surveyor:
    """Builds situations. Caches what a task and its actions determine, and the last situation for the next monitor."""

    def __init__(self) -> None:
        self._tools = Kept(tools_of)
        self._requests: dict[int, tuple[Task, Mapping[str, Tool], Request]] = {}
        self._last: tuple[Recollection, int, TraceView, bytes, Situation] | None = None

    def request(self, view: TraceView) -> Request:
        """Return the parsed request of a run."""
        tools = self._tools(view.actions)
        known = self._requests.get(id(view.task))
        if known is None or known[0] is not view.task or known[1] is not tools:
            if len(self._requests) > _TASKS:
                self._requests.clear()
            known = self._requests[id(view.task)] = (view.task, tools, Request(view.task, tools))
        return known[2]

    def situation(self, calls: Sequence[ActionCall], view: TraceView, past: Recollection) -> Situation:
        """Build the situation of some calls.

        Raises:
            Unreadable: a call's action does not exist, or the plan's references lead nowhere or in a circle.
        """
        try:
            asked = canonical(calls)
        except (ValueError, RecursionError):  # has no canonical form, so it cannot be cached
            return self._made(calls, view, past)
        last = self._last
        if last is not None and last[0] is past and last[1] == past.seen and last[3] == asked:
            before = last[2]
            if before.task is view.task and before.actions is view.actions:
                return last[4]
        made = self._made(calls, view, past)
        self._last = past, past.seen, view, asked, made
        return made

    def _made(self, calls: Sequence[ActionCall], view: TraceView, past: Recollection) -> Situation:
        tools: dict[str, Tool] = self._tools(view.actions)
        request = self.request(view)
        ordered = _in_order(calls, tools)
        own = frozenset(call.id for call in ordered)
        tracer = _Tracer(past, own, request)
        planned = [tracer.planned(call, tools[call.action], view) for call in ordered]
        earlier = tracer.earlier(tools)
        return Situation(
            request=request.words,
            calls=[*earlier, *planned],
            tools=tools,
            facts=request.facts,
            done=frozenset(call.id for call in earlier),
        )


def _in_order(calls: Sequence[ActionCall], tools: Mapping[str, Tool]) -> Sequence[ActionCall]:
    for call in calls:
        if call.action not in tools:
            raise Unreadable(call.id, f"there is no action {call.action!r}")
    if len(calls) == 1:
        return calls
    by_id = {call.id: call for call in calls}
    if len(by_id) < len(calls):
        twice = next(call.id for place, call in enumerate(calls) if any(call.id == each.id for each in calls[:place]))
        raise Unreadable(twice, f"two calls of the plan have the id {twice!r}")
    for call in calls:
        missing = next((node for node in call.after if node not in by_id), None)
        if missing is not None:
            raise Unreadable(call.id, f"it comes after {missing!r}, which is not in the plan")
    try:
        ordered = list(TopologicalSorter({call.id: call.after for call in calls}).static_order())
    except CycleError as error:
        raise Unreadable(
            error.args[1][0], f"the plan has a circular dependency: {' -> '.join(error.args[1])}"
        ) from None
    return [by_id[node] for node in ordered]


class _Tracer:
    """Traces values back to the results they were made from."""

    def __init__(self, past: Recollection, own: frozenset[str], request: Request) -> None:
        self._past = past
        self._own = own
        self._request = request
        self._used: dict[str, None] = {}

    def planned(self, call: ActionCall, tool: Tool, view: TraceView) -> Call:
        """Convert a call under review, with the origin of each value."""
        origins = {name: self._origin(call, name, call.provenance.get(name)) for name in call.arguments}
        found = leaves(tool, call.arguments, origins)
        if _ANYWHERE in origins.values():
            found = tuple([self._found(leaf) if leaf.origin is _ANYWHERE else leaf for leaf in found])
        return Call(
            id=call.id,
            tool=tool,
            leaves=found,
            trusted=view.actions[call.action].trusted,
            steered=call.control.tainted,
        )

    def _origin(self, call: ActionCall, name: str, where: Provenance | None) -> Origin:
        if where is None:
            return COMPOSED
        if not where.tainted:
            return _ANYWHERE if self._past.composed(where.sources) else _TRUSTED
        reads = []
        for source in self._past.behind(where.sources):
            kind, _, key = source.partition(":")
            if kind == "action" and key in self._own and is_pending(call.arguments[name]):
                reads.append(key)
            elif source in self._request.foreign or (kind == "action" and key in self._past.told):
                self._used[source] = None
                reads.append(source)
        return Origin(reads=tuple(reads)) if reads else _ANYWHERE

    def _found(self, leaf: Leaf) -> Leaf:
        """Search recent results for a value of unknown origin: written by a model, or from the whole history."""
        if leaf.pending or isinstance(leaf.value, bool):
            return leaf
        reads = [each for each, call in self._request.foreign.items() if _stands(leaf.text, call.seen)]
        reads += [f"action:{key}" for key in self._past.where(leaf.text)]
        if not reads:
            return leaf
        self._used.update(dict.fromkeys(reads))
        return replace(leaf, origin=Origin(reads=tuple(reads)))

    def earlier(self, tools: Mapping[str, Tool]) -> list[Call]:
        """Return the performed calls whose results the calls under review use."""
        return [self._call(source, tools) for source in self._used]

    def _call(self, source: str, tools: Mapping[str, Tool]) -> Call:
        if source in self._request.foreign:
            return self._request.foreign[source]
        told = self._past.told[source.partition(":")[2]]
        tool = tools.get(told.call.action) or read_tool(told.call.action, "", {}, effect=False)
        return Call(
            id=source,
            tool=tool,
            leaves=leaves(tool, told.call.arguments, dict(self._origins(told.call))),
            seen=told.value,
            trusted=told.trusted,
        )

    def _origins(self, call: ActionCall) -> Iterator[tuple[str, Origin]]:
        for name, where in call.provenance.items():
            reads = tuple(each for each in self._past.behind(where.sources) if each.startswith(("action:", "input:")))
            yield name, Origin(reads=reads, trusted=not where.tainted, known=bool(reads))


def _stands(text: str, told: Any) -> bool:
    """Whether a value occurs in a result."""
    return any(stands_in(text, piece.text) for piece in pieces(told))


_TRUSTED = Origin(trusted=True)
# Written by a model, or dependent on its generator's whole history.
_ANYWHERE = Origin(known=False)
