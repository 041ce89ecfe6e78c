"""The gate in front of the function tools of the OpenAI Agents SDK (extra `openai-agents`).

    gate = Gate(actions=actions_of([search, pay], effects={"search": "read"}))
    async with gate.run("Pay what is due") as run:
        agent = Agent(name="clerk", model=model, tools=gated(run, [search, pay]))
        await Runner.run(agent, question, hooks=thinking(run))

A gated tool belongs to one run, and so does the agent that has it. An agent that is another's tool is run without that
one's hooks: give it `thinking(run).own` as its `hooks`. No gate of ours can stand in front of tools that OpenAI runs
itself, such as a web search: `check` names them, unless a stored `prompt` brings them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from msgspec import DecodeError

from scaffold.adapters.arguments import fitting
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
from scaffold.errors import ActionError, BadInput, MissingExtra, RunEnding, StepRefused
from scaffold.vocabulary.canonical import canonical, decode
from scaffold.vocabulary.models import Usage

try:
    from agents import Agent, AgentHooks, AgentsException, FunctionTool, Handoff, ItemHelpers, RunHooks, ToolSearchTool
    from agents.tool import set_function_tool_failure_error_function
    from agents.tool_context import ToolContext
    from openai.types.responses import ResponseFunctionToolCall, ResponseReasoningItem
except ImportError:
    raise MissingExtra("scaffold.adapters.openai_agents", "openai-agents") from None

if TYPE_CHECKING:
    from agents import ModelResponse, RunContextWrapper, Tool

    from scaffold.hosting import GatedRun, SyncGatedRun


class RunEnded(AgentsException, RunEnding):
    """The gate's run is over or paused; the cause says why. The SDK only lets its own kind of error through."""


class ThoughtWithheld(AgentsException, StepRefused):
    """Monitors withheld what the agent's model said; the agent's run ends."""

    def __init__(self, refused: StepRefused) -> None:
        AgentsException.__init__(self, refused.message)
        StepRefused.__init__(self, refused.message, refused.key, **refused.data)


def actions_of(tools: Sequence[Tool], **said: Unpack[Declares]) -> list[ToolAction]:
    """Make actions from function tools, with the tool's name and schema; performing one runs the tool's own body.

    Raises:
        BadInput: something is not a function tool, or a declaration names an unknown one.
    """
    own = [_function_tool(tool) for tool in tools]
    schemas = {tool.name: tool.params_json_schema for tool in own}
    specs = declared(list(schemas), schemas, {tool.name: tool.description for tool in own}, **said)
    fits = {tool.name: fitting(tool.params_json_schema, tool.name, "openai-agents") for tool in own}
    return [
        ToolAction(specs[tool.name], tool, fits[tool.name], _Body(tool), partial(getattr, tool, "params_json_schema"))
        for tool in own
    ]


def gated(run: GatedRun | SyncGatedRun, tools: Sequence[Tool]) -> list[Tool]:
    """Return the same tools for one run's agent, with each call going through its gate.

    Raises:
        BadInput: the run's gate has no action for one of them.
    """
    made: list[Tool] = []
    for tool in map(_function_tool, tools):
        must_be_known(run, tool.name, tool)
        each = copy(tool)
        each.on_invoke_tool = _Gated(tool.name, Reach(run))
        made.append(each)
    return made


def check(agent: Agent[Any]) -> None:
    """Check that a gate stands in front of every tool of an agent, and of agents that it hands over to or has as tools.

    Raises:
        BadInput: a tool has none.
    """
    must_be_gated(list(_bypassing(agent, set())), f"the agent {agent.name!r}")


def thinking(run: GatedRun | SyncGatedRun) -> _Thinking:
    """Send what the model says to the run's monitors; give this to `Runner.run` as `hooks`, its `own` to an agent."""
    return _Thinking(Reach(run))


class _Gated:
    """What is called in place of a tool's own body."""

    def __init__(self, name: str, reach: Reach) -> None:
        self._name = name
        self._reach = reach

    async def __call__(self, context: ToolContext[Any], given: str) -> Any:
        try:
            arguments = decode(given or "{}")
        except (DecodeError, RecursionError, UnicodeError) as error:
            return f"the arguments are not JSON: {error}"
        if not isinstance(arguments, dict):
            return "the arguments are not a JSON object"
        try:
            return await self._reach.act(self._name, arguments, Carried(context=context))
        except ActionError as error:
            return told(error)
        except RunEnding as error:
            raise RunEnded(str(error)) from error


