"""What a user asks for: Task, Goal, Budget. These are pydantic models, since users write them.

They are built at every start, so they are written for speed: annotations that need no second evaluation, parts built
together with the whole, and defaults that are not validated.
"""

import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from scaffold.vocabulary.references import Provenance, Reference

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler

    from scaffold.vocabulary.actions import ActionSpec

GoalKind = Literal["objective", "constraint", "principle"]
_GOAL_KINDS: tuple[GoalKind, ...] = ("objective", "constraint", "principle")


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):  # pydantic takes it for 0 or 1
        raise ValueError("should be a number")  # noqa: TRY004 - pydantic reads ValueErrors
    return value


Int = Annotated[int, BeforeValidator(_no_truth)]
Float = Annotated[float, BeforeValidator(_no_truth)]
Count = Annotated[Int, Field(ge=0, le=sys.maxsize)]
Positive = Annotated[Int, Field(gt=0, le=sys.maxsize)]
Amount = Annotated[Float, Field(ge=0)]
Part = Annotated[Float, Field(ge=0, le=1)]
Seconds = Annotated[Float, Field(gt=0)]

# Text editors offer both ways to write it.
_NAMES_OR_KEYS = {
    "anyOf": [
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
        {"type": "object", "additionalProperties": {"type": "string"}},
    ]
}


class _Strict(BaseModel):
    # An infinity would be recorded as null, and the trace could not be read any more.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: "GetJsonSchemaHandler") -> dict[str, Any]:
        cls.model_rebuild()  # pydantic before 2.14 does not build the serializer that writes defaults
        return handler(schema)


class Examples(_Strict):
    """Examples of what a goal wants and does not want.

    Attributes:
        wanted: acts or answers that keep to it.
        unwanted: acts or answers that do not.
    """

    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()


class Goal(_Strict):
    """Something to achieve, never to break, or to honour.

    In a task file the kind may be the key: `constraint: pay each invoice once`.

    Attributes:
        kind: `objective` (to achieve), `constraint` (never to break) or `principle` (ethical).
        statement: the goal, in a sentence.
        name: its name in verdicts; made of the statement's first words if empty.
        rule: a CEL expression that is true as long as the goal holds.
        weight: how much an objective counts against others where a planner weighs ways to act.
        examples: what it wants and does not want.
    """

    kind: GoalKind = "objective"
    statement: str
    name: str = ""
    rule: str | None = None
    weight: Annotated[Float, Field(gt=0)] = 1.0
    examples: Examples = Examples.model_construct()

    @model_validator(mode="before")
    @classmethod
    def _kind_as_key(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"statement": data}
        if not isinstance(data, dict):
            return data
        kinds = [kind for kind in _GOAL_KINDS if kind in data]
        said = [*kinds, *(name for name in ("kind", "statement") if kinds and name in data)]
        if len(said) > 1:
            raise ValueError(f"has both `{said[0]}` and `{said[1]}`: a goal has one kind; make it two goals")
        if not kinds:
            return data
        rest = {name: value for name, value in data.items() if name != kinds[0]}
        return {"kind": kinds[0], "statement": data[kinds[0]], **rest}

    @field_validator("statement")
    @classmethod
    def _says_something(cls, statement: str) -> str:
        if not statement.strip():
            raise ValueError("has an empty statement: say what is wanted")
        return statement

    @model_validator(mode="after")
    def _named(self) -> "Goal":
        if not self.name:
            words = re.findall(r"[a-z0-9]+", self.statement.lower())[:5]
            object.__setattr__(self, "name", "-".join(words) or self.kind)
        return self


class Budget(_Strict):
    """The most a run may use; None means no limit.

    Attributes:
        tokens: tokens read and written by models.
        usd: US dollars, for models and for actions by their declared cost; needs backends whose prices are known.
        seconds: how long it is active, over all its resumes; waiting for a person does not count.
        steps: cognitive steps.
        actions: actions begun.
    """

    tokens: Positive | None = 1_000_000
    usd: Amount | None = None
    seconds: Seconds | None = 3600.0
    steps: Positive | None = 10_000
    actions: Count | None = 100


class ArgumentLimits(_Strict):
    """The most that a number among an action's arguments may be, or add up to.

    Attributes:
        each: in one call.
        run: in total over a run.
        day: in total over the last 24 hours, in all runs of a folder.
    """

    each: Amount | None = None
    run: Amount | None = None
    day: Amount | None = None


class Limits(_Strict):
    """How much of an action is allowed; a day is the last 24 hours, over all runs of a folder.

    Attributes:
        run: times in a run.
        day: times a day.
        usd_run: dollars in a run, by the cost that the action declares.
        usd_day: dollars a day.
        arguments: for arguments that are numbers, by name, the most that each may be or add up to.
    """

    run: Count | None = None
    day: Count | None = None
    usd_run: Amount | None = None
    usd_day: Amount | None = None
    arguments: dict[str, ArgumentLimits] = {}


