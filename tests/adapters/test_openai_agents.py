"""The gate in front of the OpenAI Agents SDK's tools, with the SDK itself and its own scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from agents import (
    Agent,
    FunctionTool,
    Handoff,
    RunContextWrapper,
    Runner,
    RunResult,
    ToolSearchTool,
    WebSearchTool,
    function_tool,
)
from agents.mcp import MCPServerStdio
from agents.sandbox import SandboxAgent
from agents.sandbox.capabilities import Compaction, Shell
from agents.testing import ScriptedModel, assistant_message, function_call
from agents.tracing import set_tracing_disabled
from openai.types.responses import ResponseReasoningItem
from openai.types.responses.response_reasoning_item import Content, Summary

from scaffold.adapters.openai_agents import actions_of, check, gated, thinking
from scaffold.errors import BadInput, RunEnding, StepRefused, Stopped
from scaffold.vocabulary.review import Verdict

if TYPE_CHECKING:
    from tests.adapters.conftest import Front, Says

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    """The SDK would send its own traces to OpenAI."""
    set_tracing_disabled(disabled=True)
    yield
    set_tracing_disabled(disabled=False)


def model(*calls: dict[str, Any]) -> ScriptedModel:
    """One that makes calls, all at once, and then says that it is done."""
    made = [function_call("pay", args, call_id=str(at)) for at, args in enumerate(calls)]
    return ScriptedModel([[assistant_message("let me see"), *made], [assistant_message("done")]])


def paying(front: Front) -> FunctionTool:
    """A tool that pays, and says so in the front's list."""

    @function_tool
    async def pay(invoice: str, cents: int = 100) -> str:
        """Pay an invoice."""
        front.done.append((invoice, cents))
        return f"paid {invoice}"

    return pay


def results(answer: RunResult) -> list[str]:
    """What the model is told of its calls."""
    return [each["output"] for each in answer.to_input_list() if each.get("type") == "function_call_output"]  # type: ignore[typeddict-item, misc]  # one of many kinds of item


CALLS = ({"invoice": "i1", "cents": 100}, {"invoice": "i2", "cents": 900})


async def test_one_call_is_refused_and_another_allowed(front: Front) -> None:
    """The refusal reaches the model as the call's output with the feedback only; the trace of both verifies."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        agent = Agent(name="clerk", model=model(*CALLS), tools=gated(run, [pay]))
        check(agent)
        answer = await Runner.run(agent, "go", hooks=thinking(run))
    assert results(answer) == ["paid i1", "at most 500"]
    assert front.done == [("i1", 100)]
    assert front.statuses(run) == [("pay", "performed"), ("pay", "refused")]
    assert front.thoughts(run) == ["let me see", "done"]


@pytest.mark.usefixtures("_a_loop")
@pytest.mark.filterwarnings("ignore:'asyncio.get_event_loop_policy' is deprecated:DeprecationWarning:agents")
def test_the_same_without_async(front: Front) -> None:
    """A plain function as a tool, an agent that is run without await, and the gate's loop in a thread of its own."""

    @function_tool
    def pay(invoice: str, cents: int = 100) -> str:
        """Pay an invoice."""
        front.done.append((invoice, cents))
        return f"paid {invoice}"

    with front.gate(actions_of([pay])).run_sync(front.task) as run:
        agent = Agent(name="clerk", model=model(*CALLS), tools=gated(run, [pay]))
        answer = Runner.run_sync(agent, "go", hooks=thinking(run))
    assert results(answer) == ["paid i1", "at most 500"]
    assert sorted(front.statuses(run)) == [("pay", "performed"), ("pay", "refused")]


async def test_several_calls_at_once(front: Front) -> None:
    """Twenty in one message: each is performed once, and its own result comes back."""
    pay = paying(front)
    calls = [{"invoice": f"i{at}", "cents": 1} for at in range(20)]
    async with front.gate(actions_of([pay])).run(front.task) as run:
        answer = await Runner.run(Agent(name="clerk", model=model(*calls), tools=gated(run, [pay])), "go")
    assert results(answer) == [f"paid i{at}" for at in range(20)]
    assert len(front.statuses(run)) == len(front.done) == 20


