"""Runs written by hand, and real collectors to send them to."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from oteltap import OtelTapHttpProtobufReceiver, OtelTapHttpProtobufReceiverSettings

from scaffold.projections.spans import Spans
from scaffold.vocabulary import events as happened
from scaffold.vocabulary.events import VerdictFact
from scaffold.vocabulary.models import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span
    from opentelemetry.sdk.trace import ReadableSpan

    from scaffold.vocabulary.events import Event

SECRET = "account DE02-1203"


class Story:
    """Writes the events of a run, numbered from 1 and a second apart."""

    def __init__(self, run: str = "run-1") -> None:
        self.run = run
        self.told: list[tuple[Event, dict[str, Any]]] = []
        self.now = 1_700_000_000.0

    def tell(self, kind: type[Event], content: dict[str, Any] | None = None, **facts: Any) -> None:
        """Add an event."""
        self.now += 1.0
        self.told.append((kind(seq=len(self.told) + 1, at=self.now, **facts), content or {}))

    def begin(self, config: dict[str, Any] | None = None) -> None:
        """Start the run."""
        content = {"task": {"prompt": f"pay the invoices from {SECRET}"}, "config": config or {}}
        who = {"run": self.run, "scaffold": "0.1.0", "planner": "deliberate"}
        self.tell(happened.RunStarted, content, format=1, **who)

    def ask(self, key: str, step: str = "solve", ledger: str = "model") -> None:
        """Ask a step."""
        content = {"messages": [{"role": "system", "content": "think"}, {"role": "user", "content": SECRET}]}
        model: dict[str, Any] = {"backend": "openai", "model": "gpt-5-mini"}
        self.tell(happened.StepAsked, content, key=key, step=step, ledger=ledger, **model)

    def answer(self, key: str, *, samples: int = 1, **facts: Any) -> None:
        """Answer it with as many samples, the last of them cut short."""
        drawn = [
            {"index": index, "text": f"pay from {SECRET}", "reasoning": f"it says {SECRET}", "finish": "stop"}
            for index in range(samples)
        ]
        drawn[-1]["finish"] = "length" if samples > 1 else "stop"
        facts = {"usage": Usage(100, 20 * samples, 5, 40, 0.001), "seconds": 0.5, "confidence": 0.75} | facts
        content = {"samples": drawn, "value": SECRET}
        self.tell(happened.StepAnswered, content, key=key, samples=samples, votes=samples, **facts)

    def review(self, key: str, subject: str, *facts: VerdictFact) -> None:
        """Have monitors say their verdicts."""
        whole = [{"monitor": fact.monitor, "decision": fact.decision, "rationale": SECRET} for fact in facts]
        self.tell(
            happened.Reviewed,
            {"verdicts": whole},
            key=key,
            subject=subject,
            digest="d",
            decision="allow",
            stakes="high",
            verdicts=facts,
        )

    def propose(self, key: str, action: str = "pay") -> None:
        """Propose an action."""
        content = {"call": {"id": "1", "action": action, "arguments": {"from": SECRET}}}
        facts = {
            "action": action,
            "effect": "irreversible",
            "digest": "d",
            "cost": 2.0,
            "plan": "2",
            "node": "1",
        }
        self.tell(happened.ActionProposed, content, key=key, **facts)

    def intend(self, key: str, action: str = "pay") -> None:
        """Clear the action and write down that it is about to be performed."""
        self.tell(happened.ActionCleared, key=key, action=action, digest="d", decision="allow")
        declared: dict[str, Any] = {"effect": "irreversible", "idempotency": "none"}
        self.tell(happened.ActionIntent, key=key, action=action, digest="d", **declared)

    def outcome(self, key: str, status: str = "performed", action: str = "pay", **facts: Any) -> None:
        """Write down what came of it."""
        content = {"value": SECRET} if status == "performed" else {"reason": SECRET}
        self.tell(happened.ActionOutcome, content, key=key, action=action, digest="d", status=status, **facts)

    def end(self, status: str = "solved") -> None:
        """End the run."""
        self.tell(happened.Ended, {"answer": SECRET}, status=status)


def _invoices(story: Story) -> None:
    """Tell of votes, oversight's own step, a plan refused, then allowed, and actions of every fate."""
    story.begin()
    story.ask("0", "understand")
    story.answer("0")
    story.ask("1/0/0", "propose")
    story.ask("1/1/0", "propose")
    story.answer("1/1/0", samples=3, discarded=1, winner=0)
    story.answer("1/0/0", final=False)
    story.review("1/0/0", "step", VerdictFact("patterns", "allow"))
    story.tell(happened.Released, key="1/0/0", subject="step")
    story.tell(happened.PlanProposed, {"calls": [SECRET], "reason": SECRET}, key="2", digest="p1", actions=1)
    story.ask("2!goals/0", "evaluate", "oversight")
    story.answer("2!goals/0", ledger="oversight")
    verdicts = [
        VerdictFact("goals", "revise", score=0.25, property="achieves-goals", seconds=2.0),
        VerdictFact("rules", "allow", seconds=0.01),
        VerdictFact("judge", "block", status="timeout", seconds=0.4),
    ]
    story.review("2", "plan", *verdicts)
    objections = {"objections": [{"node": "1", "feedback": SECRET}]}
    story.tell(happened.PlanDecided, objections, key="2", digest="p1", decision="revise", allowed=False)
    story.tell(happened.Noted, {"text": SECRET}, key="3")
    story.tell(happened.PlanProposed, key="4", digest="p2", actions=3)
    story.review("4", "plan", VerdictFact("rules", "escalate"))
    approval = {"id": "a1", "digest": "p2", "key": "4"}
    story.tell(happened.ApprovalAsked, {"reasons": SECRET}, subject="plan", expires=story.now + 60, **approval)
    story.tell(happened.ApprovalGiven, {"comment": SECRET}, granted=True, by="ann", **approval)
    story.tell(happened.PlanDecided, key="4", digest="p2", decision="escalate", allowed=True)
    story.propose("5")
    story.review("5", "action", VerdictFact("rules", "allow"))
    story.intend("5")
    story.outcome("5", final=False)
    story.review("5", "observation", VerdictFact("injection", "flag"))
    story.tell(happened.Released, key="5", subject="observation")
    story.propose("6", "delete")
    story.review("6", "action", VerdictFact("rules", "block"))
    refusal = {"action": "delete", "digest": "d", "decision": "block"}
    story.tell(happened.ActionRefused, {"feedback": SECRET}, key="6", **refusal)
    story.propose("7")
    story.intend("7")
    story.outcome("7", "unknown")
    story.tell(happened.QuestionAsked, {"asked": SECRET}, key="8", id="q1", digest="d")
    story.tell(happened.QuestionAnswered, {"value": SECRET}, key="8", id="q1", by="ann")
    story.end()


