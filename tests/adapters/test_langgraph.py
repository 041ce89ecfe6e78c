"""The gate in front of LangGraph's tools, with the library itself and a chat model by script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, Tool, ToolException, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime
from langgraph.types import Command, interrupt
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, field_validator

from scaffold import Task
from scaffold.adapters.langgraph import actions_of, check, gated, thinking
from scaffold.errors import ActionRefused, BadInput, RunEnding, StepRefused, Stopped
from scaffold.interfaces import Answer
from scaffold.vocabulary.review import MonitorSpec, Subject, Verdict
from scaffold.vocabulary.task import Redact

if TYPE_CHECKING:
    from tests.adapters.conftest import Front, Says

    from scaffold.vocabulary.actions import Effect

pytestmark = pytest.mark.anyio


class Script(FakeMessagesListChatModel):
    """A chat model by script that can be told of tools."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        """Nothing depends on them."""
        return self


def model(*calls: dict[str, Any], said: str = "let me see") -> Script:
    """One that makes calls, all at once, and then says that it is done."""
    made = [{"name": "pay", "args": args, "id": str(at), "type": "tool_call"} for at, args in enumerate(calls)]
    return Script(responses=[AIMessage(said, tool_calls=made), AIMessage("done")])


def paying(front: Front) -> BaseTool:
    """A tool that pays, and says so in the front's list."""

    @tool
    async def pay(invoice: str, cents: int = 100) -> str:
        """Pay an invoice."""
        front.done.append((invoice, cents))
        return f"paid {invoice}"

    return pay


def results(answer: dict[str, Any]) -> list[tuple[Any, str]]:
    """What the model is told of its calls."""
    return [(each.content, each.status) for each in answer["messages"] if isinstance(each, ToolMessage)]


GO: Any = {"messages": [("user", "go")]}


async def test_one_call_is_refused_and_another_allowed(front: Front) -> None:
    """The refusal reaches the model as a tool message with the feedback only; the trace of both verifies."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        agent = create_agent(model({"invoice": "i1"}, {"invoice": "i2", "cents": 900}), gated(run, [pay]))
        check(agent)
        answer = await agent.ainvoke(GO, {"callbacks": [thinking(run)]})
    assert results(answer) == [("paid i1", "success"), ("at most 500", "error")]
    assert front.done == [("i1", 100)]
    assert sorted(front.statuses(run)) == [("pay", "performed"), ("pay", "refused")]  # LangGraph begins either first
    assert front.thoughts(run) == ["let me see", "done"]


@pytest.mark.parametrize("by", ["a ToolNode", "another node", "another node, arguments alone"])
async def test_a_model_does_not_give_what_the_graph_puts_in(front: Front, by: str) -> None:
    """A ToolNode takes it out; where another node hands it on, unseen by any reviewer, the call is refused."""

    @tool
    async def pay(invoice: str, account: Annotated[str, InjectedToolArg] = "ours") -> str:
        """Pay an invoice."""
        front.done.append((invoice, account))
        return "paid"

    given = {"invoice": "i1", "account": "theirs"}
    async with front.gate(actions_of([pay])).run("pay what is due") as run:
        (its,) = gated(run, [pay])
        if by == "a ToolNode":
            await create_agent(model(given), [its]).ainvoke(GO)
        else:
            whole = by == "another node"
            said = await its.ainvoke({"name": "pay", "args": given, "id": "0", "type": "tool_call"} if whole else given)
            assert "account: this argument cannot come from the model" in str(said)
    assert front.done == ([("i1", "ours")] if by == "a ToolNode" else [])


async def test_a_node_of_ones_own_puts_in_what_no_model_can_give(front: Front) -> None:
    """An object goes past the gate to the tool, as one that a ToolNode puts in does."""
    bank = object()

    @tool
    async def pay(invoice: str, bank: Annotated[Any, InjectedToolArg]) -> str:
        """Pay an invoice."""
        front.done.append((invoice, bank))
        return "paid"

    async with front.gate(actions_of([pay])).run("pay what is due") as run:
        (its,) = gated(run, [pay])
        assert await its.ainvoke({"invoice": "i1", "bank": bank}) == "paid"
    assert front.done == [("i1", bank)]
    assert [each.arguments for each in run.outcome.actions] == [{"invoice": "i1"}]


def test_the_same_without_async(front: Front) -> None:
    """A plain function as a tool, an agent that is invoked, and the gate's loop in a thread of its own."""

    @tool
    def pay(invoice: str, cents: int = 100) -> str:
        """Pay an invoice."""
        front.done.append((invoice, cents))
        return f"paid {invoice}"

    with front.gate(actions_of([pay])).run_sync(front.task) as run:
        agent = create_agent(model({"invoice": "i1"}, {"invoice": "i2", "cents": 900}), gated(run, [pay]))
        answer = agent.invoke(GO, {"callbacks": [thinking(run)]})
    assert results(answer) == [("paid i1", "success"), ("at most 500", "error")]
    assert sorted(front.statuses(run)) == [("pay", "performed"), ("pay", "refused")]
    assert front.thoughts(run) == ["let me see", "done"]


