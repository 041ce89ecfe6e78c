"""The gate in front of the tools of LangGraph agents (extra `langgraph`).

    gate = Gate(actions=actions_of([search, pay], effects={"search": "read"}))
    async with gate.run("Pay what is due") as run:
        agent = create_agent(model, gated(run, [search, pay]))
        await agent.ainvoke(question, {"callbacks": [thinking(run)]})

A gated tool belongs to one run, and so does the agent that has it. A tool may pause its graph with `interrupt`: the
gate does not know what was done until then, and when the graph goes on, the tool is called, and cleared, again. So are
the calls beside it in a graph whose node makes all calls of a message: declare the `identity` of what must not be done
twice. The agents of `create_agent` make each call in a task of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from inspect import getclosurevars, isfunction
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, get_type_hints

from pydantic import BaseModel, PrivateAttr, TypeAdapter, ValidationError

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
from scaffold.errors import ActionError, BadInput, MissingExtra, RunEnding
from scaffold.fitting import arguments_in_words
from scaffold.vocabulary.canonical import canonical, decode
from scaffold.vocabulary.models import Usage

try:
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.messages import AIMessage, ToolMessage
    from langchain_core.runnables import RunnableConfig
    from langchain_core.tools import BaseTool, Tool, ToolException
    from langgraph.errors import GraphBubbleUp
    from langgraph.prebuilt import ToolNode, ToolRuntime
    from langgraph.pregel import Pregel
    from langgraph.types import Command
except ImportError:
    raise MissingExtra("scaffold.adapters.langgraph", "langgraph") from None

if TYPE_CHECKING:
    from langchain_core.outputs import LLMResult

    from scaffold.hosting import GatedRun, SyncGatedRun


class _OneText(BaseModel):
    """What a function of one text is given."""

    tool_input: str


_RUNTIME = "runtime"  # a ToolNode puts its own in under this name, whatever the annotation
_HANDLERS = ("handle_tool_error", "handle_validation_error")
_COMMAND = {each.name for each in fields(Command)}


def actions_of(tools: Sequence[BaseTool], **said: Unpack[Declares]) -> list[ToolAction]:
    """Make actions from tools, with the tool's name and schema; performing one runs the tool's own body.

    Raises:
        BadInput: something is not a tool, or a declaration names an unknown one.
    """
    for tool in tools:
        if isinstance(tool, GatedTool) or not isinstance(tool, BaseTool):
            raise BadInput(f"a {type(tool).__name__} is not a tool that can be gated: decorate functions with @tool")
    schemas = {tool.name: _schema(tool) for tool in tools}
    specs = declared(list(schemas), schemas, {tool.name: tool.description for tool in tools}, **said)
    return [
        ToolAction(specs[tool.name], tool, _fit(tool), _Body(tool), partial(getattr, tool, "args_schema"))
        for tool in tools
    ]


def gated(run: GatedRun | SyncGatedRun, tools: Sequence[BaseTool]) -> list[BaseTool]:
    """Return the same tools for one run's agent, with each call going through its gate.

    Raises:
        BadInput: the run's gate has no action for one of them.
    """
    for tool in tools:
        must_be_known(run, tool.name, tool)
    return [GatedTool.around(tool, Reach(run)) for tool in tools]


def check(agent: Pregel[Any, Any, Any, Any]) -> None:
    """Check that a gate stands in front of every tool of a compiled graph, and of graphs within it.

    Seen are the tools that its ToolNodes have, and those run by the model's provider that `create_agent` was given: not
    those that a node's own code calls, or a middleware puts in later.

    Raises:
        BadInput: a tool has none, or a node would tell the model of the run's end and go on.
    """
    graphs = list(_graphs(agent, set()))
    nodes = [within for graph in graphs for within in _within(graph) if isinstance(within, ToolNode)]
    bypassing = [name for node in nodes for name, tool in node.tools_by_name.items() if not isinstance(tool, GatedTool)]
    must_be_gated([*bypassing, *chain.from_iterable(map(_run_by_the_provider, graphs))], "the graph")
    for node in nodes:
        handled = getattr(node, "_handle_tool_errors", None)
        kinds = handled if isinstance(handled, tuple) else (handled,)
        if handled is True or isinstance(handled, str) or any(_catches(kind) for kind in kinds):
            raise BadInput(
                f"the node {node.name!r} handles every error of its tools, and would continue after the end of the "
                "run: leave `handle_tool_errors` at its default"
            )


def thinking(run: GatedRun | SyncGatedRun) -> BaseCallbackHandler:
    """Send what the model says to the run's monitors; give this to the agent in `config["callbacks"]`."""
    return _Thinking(Reach(run))