class Unread(_Strict):
    """What applies to steps and effects of backends whose reasoning is `absent`.

    Attributes:
        votes: samples for a majority vote on steps whose answers can be counted, if neither planner nor run sets
            another sampling.
        step_tokens: most tokens of one answer: smaller steps hide less.
        finer: planners that can split their steps further do so, once a thought says that none of the reasoning behind
            it could be read.
        ask: which effects are put to a person: none, irreversible ones that a monitor has flagged or whose backend
            showed its reasoning before, all irreversible ones, or all.
    """

    votes: Annotated[Int, Field(ge=1, le=1000)] = 1
    step_tokens: Annotated[Int, Field(ge=1)] | None = None
    finer: bool = False
    ask: Literal["never", "flagged", "irreversible", "effects"] = "flagged"


class Floors(_Strict):
    """How certain it must be that the readable reasoning carries the answers, before effects are cleared.

    Attributes:
        reversible: least lower end of the interval that probes have measured, for reversible effects.
        irreversible: the same for irreversible ones.
        unmet: what happens below it: a person is asked (`escalate`), or the effect is refused (`block`).
    """

    reversible: Part = 0.0
    irreversible: Part = 0.0
    unmet: Literal["escalate", "block"] = "escalate"


class Oversight(_Strict):
    """How the gate behaves in one task.

    Attributes:
        unmonitored: lets actions run that no monitor has read; reads always may run.
        rounds: how often plans or actions may be refused before the run is stopped.
        resamples: how often a suspicious step may be drawn again.
        approval_timeout_s: how long a question to a person stays open; then it means no.
        approvers: who may approve: names, or names with the verifier line of each one's key; anybody if empty.
        needs: how many of them must approve.
        undo: when a step of a plan fails, what its plan has done before can be undone: `offer` this to the planner,
            `ask` a person about each, or `always` undo, the last first; if an action may have happened, or its undo
            failed or was refused, the actions it rests on are left. Each undo goes through the gate.
        unread: what applies where reasoning is hidden, beside higher stakes.
        monitorability: how well the reasoning must be known to carry the answers, for effects to be cleared.
        budget: what oversight itself may use; a ledger of its own.
    """

    unmonitored: bool = False
    rounds: Positive = 5
    resamples: Count = 2
    approval_timeout_s: Annotated[Seconds, Field(le=10**10)] = 86_400.0  # a clock can tell when it is over
    approvers: Annotated[dict[str, str], WithJsonSchema(_NAMES_OR_KEYS)] = {}
    needs: Positive = 1
    undo: Literal["offer", "ask", "always"] = "offer"
    unread: Unread = Unread.model_construct()
    monitorability: Floors = Floors.model_construct()
    budget: Budget = Budget.model_construct(steps=None, actions=None)

    @field_validator("approvers", mode="before")
    @classmethod
    def _names_or_keys(cls, approvers: Any) -> Any:
        if isinstance(approvers, str):
            raise ValueError(f"should be a list of names, such as [{approvers}]")  # noqa: TRY004 - pydantic reads ValueErrors
        if isinstance(approvers, list | tuple):
            if not all(isinstance(name, str) for name in approvers):
                raise ValueError("should be a list of names, or a mapping of names to keys")
            if len(set(approvers)) != len(approvers):
                raise ValueError(f"names {max(approvers, key=approvers.count)!r} twice")
            if not approvers:
                raise ValueError("is an empty list: leave it out to let anybody approve")
            return dict.fromkeys(approvers, "")
        return approvers

    @model_validator(mode="after")
    def _enough_of_them(self) -> "Oversight":
        if any(not name.strip() for name in self.approvers):
            raise ValueError("approvers has an empty name")
        if self.approvers and self.needs > len(self.approvers):
            raise ValueError(
                f"needs {self.needs} approvals, but approvers has only {len(self.approvers)} names: name more "
                "approvers, or lower `needs`"
            )
        return self


class Tracing(_Strict):
    """What tracing backends are shown of a run.

    Attributes:
        content: whether spans may hold prompts, answers, arguments and results. False always holds; True holds unless
            the environment says no; if left out, the environment decides.
    """

    content: bool | None = None


class Redact(_Strict):
    """What is left out of the trace when it is written, and so also of what the planner and later steps are told.

    Attributes:
        patterns: regular expressions; what they match in any text is replaced by `[redacted]`, not in names of fields.
        fields: names of fields whose values are left out, wherever they occur.
    """

    patterns: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    @field_validator("patterns")
    @classmethod
    def _are_patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                found = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"has {pattern!r}, which is not a regular expression: {error}") from None
            if found.match(""):
                raise ValueError(f"has {pattern!r}, which matches empty text")
        return patterns