async def test_a_tool_beside_the_gate_is_found(front: Front) -> None:
    """An original, one of an agent that is handed over to or a tool, and one that OpenAI runs are told of by name."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        clean: Agent[Any] = Agent(name="clean", tools=gated(run, [pay]))
        check(clean)
        beside: Agent[Any] = Agent(name="beside", tools=[*gated(run, [pay]), pay])
        over: Agent[Any] = Agent(name="over", tools=[WebSearchTool()], handoffs=[clean, beside])
        with pytest.raises(BadInput, match="that are not gated: pay;"):
            check(beside)
        with pytest.raises(BadInput, match="that are not gated: web_search, pay;"):
            check(over)

        async def go(*_: Any) -> Any:
            return beside

        unseen: Handoff[Any, Any] = Handoff("go", "Hand over.", {}, go, agent_name="unseen")
        with pytest.raises(BadInput, match="that are not gated: those of unseen;"):
            check(Agent(name="handing", handoffs=[unseen]))
        files = MCPServerStdio({"command": "never-started"}, name="files")
        with pytest.raises(BadInput, match="that are not gated: those of the MCP server files;"):
            check(Agent(name="served", mcp_servers=[files]))
        with pytest.raises(BadInput, match="that are not gated: those of the capability Shell;"):
            check(SandboxAgent(name="at a shell", capabilities=[Shell(), Compaction()]))
        check(Agent(name="finding", tools=[*gated(run, [pay]), ToolSearchTool()]))
        asks = beside.as_tool("ask", "Ask.")
        async with front.gate(actions_of([asks])).run("ask") as other:
            with pytest.raises(BadInput, match="that are not gated: pay;"):
                check(Agent(name="asking", tools=gated(other, [asks])))
        with pytest.raises(BadInput, match="no action for the tool 'pay'"):
            gated(run, [paying(front)])
        with pytest.raises(BadInput, match="'pay' is not a function tool that can be gated"):
            gated(run, gated(run, [pay]))


async def test_the_end_of_the_run_ends_the_agent(front: Front, says: type[Says]) -> None:
    """A monitor that halts is no tool's output: the SDK's run raises, with the reason as its cause."""
    pay = paying(front)
    gate = front.gate(actions_of([pay]), says(Verdict(decision="halt", rationale="no")))
    async with gate.run(front.task) as run:
        with pytest.raises(RunEnding, match="no") as raised:
            await Runner.run(Agent(name="clerk", model=model(*CALLS), tools=gated(run, [pay])), "go")
        assert isinstance(raised.value.__cause__, Stopped)
    assert run.outcome.status == "stopped"
    assert not front.done


async def test_what_is_withheld_of_a_thought_is_not_acted_on(front: Front, says: type[Says]) -> None:
    """The model's words are read before its calls are made; the SDK's run ends."""
    pay = paying(front)
    gate = front.gate(actions_of([pay]), says(Verdict(decision="block", feedback="think again"), "step"))
    async with gate.run(front.task) as run:
        agent = Agent(name="clerk", model=model(*CALLS), tools=gated(run, [pay]))
        with pytest.raises(StepRefused, match="think again"):
            await Runner.run(agent, "go", hooks=thinking(run))
    assert not front.done


async def test_what_an_agent_says_that_is_anothers_tool_is_read(front: Front) -> None:
    """Where it has the hooks itself; it may hand over, too."""
    pay = paying(front)
    inner: Agent[Any] = Agent(
        name="inner", model=ScriptedModel([[function_call("transfer_to_payer", {}, call_id="h")]])
    )
    ask = inner.as_tool("ask", "Ask.")
    async with front.gate(actions_of([pay, ask], effects={"ask": "read"})).run("pay what is due") as run:
        payer: Agent[Any] = Agent(name="payer", model=model(CALLS[0]), tools=gated(run, [pay]), hooks=thinking(run).own)
        inner.hooks, inner.handoffs = thinking(run).own, [payer]
        asked = [function_call("ask", {"input": "?"}, call_id="a")]
        outer: Agent[Any] = Agent(
            name="outer", model=ScriptedModel([asked, [assistant_message("all done")]]), tools=gated(run, [ask])
        )
        check(outer)
        await Runner.run(outer, "go", hooks=thinking(run))
    assert front.done == [("i1", 100)]
    assert front.thoughts(run) == [
        'ask("{\\"input\\":\\"?\\"}")',
        'transfer_to_payer("{}")',
        "let me see",
        "done",
        "all done",
    ]


async def test_reasoning_is_read_whole_where_it_is_shown_whole(front: Front) -> None:
    """Models served by vLLM, or through LiteLLM, show all of it, and OpenAI's own a summary."""
    whole = ResponseReasoningItem(
        id="1", type="reasoning", summary=[], content=[Content(text="all of it", type="reasoning_text")]
    )
    summary = ResponseReasoningItem(id="2", type="reasoning", summary=[Summary(text="in short", type="summary_text")])
    scripted = ScriptedModel([[whole, summary, assistant_message("done")]])
    async with front.gate([]).run(front.task) as run:
        await Runner.run(Agent(name="clerk", model=scripted), "go", hooks=thinking(run))
    story = front.story(run)
    (said,) = (story.contents[event["seq"]]["samples"] for event in story.of("step.answered"))
    assert [sample["reasoning"] for sample in said] == ["all of it\nin short"]