class _Body:
    """Calls the original tool; its errors come out as they are, for the gate to know them from results."""

    def __init__(self, tool: FunctionTool) -> None:
        self._name = tool.name
        self._tool = set_function_tool_failure_error_function(copy(tool), None)

    async def __call__(self, arguments: dict[str, Any], carried: Carried) -> Any:
        given = canonical(arguments).decode()
        context = carried.context
        if context is None:
            context = ToolContext(None, tool_name=self._name, tool_call_id="", tool_arguments=given)
        return await self._tool.on_invoke_tool(context, given)


class _Thinking(RunHooks[Any]):
    """Hears what the model says.

    Attributes:
        own: the same, for one agent's own `hooks`.
    """

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.own: AgentHooks[Any] = _OwnThinking(reach)

    async def on_llm_end(self, context: RunContextWrapper[Any], agent: Agent[Any], response: ModelResponse) -> None:
        await _read(self._reach, response)


class _OwnThinking(AgentHooks[Any]):
    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def on_llm_end(self, context: RunContextWrapper[Any], agent: Agent[Any], response: ModelResponse) -> None:
        await _read(self._reach, response)


async def _read(reach: Reach, response: ModelResponse) -> None:
    """Have monitors read what a model has said.

    Raises:
        ThoughtWithheld: they withhold it.
        RunEnded: the gate's run is over or paused.
    """
    said = "".join(ItemHelpers.extract_text(item) or "" for item in response.output if item.type == "message")
    calls = [(item.name, item.arguments) for item in response.output if isinstance(item, ResponseFunctionToolCall)]
    thoughts = [item for item in response.output if isinstance(item, ResponseReasoningItem)]
    reasoning = "\n".join(part.text for item in thoughts for part in item.content or item.summary)
    counted = response.usage
    usage = Usage(counted.input_tokens, counted.output_tokens) if counted.total_tokens else None
    try:
        await reach.think(said_or_called(said, calls), reasoning, usage)
    except StepRefused as error:
        raise ThoughtWithheld(error) from error
    except RunEnding as error:
        raise RunEnded(str(error)) from error


def _function_tool(tool: Tool) -> FunctionTool:
    if not isinstance(tool, FunctionTool) or _is_gated(tool):
        raise BadInput(f"{getattr(tool, 'name', tool)!r} is not a function tool that can be gated: use @function_tool")
    return tool


def _is_gated(tool: Tool) -> bool:
    return isinstance(tool, FunctionTool) and isinstance(tool.on_invoke_tool, _Gated)


def _bypassing(agent: Agent[Any], seen: set[int]) -> Iterator[str]:
    if id(agent) in seen:
        return
    seen.add(id(agent))
    for tool in agent.tools:
        if not (isinstance(tool, ToolSearchTool) or _is_gated(tool)):  # the former only finds tools
            yield tool.name
        within = getattr(tool, "_agent_instance", None)  # of a tool that is an agent
        if isinstance(within, Agent):
            yield from _bypassing(within, seen)
    yield from (f"those of the MCP server {server.name}" for server in agent.mcp_servers)
    of_a_sandbox = (type(each) for each in getattr(agent, "capabilities", ()))
    yield from (
        f"those of the capability {each.__name__}"
        for each in of_a_sandbox
        if each.tools.__qualname__ != "Capability.tools"
    )
    for other in agent.handoffs:
        to = _agent_of(other) if isinstance(other, Handoff) else other
        if to is None:
            yield f"those of {other.agent_name if isinstance(other, Handoff) else other.name}"
        else:
            yield from _bypassing(to, seen)


def _agent_of(handoff: Handoff[Any, Any]) -> Agent[Any] | None:
    """The agent that a handoff made by `handoff(agent)` goes to; None when it was made otherwise."""
    held = getattr(handoff, "_agent_ref", None)
    agent = held() if held is not None else None
    return agent if isinstance(agent, Agent) else None