@pytest.fixture
def story() -> Story:
    """A run nothing is told of yet."""
    return Story()


@pytest.fixture
def invoices() -> Story:
    """A run in which about everything happens."""
    story = Story("run-of-the-invoices")
    _invoices(story)
    return story


def fold(story: Story, **options: Any) -> list[ReadableSpan]:
    """All spans of a story."""
    spans = Spans(**options)
    done = [span for event, content in story.told for span in spans.feed(event, content)]
    return done + spans.finish()


@pytest.fixture(name="fold")
def _fold() -> Any:
    """Folds a story into all its spans."""
    return fold


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "OTEL_SDK_DISABLED",
        "OTEL_TRACES_EXPORTER",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
        "TRACEPARENT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """An address where no collector listens, set in the environment."""
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5")
    return address


class Receiver:
    """OtelTap, a real OTLP receiver, on an event loop of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.spans: list[Span] = []
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._started.wait(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._receive())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _receive(self) -> None:
        settings = OtelTapHttpProtobufReceiverSettings(http_port=self.port)
        async with OtelTapHttpProtobufReceiver(settings) as receiver:
            reader = asyncio.create_task(self._read(receiver))
            await asyncio.sleep(0)
            self._started.set()
            await self._stop.wait()
        await reader

    async def _read(self, receiver: OtelTapHttpProtobufReceiver) -> None:
        async for span in receiver.stream_traces():
            self.spans.append(span)

    def wait_for(self, count: int) -> list[Span]:
        """Wait until so many spans have come, and give them all."""
        deadline = time.monotonic() + 20
        while len(self.spans) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        return list(self.spans)

    def stop(self) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A real receiver, which the environment names."""
    receiving = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiving.port}")
    yield receiving
    receiving.stop()


class Desk(ThreadingHTTPServer):
    """An OTLP endpoint that keeps whole requests, and can answer badly, or not before its gate is opened."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Clerk)
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        self.largest = 1 << 40
        self.refuses = ""
        self.rejects = 0
        self.kind = ""
        self.sends_to = ""
        self.requests: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.asked: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []


class _Clerk(BaseHTTPRequestHandler):
    server: Desk

    def do_POST(self) -> None:
        """Take a request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/v1/metrics"):
            self.server.metrics.append(ExportMetricsServiceRequest.FromString(body))
            return self.answer(200)
        if not self.path.endswith("/v1/traces"):
            self.server.asked.append(("POST", self.path, json.loads(body)))
            return self.answer(503 if self.path == self.server.refuses else self.server.status)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if len(body) > self.server.largest:
            return self.answer(413)
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.server.gate.wait(60)
        if self.server.rejects:
            some = ExportTracePartialSuccess(rejected_spans=self.server.rejects, error_message="no room")
            return self.answer(200, ExportTraceServiceResponse(partial_success=some).SerializeToString())
        return self.answer(self.server.status)

    def do_GET(self) -> None:
        """Say that nothing is known."""
        self.server.asked.append(("GET", self.path, None))
        self.answer(200)

    def answer(self, status: int, message: bytes = b"") -> None:
        """Answer, with a message or an empty object."""
        self.send_response(status)
        if kind := "application/x-protobuf" if message else self.server.kind:
            self.send_header("Content-Type", kind)
        if self.server.sends_to and self.command == "POST":
            self.send_header("Location", self.server.sends_to)
        self.end_headers()
        self.wfile.write(message or b"{}")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """An endpoint that keeps requests, which the environment names."""
    server = Desk()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.gate.set()
    server.shutdown()
    thread.join()
    server.server_close()
