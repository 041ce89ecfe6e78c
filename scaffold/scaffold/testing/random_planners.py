"""Random planners from a seed: trees of all kinds of moves, whose inputs contain all that they were sent.

Each step's inputs contain everything the generator has learned so far. A value that differs by one byte between a live
run and its replay therefore changes the next move, and is detected as `PlanChanged`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from scaffold.errors import ActionError, GaveUp, MoveError
from scaffold.planning import act, ask, carry_out, note, propose, think, together
from scaffold.vocabulary.plan import Plan, Planned
from scaffold.vocabulary.references import Reference
from scaffold.vocabulary.sampling import ahead_by, majority

if TYPE_CHECKING:
    from scaffold.vocabulary.moves import Planning
    from scaffold.vocabulary.task import Task

Kind = Literal["think", "vote", "together", "plan", "act", "ask", "note", "give up"]
_KINDS: Sequence[Kind] = (
    "think",
    "think",
    "vote",
    "together",
    "together",
    "plan",
    "act",
    "act",
    "ask",
    "note",
    "give up",
)
_WEIGHTS = (4, 4, 2, 3, 3, 3, 3, 3, 0.6, 1, 0.15)
_DEEPEST = 3


@dataclass(frozen=True, slots=True)
class Node:
    """One part of a planner's tree.

    Attributes:
        kind: its kind of move.
        name: a name unique in the tree, which makes prompts and arguments differ.
        parts: its parts, run in turn, or in parallel for `together`.
        actions: names of the actions it proposes.
        links: for each action of a plan, the earlier ones whose results it uses.
        catches: whether it catches its own errors and goes on.
    """

    kind: Kind
    name: str
    parts: tuple[tuple[Node, ...], ...] = ()
    actions: tuple[str, ...] = ()
    links: tuple[tuple[int, ...], ...] = ()
    catches: bool = True


@dataclass(slots=True)
class Told:
    """What one generator was sent, as JSON values, with references to pass on."""

    words: list[Any] = field(default_factory=list)
    references: list[Reference[Any]] = field(default_factory=list)

    def learn(self, name: str, reference: Reference[Any]) -> None:
        """Remember a value with its provenance and taint."""
        where = reference.provenance
        extra = (
            getattr(reference, "text", ""),
            getattr(reference, "reasoning", ""),
            getattr(reference, "confidence", 0),
        )
        self.words.append([name, reference.value, list(where.sources), where.tainted, *extra])
        self.references.append(reference)


def draw_tree(source: random.Random, actions: Sequence[str], *, depth: int = 0) -> tuple[Node, ...]:
    """Draw a planner's sequence of parts."""
    nodes = []
    for number in range(source.randint(1, 4 - depth)):
        kind = source.choices(_KINDS, _WEIGHTS)[0]
        if kind == "together" and depth == _DEEPEST - 1:
            kind = "think"
        nodes.append(_draw_node(source, actions, kind, f"{depth}.{number}.{source.randrange(1000)}", depth))
    return tuple(nodes)


def _draw_node(source: random.Random, actions: Sequence[str], kind: Kind, name: str, depth: int) -> Node:
    catches = source.random() < 0.85  # noqa: PLR2004 - most planners go on after an error
    match kind:
        case "together":
            parts = tuple(draw_tree(source, actions, depth=depth + 1) for _ in range(source.randint(0, 3)))
            return Node(kind, name, parts, catches=catches)
        case "plan":
            chosen = tuple(source.choices(actions, k=source.randint(1, 4)))
            links = tuple(
                tuple(before for before in range(place) if source.random() < 0.4)  # noqa: PLR2004 - sparse
                for place in range(len(chosen))
            )
            return Node(kind, name, actions=chosen, links=links, catches=catches)
        case "act":
            return Node(kind, name, actions=(source.choice(actions),), catches=catches)
        case _:
            return Node(kind, name, catches=catches)


def planner_of(tree: tuple[Node, ...]) -> Any:
    """Make a planner that walks a tree, and answers with everything it was sent."""

    def walker(task: Task) -> Planning[list[Any]]:
        told = Told()
        if task.inputs:
            told.learn("input", task.input("paper"))
        yield from _walk(tree, told)
        return told.words

    return walker


def _walk(nodes: tuple[Node, ...], told: Told) -> Planning[list[Any]]:
    for node in nodes:
        try:
            yield from _do(node, told)
        except MoveError as error:
            told.words.append([node.name, type(error).__name__, error.message, error.key, error.tainted])
            if not node.catches:
                raise
    return told.words


def _do(node: Node, told: Told) -> Planning[None]:
    match node.kind:
        case "think":
            inputs = told.references[-1:] if len(node.name) % 2 else []
            told.learn(node.name, (yield from think("solve", *inputs, told.words, instruction=node.name)))
        case "vote":
            sampling = ahead_by(2, cap=9) if len(node.name) % 2 else majority(3)
            told.learn(
                node.name,
                (yield from think("decide", told.words, returns=int, instruction=node.name, sampling=sampling)),
            )
        case "together":
            said = yield from together(*(_walk(part, Told()) for part in node.parts))
            told.words.append([node.name, *said])
        case "plan":
            yield from _plan(node, told)
        case "act":
            told.learn(node.name, (yield from act(node.actions[0], {"what": _what(node.name, told)})))
        case "ask":
            told.learn(node.name, (yield from ask(f"what of {node.name}?", *told.references[-1:])))
        case "note":
            yield from note(f"{node.name}: {len(told.words)}", partial=len(told.words))
        case "give up":
            raise GaveUp(node.name)


def _what(name: str, told: Told) -> Any:
    return told.references[-1] if told.references and len(name) % 2 else f"{name} {len(told.words)}"


def _plan(node: Node, told: Told) -> Planning[None]:
    planned: list[Planned] = []
    for place, (name, links) in enumerate(zip(node.actions, node.links, strict=True)):
        what: Any = [f"{node.name}.{place}", *(planned[before].result for before in links)]
        planned.append(Planned(name, {"what": what}, id=f"n{place}"))
    plan = Plan(planned, reason=node.name)
    review = yield from propose(plan)
    told.words.append([node.name, review.allowed, [objection.feedback for objection in review.objections]])
    if not review.allowed:
        return
    for name, seen in (yield from carry_out(plan, review)).items():
        try:
            told.learn(name, seen)
        except ActionError as error:
            told.words.append([name, seen.status, error.message])