async def test_a_tool_that_raises_is_unknown_and_its_context_reaches_it(front: Front) -> None:
    """What the SDK would have told the model as a result is known to the gate as an error."""

    @function_tool
    async def pay(context: RunContextWrapper[str], invoice: str, cents: int) -> str:
        """Pay an invoice."""
        front.done.append(context.context)
        raise OSError(f"the line broke at {invoice}, {cents}")

    async with front.gate(actions_of([pay])).run(front.task) as run:
        agent: Agent[str] = Agent(name="clerk", model=model(CALLS[0]), tools=gated(run, [pay]))
        answer = await Runner.run(agent, "go", context="ours")
    assert "may have been done" in results(answer)[0]
    assert "the line broke" in results(answer)[0]
    assert front.statuses(run) == [("pay", "unknown")]
    assert front.done == ["ours"]


def test_a_schema_that_cannot_be_read_is_said_before_a_run(front: Front) -> None:
    """One that would have to be fetched, or is none: the tool is named, and no gate is made of it."""
    for schema in ({"$ref": "https://example.com/schema"}, {"type": "whatever"}):
        tool = FunctionTool("pay", "Pay.", dict(schema), paying(front).on_invoke_tool, strict_json_schema=False)
        with pytest.raises(BadInput, match="the schema of the tool 'pay' cannot be used"):
            actions_of([tool])


async def test_arguments_that_do_not_fit_are_refused(front: Front) -> None:
    """With what is wrong, whatever the model has made of them; nothing is called."""
    pay = paying(front)
    script = ScriptedModel(
        [
            [function_call("pay", {"invoice": "i1", "cents": "many"}, call_id="1")],
            [function_call("pay", "{", call_id="2")],
            [function_call("pay", "[]", call_id="3")],
            [assistant_message("done")],
        ]
    )
    async with front.gate(actions_of([pay])).run(front.task) as run:
        answer = await Runner.run(Agent(name="clerk", model=script, tools=gated(run, [pay])), "go")
    assert 'cents: "many" is not of type "integer"' in results(answer)[0]
    assert ["not JSON" in results(answer)[1], "not a JSON object" in results(answer)[2]] == [True, True]
    assert not front.done


@pytest.mark.parametrize("how", ["written to", "replaced"])
async def test_a_tool_whose_schema_changes_during_the_run_is_refused(front: Front, how: str) -> None:
    """The SDK's schemas are dictionaries that anybody can write to: what they say now is not what was reviewed."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        await Runner.run(Agent(name="a", model=model(CALLS[0]), tools=list(gated(run, [pay]))), "pay")
        if how == "replaced":
            pay.params_json_schema = deepcopy(pay.params_json_schema)
        pay.params_json_schema["properties"]["cents"] = {"type": "string"}
        answer = await Runner.run(
            Agent(name="a", model=model({"invoice": "i3", "cents": "5"}), tools=list(gated(run, [pay]))), "pay"
        )
    assert "has changed since" in results(answer)[0]
    assert front.done == [("i1", 100)]
