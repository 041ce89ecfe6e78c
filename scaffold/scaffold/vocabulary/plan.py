"""Plans: DAGs of proposed actions and the thoughts they rest on."""

from __future__ import annotations

from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import msgspec

from scaffold.errors import PlanError, nearest
from scaffold.vocabulary.references import BARE, NOWHERE, Provenance, Reference, provenance_of, unwrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import networkx as nx

LATER = "$later"
UNDOES = "$undoes"


class Later:
    """A reference to the future result of a planned action."""

    __slots__ = ("_of", "path")

    def __init__(self, of: str | Planned, path: tuple[str | int, ...] = ()) -> None:
        self._of = of
        self.path = path

    @property
    def node(self) -> str:
        """Id of the action, which may be assigned after this reference is made."""
        return _id(self._of)

    def __getitem__(self, part: str | int) -> Later:
        """Refer to one field of the future result."""
        return Later(self._of, (*self.path, part))

    def __str__(self) -> str:
        action = self._of if isinstance(self._of, str) else self._of.action
        raise PlanError(
            f"what {action!r} will return is not known yet: pass it as an argument of its own, not within a text"
        )

    def __repr__(self) -> str:
        return f"Later({self.node!r}, {self.path!r})"

    def record(self) -> dict[str, Any]:
        """Return the form in which a plan's record holds it."""
        return {LATER: [self.node, *self.path]}


class Planned:
    """One action of a plan.

    Attributes:
        action: the action's name.
        arguments: bare values, references, or `Later` for results not known yet.
        id: the node's name within its plan; assigned by the plan if empty.
        because: references to the thoughts this action rests on.
        predicted: the consequence expected, in words or as a value to compare with.

    Raises:
        PlanError: the action is not given by name, or what it rests on is no list of references.
    """

    def __init__(
        self,
        action: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        id: str = "",  # noqa: A002 - the word the plan's record uses
        after: Sequence[str | Planned] = (),
        because: Sequence[Reference[Any]] = (),
        predicted: Any = None,
    ) -> None:
        self.action = _named(action)
        self.arguments = dict(arguments or {})
        self.id = id
        self._after = tuple(after)
        self.because = _references(because) if because else ()
        self.predicted = predicted

    def __getitem__(self, part: str | int) -> Later:
        """Refer to one field of this action's future result."""
        return Later(self, (part,))

    @property
    def result(self) -> Later:
        """Refer to the whole of this action's future result."""
        return Later(self)

    @property
    def after(self) -> tuple[str, ...]:
        """Ids of the nodes that must be performed before."""
        return tuple(map(_id, self._after))

    def needs(self) -> frozenset[str]:
        """Return the ids of the nodes that must come before this one."""
        return frozenset(self.after) | {later.node for later in _laters(self.arguments)}

    def __repr__(self) -> str:
        return f"Planned({self.action!r}, {self.arguments!r}, id={self.id!r})"


def _named(action: object) -> str:
    if isinstance(action, str):
        return action
    name = getattr(getattr(action, "spec", None), "name", "")
    raise PlanError(f"give the name of an action{name and f', {name!r}'}, not a {type(action).__name__}")


def _references(because: Any) -> tuple[Reference[Any], ...]:
    given = () if isinstance(because, str | Reference) else tuple(because)
    if not given or not all(isinstance(each, Reference) for each in given):
        said = "`because` should be a list of thoughts, or of other references, such as [thought]"
        raise PlanError(f"{said}, not {because!r:.80}")
    return given


def _id(node: str | Planned) -> str:
    return node if isinstance(node, str) else node.id


class ActionCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One proposed call as reviewers read it: arguments as JSON, with their provenance.

    Attributes:
        id: the node's name in its plan.
        action: the action's name.
        arguments: JSON values; `{"$later": [node, ...]}` stands for a result not known yet.
        provenance: provenance of each argument.
        control: provenance of the decision to make this call.
        after: ids of the nodes that come before.
        predicted: the consequence expected.
        compensates: key of the action of this run that it undoes; its arguments are then taken from there.
    """

    id: str
    action: str
    arguments: dict[str, Any]
    provenance: dict[str, Provenance] = {}
    control: Provenance = NOWHERE
    after: tuple[str, ...] = ()
    because: tuple[str, ...] = ()
    predicted: Any = None
    compensates: str = ""


class Plan:
    """Actions to take, in an order that their references and `after` imply.

    Raises:
        PlanError: two nodes share an id, a reference names no node, or the references form a cycle.
    """

    def __init__(self, actions: Sequence[Planned] = (), *, reason: str | Reference[str] = "") -> None:
        self.reason: str = unwrap(reason)
        self.actions = tuple(actions)
        for number, planned in enumerate(self.actions):
            if not planned.id:
                planned.id = f"a{number}"
        self._by_id = {planned.id: planned for planned in self.actions}
        if len(self._by_id) != len(self.actions):
            ids = [planned.id for planned in self.actions]
            raise PlanError(f"two actions of the plan have the id {next(i for i in ids if ids.count(i) > 1)!r}")
        self.order = self._ordered()

    def _ordered(self) -> tuple[str, ...]:
        needs = {planned.id: planned.needs() for planned in self.actions}
        for node, before in needs.items():
            for name in sorted(before):
                if name not in self._by_id:
                    meant = nearest(name, needs) or f"; it has {', '.join(self._by_id)}"
                    raise PlanError(f"{node!r} refers to {name!r}, which the plan does not have{meant}")
        try:
            return tuple(TopologicalSorter(needs).static_order())
        except CycleError as error:
            raise PlanError(f"the plan has a circular dependency: {' -> '.join(error.args[1])}") from None

    def __getitem__(self, node: str) -> Planned:
        return self._by_id[node]

    def __iter__(self) -> Iterator[Planned]:
        return iter(self.actions)

    def __len__(self) -> int:
        return len(self.actions)

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """The plan as a networkx graph, with edges from each node to those that need it."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        for planned in self.actions:
            graph.add_node(planned.id, action=planned.action)
            graph.add_edges_from((before, planned.id) for before in planned.needs())
        return graph

    def components(self) -> list[list[str]]:
        """Split the plan into independent groups of nodes, each in an order that respects its dependencies."""
        group: dict[str, list[str]] = {}
        for node in self.order:
            members = [node]
            for before in sorted(self._by_id[node].needs(), key=self.order.index):
                if group[before] is not members:
                    members[:0] = group[before]
                    for name in group[before]:
                        group[name] = members
            group[node] = members
        rank = {node: place for place, node in enumerate(self.order)}
        unique = {id(members): members for members in group.values()}
        return [sorted(members, key=rank.__getitem__) for members in unique.values()]

    def calls(self, history: Provenance) -> tuple[ActionCall, ...]:
        """Return the plan as reviewers read it."""
        return tuple(as_call(planned, history) for planned in self.actions)


def as_call(planned: Planned, history: Provenance) -> ActionCall:
    """Return one planned action as reviewers read it."""
    arguments, provenance, before = {}, {}, set(planned.after)
    for name, value in planned.arguments.items():
        if type(value) in BARE:  # most are; another function call would cost more than this
            arguments[name], provenance[name] = value, history
        else:
            arguments[name], provenance[name] = _recorded(value), _where_from(value, history)
            before.update([later.node for later in _laters(value)])
    because = [source for each in planned.because for source in each.provenance.sources] if planned.because else ()
    return ActionCall(
        id=planned.id,
        action=planned.action,
        arguments=arguments,
        provenance=provenance,
        control=history,
        after=tuple(sorted(before)),
        because=tuple(because),
        predicted=unwrap(planned.predicted),
    )


def resolve(value: Any, results: Mapping[str, Reference[Any]]) -> Any:
    """Replace each `Later` by the now known result, as a reference."""
    match value:
        case Later():
            known: Reference[Any] = results[value.node]
            for part in value.path:
                known = known[part]
            return known
        case dict():
            return {name: resolve(item, results) for name, item in value.items()}
        case list() | tuple():
            return [resolve(item, results) for item in value]
        case _:
            return value


def is_pending(value: Any) -> bool:
    """Whether a recorded argument still waits for another action's result."""
    if type(value) in BARE:
        return False
    match value:
        case dict():
            return LATER in value or any(map(is_pending, value.values()))
        case list():
            return any(map(is_pending, value))
        case _:
            return False


def _laters(value: Any) -> Iterator[Later]:
    match value:
        case Later():
            yield value
        case dict():
            for item in value.values():
                if type(item) not in BARE:
                    yield from _laters(item)
        case list() | tuple():
            for item in value:
                yield from _laters(item)


def _recorded(value: Any) -> Any:
    if type(value) in BARE:
        return value
    match value:
        case Later():
            return value.record()
        case Reference():
            return _recorded(value.value)
        case dict():
            return {name: _recorded(item) for name, item in value.items()}
        case list() | tuple():
            return [_recorded(item) for item in value]
        case _:
            return _as_read(value)


def _as_read(value: Any) -> Any:
    """Return a value without references as actions read it: under the field names of its schema."""
    from pydantic import BaseModel  # takes a tenth of a second; not needed to list plug-ins

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, round_trip=True)
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("bytes cannot be written as JSON: give text, in the form that the action expects")
    return value


def _where_from(value: Any, history: Provenance) -> Provenance:
    if type(value) in BARE:
        return history
    pending = [f"action:{later.node}" for later in _laters(value)]
    if not pending:
        return provenance_of(value, history)
    # An action's future result is untrusted until the action has said otherwise.
    return (NOWHERE if isinstance(value, Later) else history) | Provenance(tuple(pending), tainted=True)
