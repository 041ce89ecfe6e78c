"""Sends verdicts as badges on what they evaluated, to backends with an API for that.

OTLP has no concept for them, so they go beside the spans: as annotations to Phoenix (`POST /v1/span_annotations`),
assessments to MLflow (`POST /api/3.0/mlflow/traces/ID/assessments`), scores to Langfuse (`POST /api/public/scores`). A
badge is named after its monitor and has the id of its guard's span, so sending it again changes nothing. Phoenix
averages badges with one name on one span. Verdicts must not be averaged, so a monitor's second verdict on the same
thing gets another name.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from scaffold.projections import environment
from scaffold.projections.overlays import kind_of
from scaffold.proxies import proxy_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

    from scaffold.projections.overlays import Backend

_WAITING = 2048
_GIVES_UP_AFTER = 3
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Badge:
    """One verdict on one span.

    Attributes:
        trace: the trace's id, in hex.
        span: id of the span that was evaluated, in hex.
        guard: id of the verdict's own span, in hex.
        monitor: name of the monitor.
        name: the monitor's name, numbered from its second verdict on the span on.
        label: the decision, or the status of a failed check.
        score: the verdict's score, if it has one.
        why: its rationale, if content is captured.
    """

    trace: str
    span: str
    guard: str
    monitor: str
    name: str
    label: str
    score: float | None
    why: str


class Api(Protocol):
    """One backend's API for badges.

    Attributes:
        at_once: most badges in one request.
    """

    at_once: int

    def post(self, client: httpx.Client, badges: Sequence[Badge]) -> None:
        """Send some badges.

        Raises:
            httpx.HTTPError: they were not accepted.
        """
        ...


def _body(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, "")}


class _Phoenix:
    at_once = 100

    def post(self, client: httpx.Client, badges: Sequence[Badge]) -> None:
        # Phoenix stores spans a moment after it has accepted them; annotations wait there for theirs.
        data = [
            {
                "span_id": badge.span,
                "name": badge.name if badge.name != "note" else "note (1)",  # a name that Phoenix reserves
                "annotator_kind": "CODE",
                "identifier": badge.guard,
                "result": _body(label=badge.label, score=badge.score, explanation=badge.why),
                "metadata": {"guard": badge.guard},
            }
            for badge in badges
        ]
        client.post("/v1/span_annotations", json={"data": data}).raise_for_status()


class _Mlflow:
    """MLflow's API. Each request makes a new assessment, so those that a trace already has are looked up first."""

    at_once = 1

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def post(self, client: httpx.Client, badges: Sequence[Badge]) -> None:
        for badge in badges:
            trace = f"tr-{badge.trace}"
            known = self._known.get(trace)
            if known is None:
                known = self._known[trace] = self._guards_of(client, trace)
            if badge.guard in known:
                continue
            assessment = _body(
                assessment_name=badge.name,
                trace_id=trace,
                span_id=badge.span,
                source={"source_type": "CODE", "source_id": badge.monitor},
                feedback={"value": badge.label},
                rationale=badge.why,
                metadata=_body(scaffold_guard=badge.guard, score=None if badge.score is None else repr(badge.score)),
            )
            path = f"/api/3.0/mlflow/traces/{trace}/assessments"
            client.post(path, json={"assessment": assessment}).raise_for_status()

    @staticmethod
    def _guards_of(client: httpx.Client, trace: str) -> set[str]:
        answer = client.get(f"/api/3.0/mlflow/traces/{trace}").raise_for_status().json()
        told = answer.get("trace", {}).get("trace_info", {}).get("assessments", ())
        return {each.get("metadata", {}).get("scaffold_guard", "") for each in told}


class _Langfuse:
    at_once = 1

    def post(self, client: httpx.Client, badges: Sequence[Badge]) -> None:
        for badge in badges:
            score = _body(
                id=f"scaffold-{badge.guard}",
                traceId=badge.trace,
                observationId=badge.span,
                name=badge.name,
                value=badge.label,
                dataType="CATEGORICAL",
                comment=badge.why,
                metadata=_body(score=badge.score),
            )
            client.post("/api/public/scores", json=score).raise_for_status()


_APIS: Mapping[Backend, type[Api]] = {"phoenix": _Phoenix, "mlflow": _Mlflow, "langfuse": _Langfuse}
# Path of the span endpoint, after the backend's own address.
_OTLP_PATHS = ("/v1/traces", "/api/public/otel")