class Task(_Strict):
    """What is asked.

    Attributes:
        prompt: the request, in the user's words.
        inputs: facts given with it, by name; trusted unless listed in `untrusted`. The run sees them as JSON has them:
            a date is text, a tuple is a list.
        untrusted: names of inputs that are data from outside, tainted from the start.
        goals: what to achieve and to keep to.
        actions: names of the actions allowed; None allows all that were given.
        limits: the most that actions may be done, by name; each becomes a goal with a rule.
        answer: what kind of answer is wanted: `text`, `integer`, `number`, `boolean`, or a list of choices.
        budget: the most the run may use.
        oversight: how the gate behaves.
        redact: what is kept out of the trace, and so from the planner.
        tracing: what tracing backends are shown.
        concurrency: most steps and actions at once.
    """

    prompt: str
    inputs: dict[str, Any] = {}
    untrusted: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()
    actions: tuple[str, ...] | None = None
    limits: dict[str, Limits] = {}
    answer: Literal["text", "integer", "number", "boolean"] | tuple[str, ...] = "text"
    budget: Budget = Budget.model_construct()
    oversight: Oversight = Oversight.model_construct()
    redact: Redact = Redact()
    tracing: Tracing = Tracing.model_construct()
    concurrency: Annotated[Int, Field(gt=0, le=10_000)] = 16

    _tools: "tuple[ActionSpec, ...]" = PrivateAttr(default=())
    _asked: Reference[str] | None = PrivateAttr(default=None)
    _given: dict[str, Reference[Any]] = PrivateAttr(default={})

    @field_validator("answer")
    @classmethod
    def _has_choices(cls, answer: Any) -> Any:
        if answer == ():
            raise ValueError("is an empty list: give at least one choice")
        return answer

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("is empty: say what is asked")
        return prompt

    @model_validator(mode="after")
    def _names_fit(self) -> "Task":
        missing = [name for name in self.untrusted if name not in self.inputs]
        if missing:
            raise ValueError(f"untrusted has names that are not inputs: {', '.join(missing)}")
        names = [goal.name for goal in self.goals]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two goals are named {doubled[0]!r}: give one of them another name")
        return self

    @property
    def tools(self) -> "tuple[ActionSpec, ...]":
        """The actions that exist in this run, for planners to choose among."""
        return self._tools

    def with_tools(self, tools: "tuple[ActionSpec, ...]") -> "Task":
        """Return this task with the actions that exist."""
        known = self.model_copy()
        known._tools = tools  # noqa: SLF001 - its own kind, just copied
        return known

    def part(self, request: Reference[str], *, inputs: Mapping[str, Any] | None = None, **changes: Any) -> "Task":
        """Return a smaller task within this one, for another planner to solve by `yield from`.

        Args:
            request: what is asked; it keeps its provenance.
            inputs: what it is given instead of this task's inputs. References keep their provenance; another value is
                untrusted, since it may have been made from anything.
            changes: other fields that differ, such as `answer`.
        """
        given = self._given
        if inputs is not None:
            given = {name: self._as_input(name, each) for name, each in inputs.items()}
            for name in given.keys() & set(changes.get("untrusted", ())):
                given[name] = Reference(given[name].value, given[name].provenance | Provenance(tainted=True))
            changes["inputs"] = {name: each.value for name, each in given.items()}
            changes["untrusted"] = tuple(name for name, each in given.items() if each.provenance.tainted)
        part = Task.model_validate({**dict(self), **changes, "prompt": request.value})
        part._tools, part._asked, part._given = self._tools, request, given  # noqa: SLF001 - as above
        return part

    def _as_input(self, name: str, value: Any) -> Reference[Any]:
        if isinstance(value, Reference):
            return value
        if name in self.inputs and value is self.inputs[name]:
            return self.input(name)
        return Reference(value, Provenance(tainted=True))

    @property
    def request(self) -> Reference[str]:
        """Refer to the prompt with its provenance: the user's own words, or where a part's words came from."""
        if self._asked is not None:
            return self._asked
        return Reference(self.prompt, Provenance(("task:prompt",)))

    def input(self, name: str) -> Reference[Any]:
        """Refer to an input with its provenance.

        Raises:
            KeyError: the task has no such input.
        """
        if name not in self.inputs:
            raise KeyError(f"the task has no input {name!r}; its inputs are {sorted(self.inputs)}")
        if name in self._given:
            return self._given[name]
        return Reference(self.inputs[name], Provenance((f"input:{name}",), name in self.untrusted))