async def test_several_calls_at_once(front: Front) -> None:
    """Twenty in one message: each is performed once, and its own result comes back."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        agent = create_agent(model(*({"invoice": f"i{at}"} for at in range(20))), gated(run, [pay]))
        answer = await agent.ainvoke(GO)
    assert results(answer) == [(f"paid i{at}", "success") for at in range(20)]
    assert len(front.statuses(run)) == len(front.done) == 20


async def test_a_tool_beside_the_gate_is_found(front: Front) -> None:
    """An agent that was given an original, also one within another graph, or called by its node, is told of by name."""
    pay = paying(front)

    @tool
    def post(text: str) -> str:
        """Post a text."""
        return text

    async with front.gate(actions_of([pay])).run(front.task) as run:
        within = create_agent(model(), [*gated(run, [pay]), post])
        with pytest.raises(BadInput, match="that are not gated: post;"):
            check(within)
        graph = StateGraph(MessagesState).add_node("agent", within).add_edge(START, "agent").add_edge("agent", END)
        with pytest.raises(BadInput, match="that are not gated: post;"):
            check(graph.compile())

        async def ask(state: Any) -> Any:
            return await within.ainvoke(state)

        calling = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").add_edge("ask", END)
        with pytest.raises(BadInput, match="that are not gated: post;"):
            check(calling.compile())
        with pytest.raises(BadInput, match="that are not gated: web_search;"):  # which the model's provider would run
            check(create_agent(model(), [*gated(run, [pay]), {"type": "web_search"}]))
        with pytest.raises(BadInput, match="no action for the tool 'post'"):
            gated(run, [post])
        with pytest.raises(BadInput, match="no action for the tool 'pay'"):
            gated(run, [paying(front)])  # another tool of that name


@pytest.mark.parametrize("handled", [True, "sorry", Exception, (ValueError, RunEnding)])
async def test_a_node_that_would_go_on_after_the_end_is_found(front: Front, handled: Any) -> None:
    """One that tells the model of every error would tell it of the run's end too."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        check(StateGraph(MessagesState).add_node(ToolNode(gated(run, [pay]))).add_edge(START, "tools").compile())
        node = ToolNode(gated(run, [pay]), handle_tool_errors=handled)
        graph = StateGraph(MessagesState).add_node("tools", node).add_edge(START, "tools").compile()
        with pytest.raises(BadInput, match="continue after the end"):
            check(graph)


async def test_the_end_of_the_run_ends_the_agent(front: Front, says: type[Says]) -> None:
    """A monitor that halts is no tool message: what the agent was invoked with raises."""
    pay = paying(front)
    runs: list[Any] = []

    async def host() -> None:
        async with front.gate(actions_of([pay]), says(Verdict(decision="halt", rationale="no"))).run(front.task) as run:
            runs.append(run)
            await create_agent(model({"invoice": "i1"}), gated(run, [pay])).ainvoke(GO)

    with pytest.raises(Stopped):
        await host()
    assert runs[0].outcome.status == "stopped"
    assert not front.done