class _Front(NamedTuple):
    """What stands behind a gated tool.

    Attributes:
        tool: the original.
        reach: the way to a run.
        put_in: names of the arguments that the graph puts in.
    """

    tool: BaseTool
    reach: Reach
    put_in: frozenset[str]

    def split(self, given: Any, config: RunnableConfig | None) -> tuple[dict[str, Any], Carried, str | None]:
        """Part what the model gave from what the graph put in; only the former is anybody's to review."""
        is_call = isinstance(given, dict) and given.get("type") == "tool_call"
        values = given["args"] if is_call else given
        if isinstance(values, str):
            values = {next(iter(_schema(self.tool)["properties"])): values}
        by_node = any(isinstance(value, ToolRuntime) for value in values.values())
        if by_node and _RUNTIME not in self.put_in:
            values = {name: value for name, value in values.items() if name != _RUNTIME}
        # A ToolNode takes out what the model gives under these names; other nodes hand it on.
        beside = {
            name: value
            for name, value in values.items()
            if name in self.put_in and (by_node or not alike(value, plain(value)))
        }
        arguments = {name: plain(value) for name, value in values.items() if name not in beside}
        call = given["id"] if is_call else None
        return arguments, Carried(context=(config, call), beside=beside), call


class GatedTool(BaseTool):
    """A tool each of whose calls goes through the gate of one run."""

    _front: _Front = PrivateAttr()  # all in one: a model gives what is private far more slowly than what is not

    @classmethod
    def around(cls, tool: BaseTool, reach: Reach) -> GatedTool:
        """Make one of a tool and the way to a run."""
        gated = cls(
            name=tool.name,
            description=tool.description,
            args_schema=_shown(tool),
            return_direct=tool.return_direct,
            tags=tool.tags,
            metadata=tool.metadata,
            extras=tool.extras,
        )
        gated._front = _Front(tool, reach, _injected(tool))
        return gated

    @property
    def func(self) -> Any:
        """What has the signature of the original's function: a ToolNode reads off it what to put in.

        Its runtime is asked for too, which no model can give: a call that has one comes from a ToolNode.
        """
        original = self._front.tool
        own = getattr(original, "func", None) or getattr(original, "coroutine", None)

        def signed(**_: Any) -> None:
            """Stands for a signature."""

        signed.__annotations__ = {_RUNTIME: ToolRuntime, **(get_type_hints(own, include_extras=True) if own else {})}
        return signed

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002 - the library's name
        """Have a call cleared, and the original tool called."""
        front = self._front
        arguments, carried, call = front.split(input, config)
        try:
            result = front.reach.act_sync(front.tool.name, arguments, carried)
        except ActionError as error:
            return self._refusal(error, call)
        return result if carried.done else _retold(result, call)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002 - as above
        """Have a call cleared, and the original tool called."""
        front = self._front
        arguments, carried, call = front.split(input, config)
        try:
            result = await front.reach.act(front.tool.name, arguments, carried)
        except ActionError as error:
            return self._refusal(error, call)
        return result if carried.done else _retold(result, call)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        return self.invoke(args[0] if args else kwargs)

    async def _arun(self, *args: Any, **kwargs: Any) -> Any:
        return await self.ainvoke(args[0] if args else kwargs)

    def _refusal(self, error: ActionError, call: str | None) -> Any:
        if call is None:
            return told(error)
        return ToolMessage(told(error), tool_call_id=call, name=self.name, status="error")


