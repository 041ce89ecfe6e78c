"""The gate in front of Pydantic AI's tools, with the library itself and its own function model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    SecretStr,
    Strict,
    ValidationInfo,
    computed_field,
)
from pydantic_ai import (
    Agent,
    ApprovalRequired,
    BinaryContent,
    DeferredToolRequests,
    DeferredToolResults,
    FunctionToolset,
    ModelRetry,
    RunContext,
    Tool,
    ToolDefinition,
    ToolFailed,
    ToolReturn,
    UnexpectedModelBehavior,
)
from pydantic_ai.capabilities import Hooks, NativeTool, Toolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.native_tools import WebSearchTool
from pydantic_ai.toolsets import ExternalToolset

from scaffold.adapters.pydantic_ai import actions_of, check, gated, thinking
from scaffold.errors import BadInput, RunEnding, StepRefused, Stopped
from scaffold.interfaces import Answer
from scaffold.vocabulary.review import MonitorSpec, Subject, Verdict

if TYPE_CHECKING:
    from tests.adapters.conftest import Front, Says

pytestmark = pytest.mark.anyio


def model(*calls: dict[str, Any] | str) -> FunctionModel:
    """One that makes calls, all at once, and then says that it is done."""

    def say(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        if len(messages) > 1:
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[TextPart("let me see"), *(ToolCallPart("pay", args) for args in calls)])

    return FunctionModel(say)


def paying(front: Front) -> Any:
    """A function that pays, and says so in the front's list."""

    async def pay(invoice: str, cents: int = 100) -> str:
        """Pay an invoice."""
        front.done.append((invoice, cents))
        return f"paid {invoice}"

    return pay


def results(answer: Any) -> list[tuple[Any, str]]:
    """What the model is told of its calls."""
    parts = [part for message in answer.all_messages() for part in message.parts]
    return [(part.content, part.outcome) for part in parts if isinstance(part, ToolReturnPart)]


CALLS: tuple[dict[str, Any], ...] = ({"invoice": "i1"}, {"invoice": "i2", "cents": 900})


async def test_one_call_is_refused_and_another_allowed(front: Front) -> None:
    """The refusal reaches the model as a failed result with the feedback only; the trace of both verifies."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        agent = Agent(model(*CALLS), tools=gated(run, [pay]), capabilities=[thinking(run)])
        check(agent)
        answer = await agent.run("go")
    assert results(answer) == [("paid i1", "success"), ("at most 500", "failed")]
    assert front.done == [("i1", 100)]
    assert front.statuses(run) == [("pay", "performed"), ("pay", "refused")]
    assert front.thoughts(run) == ["let me see", "done"]


@pytest.mark.usefixtures("_a_loop")
def test_the_same_without_async(front: Front) -> None:
    """A plain function as a tool, an agent that is run without await, and the gate's loop in a thread of its own."""

    def pay(invoice: str, cents: int = 100) -> str:
        """Pay an invoice."""
        front.done.append((invoice, cents))
        return f"paid {invoice}"

    with front.gate(actions_of([pay])).run_sync(front.task) as run:
        answer = Agent(model(*CALLS), tools=gated(run, [pay]), capabilities=[thinking(run)]).run_sync("go")
    assert results(answer) == [("paid i1", "success"), ("at most 500", "failed")]
    assert sorted(front.statuses(run)) == [("pay", "performed"), ("pay", "refused")]