@pytest.mark.parametrize("waits", [True, False])
async def test_what_is_withheld_of_a_thought_is_not_acted_on(front: Front, says: type[Says], *, waits: bool) -> None:
    """The model's words are read before its calls are made; the agent ends, awaited or in a thread."""
    pay = paying(front)
    gate = front.gate(actions_of([pay]), says(Verdict(decision="block", feedback="think again"), "step"))
    async with gate.run(front.task) as run:
        agent = create_agent(model({"invoice": "i1"}), gated(run, [pay]))
        config: Any = {"callbacks": [thinking(run)]}
        with pytest.raises(StepRefused, match="think again"):
            await (agent.ainvoke(GO, config) if waits else asyncio.to_thread(agent.invoke, GO, config))
    assert not front.done


async def test_reasoning_is_read_whole_where_it_is_shown_whole(front: Front) -> None:
    """As OpenAI's API tells it: models that one serves oneself show all of it, and OpenAI's own a summary."""
    whole: Any = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "all of it"}]}
    summary: Any = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "in short"}]}
    said = AIMessage([whole, summary, {"type": "text", "text": "done"}], response_metadata={"model_provider": "openai"})
    async with front.gate([]).run(front.task) as run:
        agent = create_agent(Script(responses=[said]), [])
        await agent.ainvoke(GO, {"callbacks": [thinking(run)]})
    story = front.story(run)
    (samples,) = (story.contents[event["seq"]]["samples"] for event in story.of("step.answered"))
    assert [sample["reasoning"] for sample in samples] == ["all of it\nin short"]


async def test_what_the_graph_puts_in_is_no_argument(front: Front) -> None:
    """State, call id and runtime reach the tool, and neither the gate nor the trace."""

    @tool
    async def pay(
        invoice: str,
        state: Annotated[dict[str, Any], InjectedState],
        call: Annotated[str, InjectedToolCallId],
        runtime: ToolRuntime,
    ) -> ToolMessage:
        """Pay an invoice."""
        front.done.append((invoice, len(state["messages"]), call, runtime.tool_call_id))
        return ToolMessage(f"paid {invoice}", tool_call_id=call, artifact={"receipt": 1})

    async with front.gate(actions_of([pay])).run("pay what is due") as run:
        agent = create_agent(model({"invoice": "i1", "state": "forged"}), gated(run, [pay]))
        answer = await agent.ainvoke(GO)
    assert front.done == [("i1", 2, "0", "0")]
    assert run.outcome.actions[0].arguments == {"invoice": "i1"}
    (message,) = [each for each in answer["messages"] if isinstance(each, ToolMessage)]
    assert message.artifact == {"receipt": 1}


async def test_what_a_validator_has_converted_is_not_converted_again(front: Front) -> None:
    """The tool gets what it makes of the model's own words, once; what is reviewed is what it is made of."""

    class Order(BaseModel):
        invoice: str = Field(alias="number")
        euros: Annotated[int, AfterValidator(lambda euros: euros * 100)]
        to: Annotated[str, BeforeValidator(lambda to: to["name"])]
        code: SecretStr

        @field_validator("invoice")
        @classmethod
        def _known(cls, invoice: str) -> str:
            if not invoice.startswith("i"):
                raise ValueError("no such invoice")
            return invoice

    @tool(args_schema=Order)
    async def pay(invoice: str, euros: int, to: str, code: SecretStr) -> str:
        """Pay an invoice."""
        front.done.append((invoice, euros, to, code.get_secret_value()))
        return "paid"

    said = {"number": "i1", "euros": 3, "to": {"name": "Ann"}, "code": "4711"}
    async with front.gate(actions_of([pay])).run("pay") as run:
        answer = await create_agent(model(said, said | {"number": "x"}), gated(run, [pay])).ainvoke(GO)
    assert front.done == [("i1", 300, "Ann", "4711")]
    assert front.statuses(run) == [("pay", "performed"), ("pay", "refused")]
    assert run.outcome.actions[0].arguments == said
    assert "no such invoice" in results(answer)[1][0]