class _Body:
    """Calls the original tool as its graph would have."""

    def __init__(self, tool: BaseTool) -> None:
        self._tool = tool

    async def __call__(self, arguments: dict[str, Any], carried: Carried) -> Any:
        config, call = carried.context or (None, None)
        given: Any = {**arguments, **carried.beside}
        handled: list[Any] = []
        tool = self._tool
        if call is not None:
            given = {"type": "tool_call", "name": tool.name, "args": given, "id": call}
        else:  # its result will not say whether it is one of those errors
            tool = _noting(tool, handled)
        try:
            result = await tool.ainvoke(given, config)
        except GraphBubbleUp as error:
            carried.turned = error
            raise
        if isinstance(result, ToolMessage) and result.status == "error":
            handled.append(result.content)
        if handled:
            raise ToolException(str(ToolMessage(handled[-1], tool_call_id="").text))
        return result


def _noting(tool: BaseTool, handled: list[Any]) -> BaseTool:
    """A copy of a tool that keeps a note of the errors that it turns into results, since for the gate they are none."""

    def noting(flag: Any) -> Any:
        def note(error: Exception) -> Any:
            said = flag(error) if callable(flag) else flag if isinstance(flag, str) else str(error)
            handled.append(said)
            return said

        return note

    flags = {name: flag for name in _HANDLERS if (flag := getattr(tool, name))}
    return tool.model_copy(update={name: noting(flag) for name, flag in flags.items()}) if flags else tool


class _Thinking(BaseCallbackHandler):
    raise_error = True  # else the agent would go on with what was withheld

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        message = getattr(response.generations[0][0], "message", None)
        if not isinstance(message, AIMessage):
            self._reach.think_sync(response.generations[0][0].text, "", None)
            return
        parts = [part for part in message.content_blocks if part["type"] == "reasoning"]
        counted = message.usage_metadata
        usage = Usage(counted["input_tokens"], counted["output_tokens"]) if counted else None
        said = said_or_called(str(message.text), [(call["name"], call["args"]) for call in message.tool_calls])
        self._reach.think_sync(said, "\n".join(map(_reasoned, parts)), usage)


def _reasoned(part: Any) -> str:
    """What a block of reasoning says: all of it, which the library leaves where OpenAI's API has it, or a summary."""
    whole = part.get("extras", {}).get("content")
    return "".join(each["text"] for each in whole) if whole else str(part.get("reasoning", ""))


def _retold(value: Any, call: str | None) -> Any:
    """What the trace says that a tool gave back, as its graph knows it: it was done before the run was resumed."""
    if call is None:
        return value
    if isinstance(value, dict) and value.keys() == _COMMAND:
        return Command(graph=value["graph"], update=_revived(value["update"], call), goto=value["goto"])
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return [_retold(each, call) for each in value]
    revived = _revived(value, call)
    return revived if isinstance(revived, ToolMessage) else ToolMessage(canonical(value).decode(), tool_call_id=call)