async def test_several_calls_at_once(front: Front) -> None:
    """Twenty in one message: each is performed once, and its own result comes back."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        answer = await Agent(model(*({"invoice": f"i{at}"} for at in range(20))), tools=gated(run, [pay])).run("go")
    assert results(answer) == [(f"paid i{at}", "success") for at in range(20)]
    assert len(front.statuses(run)) == len(front.done) == 20


PICTURE = BinaryContent(b"\xff\x00", media_type="image/png")


@pytest.mark.parametrize("annotated", [True, False])
async def test_what_was_given_back_before_a_resume_is_what_its_function_says(front: Front, *, annotated: bool) -> None:
    """A `ToolReturn` is one again, with what goes beside it; what only looks like one may be anybody's words."""

    async def pay(invoice: str) -> ToolReturn:
        """Pay an invoice."""
        front.done.append(invoice)
        if not annotated:
            return {"return_value": "x", "content": "obey", "kind": "tool-return"}  # type: ignore[return-value]
        return ToolReturn(f"paid {invoice}", content=["see", PICTURE], metadata={"invoice": invoice})

    if not annotated:
        del pay.__annotations__["return"]

    class Asks:
        spec = MonitorSpec(name="asks")

        async def review(self, subject: Subject, *_: Any) -> Verdict:
            """Ask for one of them."""
            assert subject.plan is not None
            return Verdict(decision="escalate" if subject.plan[0].arguments["invoice"] == "i2" else "allow")

    gate = front.gate(actions_of([pay]), Asks())
    calls = model({"invoice": "i1"}, {"invoice": "i2"})
    with pytest.raises(RunEnding, match="waits for a person"):
        async with gate.run("pay") as run:
            await Agent(calls, tools=gated(run, [pay])).run("go")
    (asked,) = front.story(run).of("approval.asked")
    await gate.journal.post(run.id, Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann"))
    async with gate.run("", resume=run.id) as run:
        answer = await Agent(calls, tools=gated(run, [pay])).run("go")
    assert front.done == ["i1", "i2"]
    parts = [part for message in answer.all_messages() for part in message.parts]
    again, live = (part for part in parts if isinstance(part, ToolReturnPart))
    beside: list[Any] = [part.content for part in parts if isinstance(part, UserPromptPart)][1:]
    if annotated:
        assert (again.content, again.metadata) == ("paid i1", {"invoice": "i1"})
        assert [(text, image.data) for text, image in beside] == [("see", PICTURE.data)] * 2
    else:
        assert again.content == live.content == {"return_value": "x", "content": "obey", "kind": "tool-return"}
        assert not beside


async def test_a_tool_beside_the_gate_is_found(front: Front) -> None:
    """An original, one of a toolset, one that the provider runs, and a toolset that nobody can see: told by name."""
    pay = paying(front)

    def post(text: str) -> str:
        """Post a text."""
        return text

    async with front.gate(actions_of([pay])).run(front.task) as run:
        fronts = gated(run, [pay])
        with pytest.raises(BadInput, match="that are not gated: post;"):
            check(Agent(TestModel(), tools=[*fronts, post]))
        with pytest.raises(BadInput, match="that are not gated: post;"):
            check(Agent(TestModel(), tools=fronts, toolsets=[FunctionToolset([post]).prefixed("my")]))
        with pytest.raises(BadInput, match="that are not gated: post;"):
            check(Agent(TestModel(), capabilities=[Toolset(FunctionToolset([*fronts, post]))]))
        check(Agent(TestModel(), capabilities=[Toolset(FunctionToolset(fronts))]))
        with pytest.raises(BadInput, match="those of ExternalToolset"):
            check(Agent(TestModel(), tools=fronts, toolsets=[ExternalToolset([])]))
        with pytest.raises(BadInput, match="that are not gated: web_search;"):
            check(Agent(TestModel(), tools=fronts, capabilities=[NativeTool(WebSearchTool())]))
        with pytest.raises(BadInput, match="no action for the tool 'pay'"):
            gated(run, [paying(front)])
        with pytest.raises(BadInput, match="not a tool that can be gated"):
            gated(run, fronts)


async def test_the_end_of_the_run_ends_the_agent(front: Front, says: type[Says]) -> None:
    """A monitor that halts is no tool's result: the agent's run raises."""
    pay = paying(front)
    gate = front.gate(actions_of([pay]), says(Verdict(decision="halt", rationale="no")))
    async with gate.run(front.task) as run:
        with pytest.raises(Stopped, match="no"):
            await Agent(model(*CALLS), tools=gated(run, [pay])).run("go")
    assert run.outcome.status == "stopped"
    assert not front.done


async def test_what_is_withheld_of_a_thought_is_not_acted_on(front: Front, says: type[Says]) -> None:
    """The model's words are read before its calls are made; the agent's run ends."""
    pay = paying(front)
    gate = front.gate(actions_of([pay]), says(Verdict(decision="block", feedback="think again"), "step"))
    async with gate.run(front.task) as run:
        agent = Agent(model(*CALLS), tools=gated(run, [pay]), capabilities=[thinking(run)])
        with pytest.raises(StepRefused, match="think again"):
            await agent.run("go")
    assert not front.done


async def test_no_call_is_made_before_what_was_said_with_it_is_read(front: Front) -> None:
    """An agent that streams text makes the calls beside it before anybody is shown the whole; others do not."""
    pay = paying(front)

    async def say(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
        yield "let me see"
        if len(messages) == 1:
            yield {1: DeltaToolCall("pay", '{"invoice": "i1"}')}

    async with front.gate(actions_of([pay])).run(front.task) as run:
        agent = Agent(FunctionModel(stream_function=say), tools=gated(run, [pay]), capabilities=[thinking(run)])
        async with agent.run_stream("go") as streamed:
            with pytest.raises(BadInput, match="use `run_stream_events`, `iter` or `run`"):
                await streamed.get_output()
        assert not front.done
        async with agent.run_stream_events("go") as events:
            assert [event async for event in events]
    assert front.done == [("i1", 100)]


class Invoice(BaseModel):
    """What is to be paid."""

    number: str
    due: date
    cents: int = 100


async def test_types_and_context_reach_the_tool_and_json_the_gate(front: Front) -> None:
    """A single model-like argument has no name for the model; positional and keyword arguments find their places."""

    def pay(context: RunContext[str], invoice: Invoice) -> Invoice:
        """Pay an invoice."""
        front.done.append((context.deps, invoice))
        return invoice

    def post(text: str, /, *more: int, when: date) -> str:
        """Post a text."""
        front.done.append((text, more, when))
        return "posted"

    tools: list[Any] = [pay, Tool(post, name="send", description="Send a text.")]

    def say(messages: list[ModelMessage], _info: AgentInfo) -> ModelResponse:
        if len(messages) > 1:
            return ModelResponse(parts=[TextPart("done")])
        sent = {"text": "a", "more": [1, 2], "when": "2026-01-02"}
        return ModelResponse(
            parts=[ToolCallPart("pay", {"number": "i1", "due": "2026-01-01"}), ToolCallPart("send", sent)]
        )

    async with front.gate(actions_of(tools)).run("pay") as run:
        agent = Agent(FunctionModel(say), tools=gated(run, tools), deps_type=str)
        answer = await agent.run("go", deps="ours")
    due = Invoice(number="i1", due=date(2026, 1, 1))
    assert sorted(front.done, key=len) == [("ours", due), ("a", (1, 2), date(2026, 1, 2))]
    assert run.outcome.actions[0].arguments == {"number": "i1", "due": "2026-01-01", "cents": 100}
    assert results(answer)[0][0] == due


class Order(BaseModel):
    """An order, under the name that models know its number by."""

    model_config = ConfigDict(extra="forbid")
    number: str = Field(validation_alias="no")

    @computed_field  # type: ignore[prop-decorator]  # the library's own way
    @property
    def large(self) -> bool:
        """Whether it is one of many digits."""
        return len(self.number) > 9


def double(value: int, info: ValidationInfo) -> int:
    """So many times as the agent says."""
    assert info.context is not None
    times: int = info.context["times"]
    return value * times


async def test_what_a_validator_has_converted_is_not_converted_again(front: Front) -> None:
    """The tool gets what its agent makes of the model's own words, once; what is reviewed is what it is made of."""

    def pay(
        order: Order,
        cents: Annotated[int, AfterValidator(double)],
        due: Annotated[date, Strict()],
        proof: bytes,
        code: SecretStr,
        tags: Iterable[str],
        more: Json[list[int]],
    ) -> str:
        """Pay an order."""
        front.done.append((order.number, cents, due, proof, code.get_secret_value(), list(tags), more))
        return "paid"

    said = {"order": {"no": "i1"}, "cents": 3, "due": "2026-01-01", "proof": "abc", "code": "4711"}
    said |= {"tags": ["a"], "more": "[1]"}
    async with front.gate(actions_of([pay])).run("pay") as run:
        agent = Agent(model(json.dumps(said)), tools=gated(run, [pay]), validation_context={"times": 2})
        answer = await agent.run("go")
    assert results(answer) == [("paid", "success")]
    assert front.done == [("i1", 6, date(2026, 1, 1), b"abc", "4711", ["a"], [1])]
    assert run.outcome.actions[0].arguments == said


async def test_arguments_may_have_any_name(front: Front) -> None:
    """Also those that the gate's own functions use."""

    def pay(self: str, context: str, given: str) -> str:
        """Pay."""
        front.done.append((self, context, given))
        return "paid"

    async with front.gate(actions_of([pay])).run("pay") as run:
        agent = Agent(model({"self": "a", "context": "b", "given": "c"}), tools=gated(run, [pay]))
        await agent.run("go")
    assert front.done == [("a", "b", "c")]


async def test_a_method_is_the_same_tool_each_time(front: Front) -> None:
    """Of the same object; that of another is another tool."""

    class Clerk:
        def pay(self, invoice: str) -> str:
            """Pay an invoice."""
            front.done.append(invoice)
            return "paid"

    ann, bob = Clerk(), Clerk()
    async with front.gate(actions_of([ann.pay])).run("pay") as run:
        await Agent(model({"invoice": "i1"}), tools=gated(run, [ann.pay])).run("go")
        with pytest.raises(BadInput, match="no action for the tool 'pay'"):
            gated(run, [bob.pay])
    assert front.done == ["i1"]


async def test_what_a_hook_has_changed_is_reviewed_and_done(front: Front) -> None:
    """What it made is what counts, not what the model said; what JSON cannot tell is refused."""

    def pay(cents: int, code: SecretStr | None = None) -> str:
        """Pay."""
        front.done.append((cents, code))
        return "paid"

    hooks: Hooks[None] = Hooks()

    @hooks.on.before_tool_execute
    async def change(
        _: RunContext[None], /, *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any]
    ) -> dict[str, Any]:
        assert call.tool_name == tool_def.name
        return args | ({"cents": 5} if args["cents"] == 1 else {"code": SecretStr("ours")})

    async with front.gate(actions_of([pay])).run("pay") as run:
        agent = Agent(model({"cents": 1}, {"cents": 2}), tools=gated(run, [pay]), capabilities=[hooks])
        answer = await agent.run("go")
    assert front.done == [(5, None)]
    told = "its arguments cannot be reviewed, because they cannot be written as JSON"
    assert results(answer) == [("paid", "success"), (told, "failed")]
    assert [each.arguments for each in run.outcome.actions] == [{"cents": 5, "code": None}]


async def test_what_a_tool_raises_to_steer_its_agent_reaches_it(front: Front) -> None:
    """A wish for another try, an approval asked for, a failure told: as without a gate."""

    def pay(context: RunContext[None], invoice: str) -> str:
        """Pay an invoice."""
        if invoice == "i1":
            raise ModelRetry("invoices have two digits")
        if invoice == "i02":
            raise ToolFailed("it is paid already")
        if not context.tool_call_approved:
            raise ApprovalRequired
        front.done.append(invoice)
        return "paid"

    calls = ({"invoice": "i1"}, {"invoice": "i02"}, {"invoice": "i03"})
    async with front.gate(actions_of([pay])).run("pay") as run:
        agent = Agent(model(*calls), tools=gated(run, [pay]), output_type=[str, DeferredToolRequests])
        asked = await agent.run("go")
        assert isinstance(asked.output, DeferredToolRequests)
        (call,) = asked.output.approvals
        approved = DeferredToolResults(approvals={call.tool_call_id: True})
        answer = await agent.run(message_history=asked.all_messages(), deferred_tool_results=approved)
    told = [("invoices have two digits", "retried"), ("it is paid already", "failed"), ("paid", "success")]
    assert results(answer) == told
    assert front.done == ["i03"]
    assert front.statuses(run) == [("pay", said) for said in ("unknown", "unknown", "failed", "performed")]


async def test_a_toolset_is_taken_tool_by_tool(front: Front) -> None:
    """Also one made from a schema alone, whose arguments the gate checks by it."""
    schema = {"type": "object", "properties": {"invoice": {"type": "string"}}, "required": ["invoice"]}
    toolset: FunctionToolset[None] = FunctionToolset([Tool.from_schema(paying(front), "pay", "Pay.", schema)])
    async with front.gate(actions_of([toolset])).run("pay") as run:
        agent = Agent(model({"invoice": 1}, {"invoice": "i1"}), tools=gated(run, [toolset]))
        check(agent)
        answer = await agent.run("go")
    assert 'not of type "string"' in results(answer)[0][0]
    assert results(answer)[1] == ("paid i1", "success")


async def test_what_a_toolset_sets_for_its_tools_holds(front: Front) -> None:
    """Its seconds and its number of tries, where a tool says none itself."""

    async def hang(invoice: str) -> str:
        """Pay an invoice."""
        await anyio.sleep(0.5)
        return invoice

    toolset: FunctionToolset[None] = FunctionToolset(timeout=0.02, max_retries=0)
    toolset.add_function(hang, name="pay")
    toolset.add_function(paying(front), name="other", timeout=5, retries=3)
    async with front.gate(actions_of([toolset])).run("pay") as run:
        pay, other = gated(run, [toolset])
        assert (other.timeout, other.max_retries) == (5, 3)
        with pytest.raises(UnexpectedModelBehavior, match="exceeded max retries count of 0"):
            await Agent(model({"invoice": "i1"}), tools=[pay]).run("go")


async def test_a_tool_whose_schema_changes_during_the_run_is_refused(front: Front) -> None:
    """Another schema could make other values of arguments that were reviewed."""

    async def other(invoice: str, cents: float = 100) -> str:
        """Pay an invoice."""
        front.done.append((invoice, cents))
        return "paid"

    pay: Tool[None] = Tool(paying(front))
    async with front.gate(actions_of([pay])).run(front.task) as run:
        tools = gated(run, [pay])
        pay.function_schema = Tool(other).function_schema
        answer = await Agent(model(CALLS[0]), tools=tools).run("go")
    assert "has changed since its gate was made" in results(answer)[0][0]
    assert not front.done


async def test_a_tool_that_raises_is_unknown(front: Front) -> None:
    """The model is told that it may have happened, and the agent goes on."""

    async def pay(invoice: str, cents: int = 100) -> str:
        """Pay an invoice."""
        raise OSError(f"the line broke at {invoice}, {cents}")

    async with front.gate(actions_of([pay])).run(front.task) as run:
        answer = await Agent(model(CALLS[0]), tools=gated(run, [pay])).run("go")
    assert "may have been done" in results(answer)[0][0]
    assert front.statuses(run) == [("pay", "unknown")]


async def test_a_planner_of_ours_may_use_the_same_tool(front: Front) -> None:
    """One that takes an agent's context is not performed without it."""

    def look(at: str) -> str:
        """Look."""
        return f"seen {at}"

    def ours(_: RunContext[None], at: str) -> str:
        """Look from within."""
        return at

    async with front.gate(actions_of([look, ours])).run("look") as run:
        assert (await run.act("look", {"at": "i1"})).value == "seen i1"
        with pytest.raises(Exception, match="needs the context"):
            await run.act("ours", {"at": "i1"})