async def test_tools_without_a_schema_of_their_own(front: Front) -> None:
    """A function of one text, and a class that is given the graph's configuration: as the library itself calls them."""

    class Pays(BaseTool):
        name: str = "pay"
        description: str = "Pay an invoice."

        def _run(self, invoice: str, cents: int = 100, *, config: RunnableConfig) -> str:
            front.done.append((invoice, cents, config["configurable"]["who"]))
            return "paid"

    plain = Tool("pay", lambda text: front.done.append(text) or "paid", "Pay.")  # type: ignore[func-returns-value]
    calls: list[tuple[BaseTool, dict[str, Any]]] = [(plain, {"tool_input": "i1"}), (Pays(), {"invoice": "i2"})]
    for original, given in calls:
        async with front.gate(actions_of([original])).run("pay") as run:
            tools = gated(run, [original])
            assert convert_to_openai_tool(tools[0])["function"]["parameters"]["properties"].keys() >= given.keys()
            await create_agent(model(given), tools).ainvoke(GO, {"configurable": {"who": "us"}})
            if original is plain:
                assert await tools[0].arun("i3") == "paid"
        assert {said for _, said in front.statuses(run)} == {"performed"}
    assert front.done == ["i1", "i3", ("i2", 100, "us")]


async def test_what_a_task_has_left_out_its_agent_is_not_told(front: Front) -> None:
    """Neither is what the trace leaves out of a result shown to the graph, whatever the result is."""

    @tool
    async def pay(invoice: str, call: Annotated[str, InjectedToolCallId]) -> ToolMessage:
        """Pay an invoice."""
        return ToolMessage(f"paid {invoice} from DE02", tool_call_id=call, artifact={"pin": "4711", "of": invoice})

    task = Task(prompt="pay", redact=Redact(patterns=("DE[0-9]+",), fields=("pin",)))
    async with front.gate(actions_of([pay])).run(task) as run:
        answer = await create_agent(model({"invoice": "i1"}), gated(run, [pay])).ainvoke(GO)
    (message,) = [each for each in answer["messages"] if isinstance(each, ToolMessage)]
    assert message.content == "paid i1 from [redacted]"
    assert message.artifact == {"pin": "[redacted]", "of": "i1"}


@pytest.mark.parametrize("waits", [True, False])
async def test_a_tool_may_pause_its_graph(front: Front, *, waits: bool) -> None:
    """The graph stands still as it would without a gate; when it goes on, the call is cleared again, and performed."""

    @tool
    def pay(invoice: str) -> str:
        """Pay an invoice."""
        front.done.append((invoice, interrupt({"pay": invoice})))
        return f"paid {invoice}"

    config: Any = {"configurable": {"thread_id": "1"}}
    answer: Any = None
    async with front.gate(actions_of([pay])).run("pay") as run:
        agent: Any = create_agent(model({"invoice": "i1"}), gated(run, [pay]), checkpointer=InMemorySaver())
        steps: list[Any] = [GO, Command(resume="yes")]
        for given in steps:
            assert not front.done
            answer = await (agent.ainvoke(given, config) if waits else asyncio.to_thread(agent.invoke, given, config))
            assert [each.value for each in answer.get("__interrupt__", ())] == [{"pay": "i1"}] * (given is GO)
    assert front.done == [("i1", "yes")]
    assert results(answer) == [("paid i1", "success")]
    assert front.statuses(run) == [("pay", "unknown"), ("pay", "performed")]