class Badges:
    """Sends the verdicts on delivered spans in a thread of its own.

    Args:
        backend: the backend that gets them.
        patient: whether `delivered` may wait until the thread catches up; if not, excess verdicts are dropped.

    Attributes:
        sent: number of verdicts that the backend accepted.
        failed: number of the others.
        reason: why these failed, in a few words.
    """

    def __init__(self, backend: Backend, *, patient: bool) -> None:
        self.sent = 0
        self.failed = 0
        self.reason = ""
        self._api = _APIS[backend]()
        self._patient = patient
        self._pending: dict[int, list[Badge]] = {}
        self._queue: queue.Queue[list[Badge] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._work, name="scaffold-badges", daemon=True)
        self._stopped = False
        self._thread.start()

    def delivered(self, spans: Sequence[ReadableSpan]) -> None:
        """Note spans that the backend has accepted; a verdict is sent once its subject's span is among them."""
        ready: list[Badge] = []
        for span in spans:
            if span.context is None:
                continue
            if span.parent is not None and kind_of(span.attributes or {}) == "GUARDRAIL":
                of_subject = self._pending.setdefault(span.parent.span_id, [])
                of_subject.append(_badge(span.attributes or {}, span.context, span.parent, of_subject))
            ready += self._pending.pop(span.context.span_id, ())
        self._hand_over(ready)

    def _hand_over(self, ready: Sequence[Badge]) -> None:
        for start in range(0, len(ready), self._api.at_once):
            part = list(ready[start : start + self._api.at_once])
            try:
                self._queue.put(part, block=self._patient)
            except queue.Full:
                self._lose(len(part), "too many at once")

    def close(self, timeout: float) -> None:
        """Send what is left, within `timeout` seconds; may be called twice."""
        if self._stopped:
            return
        self._stopped = True
        # The subjects of these were sent by an earlier process.
        self._hand_over([badge for badges in self._pending.values() for badge in badges])
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout)
        self._thread.join(timeout)
        left = sum(len(part) for part in list(self._queue.queue) if part)
        if left:
            self._lose(left, "too slow")

    def _work(self) -> None:
        try:
            with self._client() as client:
                self._send(client)
        except Exception as error:  # noqa: BLE001 - nobody would see it in a thread, and the queue must be emptied
            self.reason = _gist(error)
        while (part := self._queue.get()) is not None:
            self._lose(len(part), self.reason)

    @staticmethod
    def _client() -> httpx.Client:
        import httpx

        from scaffold.projections.collector import headers

        base = environment.traces_endpoint()
        for path in _OTLP_PATHS:
            base = base.removesuffix(path)
        way = httpx.HTTPTransport(proxy=proxy_of(base))
        return httpx.Client(base_url=base, headers=headers(), timeout=_SECONDS, transport=way)

    def _send(self, client: httpx.Client) -> None:
        """Send badges until there are no more, or several requests in a row failed."""
        in_a_row = 0
        while in_a_row < _GIVES_UP_AFTER:
            part = self._queue.get()
            if part is None:
                self._queue.put(None)  # marks the end for the code that empties the queue
                return
            try:
                self._api.post(client, part)
                self.sent += len(part)
                in_a_row = 0
            except Exception as error:  # noqa: BLE001 - a reply may have any shape, and must not fail the run
                in_a_row += 1
                self._lose(len(part), _gist(error))

    def _lose(self, count: int, reason: str) -> None:
        self.failed += count
        self.reason = reason


def _gist(error: Exception) -> str:
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"HTTP {answer.status_code} {answer.reason_phrase}"
    return str(error)[:200] or type(error).__name__


def _badge(have: Mapping[str, Any], guard: SpanContext, subject: SpanContext, others: Sequence[Badge]) -> Badge:
    monitor = str(have.get("scaffold.monitor", ""))
    before = sum(other.monitor == monitor for other in others)
    score = have.get("gen_ai.evaluation.score.value")
    return Badge(
        trace=f"{guard.trace_id:032x}",
        span=f"{subject.span_id:016x}",
        guard=f"{guard.span_id:016x}",
        monitor=monitor,
        name=f"{monitor} ({before + 1})" if before else monitor,
        label=str(have.get("gen_ai.evaluation.score.label", "")),
        score=score if isinstance(score, float) else None,
        why=str(have.get("gen_ai.evaluation.explanation", "")),
    )
