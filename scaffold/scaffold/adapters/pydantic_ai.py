"""The gate in front of the tools of Pydantic AI agents (extra `pydantic-ai`).

    gate = Gate(actions=actions_of([search, pay], effects={"search": "read"}))
    async with gate.run("Pay what is due") as run:
        agent = Agent(model, tools=gated(run, [search, pay]), capabilities=[thinking(run)])
        await agent.run(question)

Tools are functions, `Tool`s, or `FunctionToolset`s, whose tools are taken one by one (its instructions are for you to
give to the agent). A gated tool belongs to one run,
and so does the agent that has it. With `thinking(run)`, stream with `run_stream_events` or `iter`: `run_stream` makes
calls before the model's words with them have been read, which is refused. What a tool raises to steer its agent
(`ModelRetry`, `ApprovalRequired`) reaches it.
On resume, earlier results are given again in the type that the function's annotation returns (`-> ToolReturn`), or as
JSON values without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from scaffold.adapters.arguments import alike, fitting, plain, settled
from scaffold.adapters.tools import (
    Carried,
    Declares,
    Reach,
    ToolAction,
    declared,
    must_be_gated,
    must_be_known,
    said_or_called,
    told,
)
from scaffold.errors import ActionError, ActionRefused, BadInput, MissingExtra, NotPerformed
from scaffold.fitting import arguments_in_words
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.models import Usage

try:
    from pydantic_ai import (
        Agent,
        ApprovalRequired,
        CallDeferred,
        FunctionToolset,
        ModelRetry,
        RunContext,
        Tool,
        ToolFailed,
    )
    from pydantic_ai.capabilities import Hooks
    from pydantic_ai.messages import ToolCallPart
    from pydantic_ai.toolsets import WrapperToolset
except ImportError:
    raise MissingExtra("scaffold.adapters.pydantic_ai", "pydantic-ai") from None

if TYPE_CHECKING:
    from pydantic_ai import AbstractToolset
    from pydantic_ai.messages import ModelResponse

    from scaffold.hosting import GatedRun, SyncGatedRun

Tools: TypeAlias = "Sequence[Tool[Any] | FunctionToolset[Any] | Callable[..., Any]]"


def actions_of(tools: Tools, **said: Unpack[Declares]) -> list[ToolAction]:
    """Make actions from tools, with the tool's name and schema; performing one runs the tool's own function.

    Raises:
        BadInput: something is not a tool, or a declaration names an unknown one.
    """
    own = [_as_tool(each) for each in _each(tools)]
    schemas = {tool.name: tool.function_schema.json_schema for tool in own}
    specs = declared(list(schemas), schemas, {tool.name: tool.description or "" for tool in own}, **said)
    return [
        ToolAction(specs[tool.name], _key(each), _fit(tool), _Body(tool), partial(getattr, tool, "function_schema"))
        for tool, each in zip(own, _each(tools), strict=True)
    ]


def gated(run: GatedRun | SyncGatedRun, tools: Tools) -> list[Tool[Any]]:
    """Return the same tools for one run's agent, with each call going through its gate.

    Raises:
        BadInput: the run's gate has no action for one of them.
    """
    made = []
    for each in _each(tools):
        tool = _as_tool(each)
        must_be_known(run, tool.name, _key(each))
        gate = _Gated(tool, Reach(run))
        front = copy(tool)
        front.function, front.takes_ctx = gate.call, True
        front.function_schema = replace(
            tool.function_schema,
            function=gate.call,
            takes_ctx=True,
            is_async=True,
            positional_fields=[],
            var_positional_field=None,
        )
        made.append(front)
    for toolset in tools:
        if isinstance(toolset, FunctionToolset):
            _hand_down(toolset, [front for front in made if front.name in toolset.tools])
    return made


def check(agent: Agent[Any, Any]) -> None:
    """Check that a gate stands in front of every tool of an agent, including those that its model's provider runs.

    Tools that a single run adds are not seen, and output functions do not count as tools.

    Raises:
        BadInput: a tool has none.
    """
    bypassing: list[str] = []

    def look(toolset: AbstractToolset[Any]) -> None:
        if isinstance(toolset, FunctionToolset):
            bypassing.extend(name for name, tool in toolset.tools.items() if not _is_gated(tool))
        elif isinstance(toolset, WrapperToolset):  # a capability's is shown before what it wraps
            toolset.wrapped.apply(look)
        else:
            bypassing.append(f"those of {toolset.label}")

    for toolset in agent.toolsets:
        toolset.apply(look)
    native = (getattr(tool, "kind", "what makes native tools") for tool in agent.root_capability.get_native_tools())
    bypassing.extend(kind for kind in native if kind != "tool_search")  # which only finds tools
    must_be_gated(list(dict.fromkeys(bypassing)), f"the agent {agent.name or ''}".strip())


def thinking(run: GatedRun | SyncGatedRun) -> Hooks[Any]:
    """Send what the model says to the run's monitors; give this to the agent in `capabilities`."""
    reach = Reach(run)
    unread: set[str | None] = set()  # runs of agents whose model is speaking

    async def begin(context: RunContext[Any], request_context: Any, /) -> Any:
        unread.add(context.run_id)
        return request_context

    async def hold(context: RunContext[Any], /, *, call: ToolCallPart, tool_def: Any, args: Any) -> Any:  # noqa: ARG001 - the library names them
        if context.run_id in unread:
            raise BadInput(
                f"`run_stream` calls {call.tool_name} before the rest of the model's message has arrived: use "
                "`run_stream_events`, `iter` or `run`"
            )
        return args

    async def read(context: RunContext[Any], /, *, request_context: Any, response: ModelResponse) -> ModelResponse:  # noqa: ARG001 - as above
        counted = response.usage
        usage = Usage(counted.input_tokens, counted.output_tokens) if counted.total_tokens else None
        calls = [(call.tool_name, call.args) for call in response.tool_calls]
        await reach.think(said_or_called(response.text or "", calls), response.thinking or "", usage)
        unread.discard(context.run_id)
        return response

    return Hooks(before_model_request=begin, after_model_request=read, before_tool_execute=hold)