def _revived(value: Any, call: str) -> Any:
    """A value whose messages are messages again."""
    if isinstance(value, list):
        return [_revived(each, call) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "tool" and "tool_call_id" in value:
        return ToolMessage.model_validate({**value, "tool_call_id": call})
    return {name: _revived(each, call) for name, each in value.items()}


def _shown(tool: BaseTool) -> Any:
    """The schema that models are shown: the original's, or what the library takes its arguments to be."""
    if tool.args_schema is not None:
        return tool.args_schema
    if isinstance(tool, Tool):
        return _OneText
    return tool.get_input_schema()


def _schema(tool: BaseTool) -> dict[str, Any]:
    """JSON Schema of what the model may give, without what the graph puts in."""
    schema = _read_by(tool)
    if isinstance(schema, dict):
        return schema
    made: dict[str, Any] = schema.model_json_schema() if issubclass(schema, BaseModel) else schema.schema()
    configs = _configs(schema)
    if configs:
        made["properties"] = {name: part for name, part in made["properties"].items() if name not in configs}
        made["required"] = [name for name in made.get("required", ()) if name not in configs]
    return {name: part for name, part in made.items() if name != "description"}


def _read_by(tool: BaseTool) -> Any:
    """What reads the arguments that the model gives: the tool's own model with its validators, where it can."""
    shown = _shown(tool)
    if isinstance(shown, dict) or shown is _OneText:
        return shown
    lent: Any = tool.tool_call_schema  # without what the graph puts in
    own = issubclass(shown, BaseModel) and shown.model_fields.keys() == lent.model_fields.keys()
    return shown if own else lent


def _configs(schema: Any) -> frozenset[str]:
    """Names of the arguments that stand for the graph's configuration, where a tool has no schema of its own."""
    fields = getattr(schema, "model_fields", {})
    return frozenset(name for name, each in fields.items() if each.annotation is RunnableConfig)


def _injected(tool: BaseTool) -> frozenset[str]:
    """Names of the arguments that the graph puts in: from the schema, or from the function's signature alone."""
    schema = _shown(tool)
    own: frozenset[str] = getattr(tool, "_injected_args_keys", frozenset())
    lent = getattr(_read_by(tool), "model_fields", {})
    return own.union(getattr(schema, "model_fields", {})).difference(lent).union(_configs(schema))


def _fit(tool: BaseTool) -> Any:
    """What checks the arguments that a model gave; one that is the graph's to put in is none of them."""
    fit, put_in = _fit_own(tool), _injected(tool)

    def fit_what_is_given(arguments: dict[str, Any], carried: Carried) -> dict[str, Any]:
        for name in arguments:
            if name in put_in:
                raise ValueError(f"{name}: this argument cannot come from the model; a ToolNode has to inject it")
        fitted: dict[str, Any] = fit(arguments, carried)
        return fitted

    return fit_what_is_given


def _fit_own(tool: BaseTool) -> Any:
    schema = _read_by(tool)
    if isinstance(schema, dict) or not issubclass(schema, BaseModel):
        return fitting(_schema(tool), tool.name, "langgraph")

    adapter = TypeAdapter(schema)
    check, as_json = adapter.validator.validate_python, adapter.serializer.to_python
    configs = _configs(schema)

    def read(arguments: dict[str, Any]) -> Any:
        return check({**{name: {} for name in configs}, **decode(canonical(arguments))})

    def fit(arguments: dict[str, Any], _: Carried) -> dict[str, Any]:
        try:
            valid = read(arguments)
        except ValidationError as error:
            raise ValueError(arguments_in_words(error)) from None
        return settled(arguments, valid, as_json(valid, mode="json", by_alias=True, exclude=set(configs)), read)

    return fit


def _graphs(graph: Pregel[Any, Any, Any, Any], seen: set[int]) -> Iterator[Pregel[Any, Any, Any, Any]]:
    """A graph, and those within it."""
    if id(graph) in seen:
        return
    seen.add(id(graph))
    yield graph
    for within in _within(graph):
        if isinstance(within, Pregel):
            yield from _graphs(within, seen)


def _within(graph: Pregel[Any, Any, Any, Any]) -> Iterator[Any]:
    """What a graph's nodes are, and the graphs that their functions call."""
    for node in graph.nodes.values():
        yield from (node.bound, *node.subgraphs)


def _run_by_the_provider(graph: Pregel[Any, Any, Any, Any]) -> Iterator[str]:
    """Names of tools that are no more than a description for the model's provider, which runs them."""
    for within in _within(graph):
        asks = getattr(within, "func", None)
        if isfunction(asks):
            held = getclosurevars(asks).nonlocals.get("default_tools", ())  # by `create_agent`
            yield from (str(tool.get("name") or tool.get("type")) for tool in held if isinstance(tool, dict))


def _catches(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(RunEnding, kind)
