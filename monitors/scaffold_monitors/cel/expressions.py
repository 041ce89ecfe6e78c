"""A rule's CEL expression, analysed once: checking a call is then cheap, and an unsafe rule is refused at once.

CEL is the language of Kubernetes admission policies (https://cel.dev). The library holds the GIL while it evaluates,
and copies a record at each mention. So the source is analysed (`reading`) for what could take unbounded time, and
*fields* such as `args.account` become variables of their own: with 10,000 accounts in `inputs`,
`args.account in inputs.accounts` is some 20 times as fast that way.

The analysis is compared with the library's own list of variables; if they differ, the rule is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import msgspec

from scaffold.cel_library import compile_cel
from scaffold_monitors.cel.reading import ACROSS, CLOCK, FUNCTIONS, Fault, Mention, Reading
from scaffold_monitors.cel.ready import expand

if TYPE_CHECKING:
    import cel  # slow to import: see `scaffold.cel_library`

MOST_CHARACTERS = 2_000
# One unit takes about a microsecond: an operator on a small value, or copying one node of a record.
MOST_COST = 2_000_000


class Expression(msgspec.Struct, frozen=True, eq=False, dict=True):
    """A compiled expression and what it needs.

    Attributes:
        source: the expression as the user wrote it.
        expanded: the same with ready rules expanded.
        fields: for each variable of the compiled program, its path, such as `("args", "account")`.
        whole: the records that are used as a whole.
        probed: for each record, the fields tested with `has()`.
        functions: the functions that it calls.
        mentions: names to check against the existing actions.
        certain: whether arguments of planned calls are only ever selected, so that missing ones cannot mislead.
        depth: nesting depth of its comprehensions.
        days: how many days it looks back over all runs; 0 if it does not.
    """

    source: str
    expanded: str
    program: cel.Program
    fields: Mapping[str, tuple[str, ...]]
    whole: frozenset[str]
    probed: Mapping[str, frozenset[str]]
    functions: frozenset[str]
    mentions: tuple[Mention, ...]
    certain: bool
    depth: int
    operations: Mapping[int, int]
    copies: Mapping[int, int]
    days: int = 0

    @cached_property
    def arguments(self) -> frozenset[str]:
        """The names of the arguments that it selects."""
        return frozenset(path[1] for path in self.fields.values() if path[0] == "args")

    @cached_property
    def per_call(self) -> bool:
        """Whether it is about single calls."""
        roots = {path[0] for path in self.fields.values()} | self.whole | set(self.probed)
        return bool(roots & {"action", "args", "provenance"}) or "before" in self.functions

    @cached_property
    def looks_around(self) -> bool:
        """Whether it asks for the time, or for what other runs did."""
        return bool(self.functions & (ACROSS | CLOCK))

    @cached_property
    def of_plan(self) -> bool:
        """Whether it uses the plan as a list of calls."""
        return "plan" in self.whole

    def cost(self, longest: int, nodes: int) -> int:
        """Return an upper bound on the cost of one evaluation, in units of about a microsecond.

        Args:
            longest: length of the longest list or record among the values, or of a text in thousands of characters.
            nodes: number of values in all records.
        """
        steps = sum(count * longest**depth for depth, count in self.operations.items())
        copied = sum(count * nodes * longest**depth for depth, count in self.copies.items())
        return int(steps + copied)

    def fault(self, message: str, position: int) -> Fault:
        """Make a fault that points into the expression."""
        return Fault(message, self.expanded, position)


@lru_cache(maxsize=1024)
def read(source: str) -> Expression:
    """Compile and analyse an expression.

    Raises:
        Fault: it does not parse, uses an unknown name, or could take too long.
    """
    if len(source) > MOST_CHARACTERS:
        message = (
            f"is {len(source):,} characters long, but may have at most {MOST_CHARACTERS:,}: split it into several goals"
        )
        raise Fault(message, source, MOST_CHARACTERS)
    expanded = expand(source)
    program = _compiled(expanded)
    reading = Reading(expanded)
    reading.run()
    if set(program.variables()) != reading.seen:
        raise Fault("is written in a way that cannot be checked: put it more simply", expanded, 0)
    unknown = {name for name in program.functions() if name[0].isalpha()} - FUNCTIONS
    for token in reading.tokens:
        if token.text in unknown:
            raise Fault(f"{token.text!r} is called with wrong arguments", expanded, token.start)
    return Expression(
        source=source,
        expanded=expanded,
        program=_compiled(reading.rewritten()),
        fields={variable: path for path, variable in reading.fields.items()},
        whole=frozenset(reading.whole),
        probed={root: frozenset(names) for root, names in reading.probed.items()},
        functions=frozenset(reading.functions),
        mentions=tuple(reading.mentions),
        certain=reading.certain,
        depth=max(reading.operations),
        operations=dict(reading.operations),
        copies=dict(reading.copies),
        days=reading.days,
    )


def _compiled(source: str) -> cel.Program:
    try:
        return compile_cel(source)
    except ValueError as error:
        if deep := re.search(r"Recursion limit of (\d+) exceeded", str(error)):
            raise Fault(
                f"is nested too deeply, at most {deep[1]} levels are allowed: split it into several goals", source, 0
            ) from None
        found = re.search(r"<input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)", str(error))
        if not found:
            raise Fault(f"is not a CEL expression: {error}", source, 0) from None
        line, column, message = int(found[1]), int(found[2]), found[3].split(" expecting {")[0]
        start = sum(len(text) + 1 for text in source.split("\n")[: line - 1])
        raise Fault(f"is not a CEL expression: {message}", source, start + column - 1) from None