class _Gated:
    """What is called in place of a tool's own function."""

    def __init__(self, tool: Tool[Any], reach: Reach) -> None:
        self._name = tool.name
        self._schema = tool.function_schema
        self._reach = reach
        self._returns = _returned_by(tool.function)

    async def call(self, context: RunContext[Any], /, **given: Any) -> Any:
        """Have a call cleared, and the original function called.

        Raises:
            ToolFailed: it was not performed as asked; its message is for the model.
        """
        try:
            arguments = self._as_said(context, given)
            carried = Carried(context=context)
            result = await self._reach.act(self._name, arguments, carried)
        except ActionError as error:
            raise ToolFailed(told(error)) from error
        return result if carried.done else self._retold(result)

    def _retold(self, value: Any) -> Any:
        """What the trace says that the tool gave back, as its function says that it gives: a `ToolReturn`, an image.

        What the value says of itself is not gone by: it may be anybody's words.
        """
        try:
            revived = self._returns.validate_python(value) if self._returns is not None else value
            return revived if plain(revived) == value else value
        except ValueError:  # some of it was left out
            return value

    def _as_said(self, context: RunContext[Any], given: dict[str, Any]) -> dict[str, Any]:
        """Arguments as the model said them; where a hook has changed them since, as JSON values of what it made.

        Raises:
            ActionRefused: JSON has no form for what it made.
        """
        said = next((call.args_as_dict() for call in _calls(context) if call.tool_call_id == context.tool_call_id), {})
        if self._reads(said, given, context):
            return said
        made = _unwrapped(self._schema, given)  # uses up what can be read once
        if self._reads(made, given, context):
            return made
        raise ActionRefused(
            "its arguments cannot be reviewed, because they cannot be written as JSON", "", action=self._name
        )

    def _reads(self, arguments: dict[str, Any], given: dict[str, Any], context: RunContext[Any]) -> bool:
        """Whether the tool reads arguments as what it was given."""
        try:
            return alike(_read(self._schema, arguments, context), given)
        except Exception:  # noqa: BLE001 - validators and `==` are anybody's
            return False