async def test_a_graph_that_waited_for_a_person_goes_on_where_it_stood(front: Front) -> None:
    """Its node makes all calls of a message again: those that were done are told, as messages and commands."""

    @tool
    async def pay(invoice: str, call: Annotated[str, InjectedToolCallId]) -> Any:
        """Pay an invoice."""
        front.done.append(invoice)
        said = ToolMessage(f"paid {invoice}", tool_call_id=call, artifact=[invoice])
        return Command(update={"messages": [said], "paid": invoice}) if invoice == "i1" else said

    class Asks:
        spec = MonitorSpec(name="asks")

        async def review(self, subject: Subject, *_: Any) -> Verdict:
            """Ask for one of them."""
            assert subject.plan is not None
            return Verdict(decision="escalate" if subject.plan[0].arguments["invoice"] == "i2" else "allow")

    class State(MessagesState):
        paid: str

    gate = front.gate(actions_of([pay]), Asks())
    saver, config = InMemorySaver(), {"configurable": {"thread_id": "1"}}
    script = model(*({"invoice": f"i{at}"} for at in (1, 2, 3)))

    def graph(run: Any) -> Any:
        making = StateGraph(State)
        making.add_node("model", lambda state: {"messages": [script.invoke(state["messages"])]})
        making.add_node("tools", ToolNode(gated(run, [pay])))
        making.add_edge(START, "model")
        making.add_edge("model", "tools")
        making.add_edge("tools", END)
        return making.compile(checkpointer=saver)

    with pytest.raises(RunEnding, match="waits for a person"):
        async with gate.run("pay") as run:
            await graph(run).ainvoke(GO, config)
    (asked,) = front.story(run).of("approval.asked")
    await gate.journal.post(run.id, Answer(id=asked["id"], digest=asked["digest"], granted=True, by="ann"))
    async with gate.run("", resume=run.id) as run:
        answer = await graph(run).ainvoke(None, config)
    assert sorted(front.done) == ["i1", "i2", "i3"]
    assert results(answer) == [(f"paid i{at}", "success") for at in (1, 2, 3)]
    assert [each.artifact for each in answer["messages"] if isinstance(each, ToolMessage)] == [["i1"], ["i2"], ["i3"]]
    assert answer["paid"] == "i1"
    assert sorted(front.statuses(run)) == [("pay", "performed")] * 3


async def test_what_a_tool_has_done_is_a_call_of_its_own(front: Front) -> None:
    """Made by way of the run, it does not take what the graph has put into the tool that asks for it."""
    runs: list[Any] = []

    @tool
    async def look(at: str) -> str:
        """Look."""
        return f"seen {at}"

    @tool
    async def pay(invoice: str, call: Annotated[str, InjectedToolCallId]) -> str:
        """Pay an invoice, once it is looked at."""
        seen = await runs[0].act("look", {"at": invoice})
        return f"{call}: {seen.value}"

    async with front.gate(actions_of([pay, look])).run("pay") as run:
        runs.append(run)
        answer = await create_agent(model({"invoice": "i1"}), gated(run, [pay])).ainvoke(GO)
    assert results(answer) == [("0: seen i1", "success")]


async def test_a_tool_that_raises_is_unknown_unless_it_reads(front: Front) -> None:
    """The model is told which; the agent goes on."""

    @tool
    async def pay(invoice: str) -> str:
        """Pay an invoice."""
        raise OSError(f"the line broke at {invoice}")

    kinds: list[tuple[Effect, str, str]] = [
        ("irreversible", "may have been done", "unknown"),
        ("read", "not done", "failed"),
    ]
    for effect, said, status in kinds:
        gate = front.gate(actions_of([pay], effects={"pay": effect}))
        async with gate.run("pay") as run:
            answer = await create_agent(model({"invoice": "i1"}), gated(run, [pay])).ainvoke(GO)
        assert said in results(answer)[0][0]
        assert front.statuses(run) == [("pay", status)]


@pytest.mark.parametrize("handle", [True, "it failed", str, None])
async def test_an_error_that_a_tool_turns_into_its_result_is_an_error(front: Front, handle: Any) -> None:
    """In an agent and alone: the model is told what the tool would have told it, and whether to try again."""

    @tool
    async def pay(invoice: str) -> Any:
        """Pay an invoice."""
        if handle is None:
            return ToolMessage("it failed", tool_call_id=invoice, status="error")
        raise ToolException("it failed")

    pay.handle_tool_error = handle
    async with front.gate(actions_of([pay])).run("pay") as run:
        (its,) = gated(run, [pay])
        answer = await create_agent(model({"invoice": "i1"}), [its]).ainvoke(GO)
        alone = await its.ainvoke({"invoice": "i2"})
    told = "It may have been done; do not do it again: ToolException: it failed"
    assert results(answer) == [(told, "error")]
    assert alone == told
    assert front.statuses(run) == [("pay", "unknown")] * 2