class _Body:
    """Calls the original function as its agent would have."""

    def __init__(self, tool: Tool[Any]) -> None:
        self._name = tool.name
        self._schema = tool.function_schema

    async def __call__(self, arguments: dict[str, Any], carried: Carried) -> Any:
        if self._schema.takes_ctx and carried.context is None:
            raise NotPerformed(f"{self._name} needs the context of an agent's run, but was called outside one")
        valid = _read(self._schema, arguments, carried.context)
        try:
            return await self._schema.call(valid, carried.context)
        except (ApprovalRequired, CallDeferred, ModelRetry, ToolFailed) as error:
            carried.turned = error
            if isinstance(error, ApprovalRequired):
                raise NotPerformed("it asks for approval first") from error
            raise


def _each(tools: Tools) -> list[Any]:
    return [each for tool in tools for each in (tool.tools.values() if isinstance(tool, FunctionToolset) else (tool,))]


def _hand_down(toolset: FunctionToolset[Any], tools: Sequence[Tool[Any]]) -> None:
    """Give its tools what a toolset sets for those that say nothing themselves."""
    for tool in tools:
        tool.timeout = toolset.timeout if tool.timeout is None else tool.timeout
        tool.max_retries = toolset.max_retries if tool.max_retries is None else tool.max_retries


def _as_tool(given: Any) -> Tool[Any]:
    if isinstance(given, Tool) and not _is_gated(given):
        return given
    if isinstance(given, Tool) or not callable(given):
        raise BadInput(
            f"a {type(given).__name__} is not a tool that can be gated: give functions, Tools or "
            "FunctionToolsets, and wrap what gated() returns"
        )
    return Tool(given)


def _key(given: Any) -> Any:
    """What says that two tools are the same one: the function."""
    return given.function if isinstance(given, Tool) else given


def _is_gated(tool: Tool[Any]) -> bool:
    return isinstance(getattr(tool.function, "__self__", None), _Gated)


def _returned_by(function: Any) -> TypeAdapter[Any] | None:
    """What reads again what a function gives back; None where it does not say what that is."""
    try:
        return TypeAdapter(get_type_hints(function, include_extras=True)["return"])
    except (AttributeError, KeyError, NameError, TypeError, PydanticUserError):
        return None


def _calls(context: RunContext[Any]) -> Iterator[ToolCallPart]:
    """What the model has called, the last first."""
    for message in reversed(context.messages):
        yield from (part for part in message.parts if isinstance(part, ToolCallPart))


def _read(schema: Any, arguments: dict[str, Any], context: RunContext[Any] | None) -> dict[str, Any]:
    """What a tool makes of arguments, as its agent would have it made."""
    settings = None if context is None else context.validation_context
    valid: dict[str, Any] = schema.validator.validate_json(canonical(arguments), context=settings)
    return valid


def _unwrapped(schema: Any, valid: dict[str, Any]) -> dict[str, Any]:
    """Arguments as JSON values, in the form in which the model gives them: a single model-like one without its name."""
    values: dict[str, Any] = plain(valid)
    return values[schema.single_arg_name] if schema.single_arg_name is not None else values


def _fit(tool: Tool[Any]) -> Callable[[dict[str, Any], Carried], dict[str, Any]]:
    schema = tool.function_schema
    if schema.validator.title == "any":  # made from a schema alone
        return fitting(schema.json_schema, tool.name, "pydantic-ai")

    def fit(arguments: dict[str, Any], carried: Carried) -> dict[str, Any]:
        read = partial(_read, schema, context=carried.context)
        try:
            valid = read(arguments)
        except ValidationError as error:
            raise ValueError(arguments_in_words(error)) from None
        return settled(arguments, valid, _unwrapped(schema, valid), read)

    return fit