async def test_a_tool_keeps_what_it_remembers(front: Front) -> None:
    """Also one that turns its errors into results: it is the tool itself that is called, not a copy."""

    class Pay(BaseTool):
        name: str = "pay"
        description: str = "Pay an invoice."
        handle_tool_error: bool = True
        calls: int = 0

        def _run(self, invoice: str) -> str:
            self.calls += 1
            return f"paid {invoice} as number {self.calls}"

    pay = Pay()
    async with front.gate(actions_of([pay])).run("pay") as run:
        agent = create_agent(model({"invoice": "i1"}), gated(run, [pay]))
        await agent.ainvoke(GO)
    assert pay.calls == 1


async def test_arguments_that_do_not_fit_are_refused(front: Front) -> None:
    """With what is wrong, and nothing is called; half a character, which models can say, no trace could hold."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        agent = create_agent(model({"invoice": "i1", "cents": "many"}, {"invoice": "\ud800"}), gated(run, [pay]))
        answer = await agent.ainvoke(GO)
    assert "cents: Input should be a valid integer" in results(answer)[0][0]
    assert "cannot be recorded" in results(answer)[1][0]
    assert not front.done


@pytest.mark.parametrize("when", ["before", "while it is read"])
async def test_a_tool_whose_schema_changes_during_the_run_is_refused(front: Front, when: str) -> None:
    """Another schema would make other values of arguments that were reviewed; while they are, or before."""
    pay = paying(front)

    class Dearer(BaseModel):
        invoice: str
        cents: Annotated[int, AfterValidator(lambda cents: cents * 100)] = 100

    class Changes:
        """A monitor while which the tool gets another schema."""

        spec = MonitorSpec(name="changes")

        async def review(self, *_: Any) -> Verdict:
            """Allow it."""
            pay.args_schema = Dearer
            return Verdict(decision="allow")

    async with front.gate(actions_of([pay]), *([Changes()] if when != "before" else [])).run(front.task) as run:
        if when == "before":
            pay.args_schema = Dearer
        answer = await create_agent(model({"invoice": "i1"}), gated(run, [pay])).ainvoke(GO)
    assert "has changed since its gate was made" in results(answer)[0][0]
    assert front.statuses(run) == [("pay", "refused" if when == "before" else "failed")]
    assert not front.done


async def test_an_agent_that_holds_up_its_loop_is_told(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invoked without await in the run's own loop it could wait for ever; nothing is performed."""
    monkeypatch.setattr("scaffold.adapters.tools._ANSWERS_WITHIN_S", 0.2)
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        with pytest.raises(BadInput, match="blocked"):
            create_agent(model({"invoice": "i1"}), gated(run, [pay])).invoke(GO)
        with pytest.raises(BadInput, match="blocked"):
            gated(run, [pay])[0].invoke({"invoice": "i1"})
    with pytest.raises(RunEnding, match="is over"):
        await gated(run, [pay])[0].ainvoke({"invoice": "i1"})
    assert not front.done


async def test_what_is_said_of_tools_is_checked(front: Front) -> None:
    """Of a tool that is not there, or what cannot be: with the nearest name."""
    pay = paying(front)
    with pytest.raises(BadInput, match="effects: there is no tool 'pya'; did you mean 'pay'"):
        actions_of([pay], effects={"pya": "read"})
    with pytest.raises(BadInput, match="'reads'"):
        actions_of([pay], effects={"pay": "reads"})  # type: ignore[dict-item]  # that is the fault
    with pytest.raises(BadInput, match="no argument 'invoices'"):
        actions_of([pay], identity={"pay": ["invoices"]})
    with pytest.raises(BadInput, match="is not a tool"):
        actions_of([print])  # type: ignore[list-item]  # as above
    (spec,) = [each.spec for each in actions_of([pay])]
    assert (spec.effect, spec.trusted, spec.description) == ("irreversible", False, "Pay an invoice.")


async def test_a_refusal_is_an_error_where_no_message_can_be(front: Front) -> None:
    """A tool called on its own gives back text, as the library's own tools do there."""
    pay = paying(front)
    async with front.gate(actions_of([pay])).run(front.task) as run:
        (front_pay,) = gated(run, [pay])
        assert await front_pay.ainvoke({"invoice": "i1"}) == "paid i1"
        assert await front_pay.ainvoke({"invoice": "i2", "cents": 900}) == "at most 500"
        with pytest.raises(ActionRefused):
            await run.act("pay", {"invoice": "i3", "cents": 901})
