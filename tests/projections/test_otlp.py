"""Spans on the wire: real receivers, collectors that are down, and runs that must not notice."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from scaffold.errors import Unavailable
from scaffold.projections import environment
from scaffold.projections.messages import encode as write
from scaffold.projections.otlp import LiveExport, export, live_from_environment
from scaffold.projections.spans import Spans
from scaffold.vocabulary import events as happened

encode = msgspec.json.encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.sdk.trace import ReadableSpan

    Fold = Callable[..., list[ReadableSpan]]


def folded(spans: Iterable[ReadableSpan]) -> set[tuple[str, str, str]]:
    """Ids, parents and names of spans as they were folded."""
    return {
        (f"{span.context.span_id:016x}", f"{span.parent.span_id:016x}" if span.parent else "", span.name)
        for span in spans
    }


def received(spans: Iterable[Any]) -> set[tuple[str, str, str]]:
    """Ids, parents and names of spans as they arrived."""
    return {(span.span_id.hex(), span.parent_span_id.hex(), span.name) for span in spans}


def run_live(story: Any, **options: Any) -> tuple[LiveExport, int]:
    """Show a story while it is told, and say how many spans were lost."""
    live = LiveExport(**options)
    for event, content in story.told:
        live.feed(event, content)
    return live, live.close()


def test_a_receiver_gets_every_span_afterwards(invoices: Any, receiver: Any, fold: Fold) -> None:
    """A real OTLP receiver gets a stored trace whole, in its own trace id, over HTTP."""
    expected = fold(invoices)
    assert export(invoices.told).spans == len(expected)
    spans = receiver.wait_for(len(expected))
    assert received(spans) == folded(expected)
    assert {span.trace_id.hex() for span in spans} == {f"{expected[0].context.trace_id:032x}"}


def test_a_receiver_gets_the_same_spans_live(invoices: Any, receiver: Any, fold: Fold) -> None:
    """What a real OTLP receiver gets while the run goes is, to the byte, what a later export sends."""
    expected = fold(invoices)
    _, lost = run_live(invoices)
    live = receiver.wait_for(len(expected))
    assert not lost
    assert received(live) == folded(expected)
    export(invoices.told)
    both = receiver.wait_for(2 * len(expected))
    assert len(both) == 2 * len(expected)
    once, twice = both[: len(expected)], both[len(expected) :]
    assert sorted(span.SerializeToString(deterministic=True) for span in once) == sorted(
        span.SerializeToString(deterministic=True) for span in twice
    )


def test_a_killed_run_is_exported_whole(invoices: Any, receiver: Any, fold: Fold) -> None:
    """Of a run without an end, the root arrives too, so that its spans have something to stand under."""
    del invoices.told[-4:]
    expected = fold(invoices)
    export(invoices.told)
    roots = [span for span in receiver.wait_for(len(expected)) if span.name == "invoke_agent deliberate"]
    assert [fact.value.bool_value for fact in roots[0].attributes if fact.key == "scaffold.cut_off"] == [True]


def test_many_spans_go_in_batches(story: Any, desk: Any) -> None:
    """Spans are sent 512 at a time, all of them."""
    story.begin()
    for index in range(1000):
        story.ask(str(index))
        story.answer(str(index))
    story.end()
    result = export(story.told)
    sizes = [len(request.resource_spans[0].scope_spans[0].spans) for request in desk.requests]
    assert (result.spans, result.failed) == (2001, 0)
    assert sizes == [512, 512, 512, 465]


def test_large_content_goes_in_smaller_requests(story: Any, desk: Any) -> None:
    """A request stays below what collectors take, whatever the prompts weigh."""
    story.begin()
    for index in range(12):
        story.ask(str(index))
        story.told[-1][1]["messages"] = [{"role": "user", "content": "x" * 1_000_000}]
        story.answer(str(index))
    story.end()
    assert export(story.told, capture=True).spans == 25
    assert len(desk.requests) >= 3
    assert max(request.ByteSize() for request in desk.requests) < 4_500_000


def test_a_request_that_is_too_large_is_sent_in_parts(story: Any, desk: Any, fold: Fold) -> None:
    """Where a collector takes less than is usual (413), smaller requests are made, and nothing is lost."""
    desk.largest = 20_000
    story.begin()
    for index in range(100):
        story.ask(str(index))
        story.answer(str(index))
    story.end()
    result = export(story.told, capture=True)
    assert (result.spans, result.failed) == (201, 0)
    assert len(desk.requests) > 4
    sent = [span for request in desk.requests for span in request.resource_spans[0].scope_spans[0].spans]
    assert received(sent) == folded(fold(story))


def test_a_span_that_is_too_large_goes_without_its_content(story: Any, desk: Any) -> None:
    """Of a span that no request of the collector's holds, everything short is sent, and how much was left out."""
    desk.largest = 20_000
    story.begin()
    story.ask("0")
    story.told[-1][1]["messages"] = [{"role": "user", "content": "x" * 50_000}]
    story.answer("0")
    story.end()
    result = export(story.told, capture=True)
    assert (result.spans, result.failed) == (3, 0)
    sent = [span for request in desk.requests for span in request.resource_spans[0].scope_spans[0].spans]
    [chat] = [span for span in sent if span.name.startswith("chat")]
    told = {fact.key: fact.value for fact in chat.attributes}
    assert "gen_ai.input.messages" not in told
    assert told["scaffold.content_dropped"].int_value == 1
    assert told["gen_ai.usage.input_tokens"].int_value == 100


def test_a_collector_that_takes_nothing_at_all_is_not_asked_for_ever(story: Any, desk: Any) -> None:
    """When even the smallest request is too large, the export says so."""
    desk.largest = 10
    story.begin()
    story.end()
    with pytest.raises(Unavailable, match="HTTP 413"):
        export(story.told)
    assert len(desk.headers) == 1


def test_figures_are_sent_while_a_run_goes(invoices: Any, desk: Any) -> None:
    """Tokens by kind and model, seconds, verdicts and refusals reach the collector, once, and by no later export."""
    run_live(invoices)
    points = {
        metric.name: metric
        for request in desk.metrics
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
    }
    tokens = {
        (facts["gen_ai.token.type"], facts.get("scaffold.ledger", "model")): point.sum
        for point in points["gen_ai.client.token.usage"].histogram.data_points
        for facts in [{fact.key: fact.value.string_value for fact in point.attributes}]
    }
    assert tokens == {
        ("input", "model"): 300,
        ("output", "model"): 100,
        ("input", "oversight"): 100,
        ("output", "oversight"): 20,
    }
    seconds = points["gen_ai.client.operation.duration"].histogram.data_points
    assert sum(point.count for point in seconds) == 4
    verdicts = points["scaffold.verdicts"].sum.data_points
    assert sum(point.as_int for point in verdicts) == 8
    assert sum(point.as_int for point in points["scaffold.refusals"].sum.data_points) == 2
    desk.metrics.clear()
    export(invoices.told)
    assert not desk.metrics


def test_figures_can_be_switched_off(invoices: Any, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With OpenTelemetry's own switch for metrics, only spans are sent."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    run_live(invoices)
    assert desk.requests
    assert not desk.metrics


def test_the_environments_sampler_counts(story: Any, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that `OTEL_TRACES_SAMPLER` leaves out is not shown live, and counts as no loss."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    story.begin()
    story.end()
    assert run_live(story)[1] == 0
    assert not desk.requests


def test_the_usual_settings_hold(invoices: Any, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers, the service's name and resource attributes come from where OpenTelemetry's users set them."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=payments")
    export(invoices.told)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "invoices")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    export(invoices.told)
    resources = [
        {fact.key: fact.value.string_value for fact in request.resource_spans[0].resource.attributes}
        for request in desk.requests
    ]
    assert desk.headers[0]["x-team"] == "payments"
    assert resources[0]["service.name"] == "scaffold"
    assert resources[1]["service.name"] == "invoices"
    assert resources[1]["deployment.environment.name"] == "test"
    assert desk.requests[0].resource_spans[0].scope_spans[0].scope.version == "0.1.0"


def test_an_export_to_nobody_says_where_and_what_to_do(
    invoices: Any, nobody: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """When no collector listens, the error names address, cause and cure, and nothing else is said."""
    with pytest.raises(Unavailable) as caught:
        export(invoices.told)
    message = str(caught.value)
    assert f"{nobody}/v1/traces" in message
    assert "Connection refused" in message
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in message
    assert not capfd.readouterr().err


def test_an_export_that_is_refused_says_so(invoices: Any, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the collector refuses, the error has its answer, and no password that the address holds."""
    desk.status = 401
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://me:hidden@127.0.0.1:{desk.server_port}")
    with pytest.raises(Unavailable, match="HTTP 401 Unauthorized") as caught:
        export(invoices.told)
    assert "hidden" not in str(caught.value)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
def test_a_collector_that_takes_nothing_now_is_quoted(
    invoices: Any, desk: Any, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It did answer, and nothing has to be started: later the spans can be exported, also those of a live run."""
    desk.status = status
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with pytest.raises(Unavailable, match=rf"takes no spans \(HTTP {status} .*\): wait until it takes them"):
        export(invoices.told)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10")
    live = LiveExport()
    for event, content in invoices.told:
        live.feed(event, content)
    assert live.close(timeout=0.5) > 0
    assert f"(HTTP {status} " in caplog.text


@pytest.mark.parametrize("status", [200, 302, 307])
def test_a_web_page_has_taken_no_spans(invoices: Any, desk: Any, caplog: pytest.LogCaptureFixture, status: int) -> None:
    """A proxy's page to sign in at, or the backend's own: it answers anything with success, later as live."""
    desk.status, desk.kind = status, "text/html; charset=utf-8" if status == 200 else ""
    desk.sends_to = "" if status == 200 else "/login?of=me"
    sent = export(invoices.told)
    assert (sent.spans, sent.failed) == (0, len(desk.requests[0].resource_spans[0].scope_spans[0].spans))
    said = "answered with a web page" if status == 200 else f"sends on to http://127.0.0.1:{desk.server_port}/login"
    assert said in sent.reason
    assert "of=me" not in sent.reason
    _, lost = run_live(invoices)
    assert lost > 0
    assert said in caplog.text


def test_an_answer_that_leads_nowhere_is_no_success(invoices: Any, desk: Any) -> None:
    """OpenTelemetry takes a redirection without an address for success."""
    desk.status, desk.kind = 301, ""
    sent = export(invoices.told)
    assert (sent.spans, sent.reason) == (0, "it answered HTTP 301, and is no collector")


def test_spans_that_an_accepted_request_lost_are_counted(
    invoices: Any, desk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A collector may take a request and reject some of its spans; these have not arrived, later as live."""
    desk.rejects = 3
    sent = export(invoices.told)
    assert (sent.failed, sent.reason) == (3, "no room")
    assert sent.spans + sent.failed == len(desk.requests[0].resource_spans[0].scope_spans[0].spans)
    _, lost = run_live(invoices)
    assert lost == 3 * len(desk.requests[1:])
    assert "spans did not reach" in caplog.text
    assert "(no room)" in caplog.text


def test_a_run_goes_on_without_a_collector(invoices: Any, nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    """With nobody to listen, no exception reaches the run, and one line says what to do."""
    _, lost = run_live(invoices)
    assert lost > 20
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert f"{lost} of {lost} spans did not reach {nobody}/v1/traces (Connection refused)" in record.message
    assert "scaffold audit export run-of-the-invoices" in record.message


def test_closing_waits_no_longer_than_it_may(invoices: Any, desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A collector that does not answer holds up the end of a run only for the time given."""
    desk.gate.clear()
    live = LiveExport()
    for event, content in invoices.told:
        live.feed(event, content)
    began = time.monotonic()
    lost = live.close(timeout=0.3)
    assert time.monotonic() - began < 8  # the exporter by itself would wait for ten, and try again
    assert lost > 20
    assert "too slow" in caplog.text


def test_a_burst_is_dropped_rather_than_waited_for(
    story: Any, desk: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While a collector answers nothing at all, steps do not wait, and what did not fit is counted exactly."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "600")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    desk.gate.clear()
    story.begin()
    for index in range(700):
        story.ask(str(index))
        story.answer(str(index))
    story.end()
    live = LiveExport()
    for event, content in story.told:
        live.feed(event, content)
    assert len(desk.requests) <= 1
    desk.gate.set()
    lost = live.close(timeout=60)
    assert (_spans_at(desk), lost) == (600, 801)
    [record] = caplog.records
    assert "too many at once" in record.message


def test_a_broken_event_does_not_break_the_run(invoices: Any, desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Content of a shape nobody expected ends the showing of a run, never the run."""
    invoices.told[2][1]["samples"] = 7
    _, _ = run_live(invoices)
    assert "not iterable" in caplog.text
    assert desk.requests


def test_closing_twice_is_closing_once(invoices: Any, receiver: Any) -> None:
    """A second close sends and says nothing."""
    live, _ = run_live(invoices)
    assert live.close() == 0
    assert receiver.spans is not None


def test_a_resumed_run_sends_only_what_is_new(story: Any, receiver: Any, fold: Fold) -> None:
    """Two processes that show one run in turn send together what a later export sends, each span once."""
    story.begin()
    story.ask("0")
    story.answer("0")
    story.tell(happened.Paused, status="interrupted")
    run_live(story)
    recorded = list(story.told)
    live = LiveExport(resumed=True)
    for event, content in recorded:
        live.follow(event, encode(content))
    story.tell(happened.RunResumed)
    story.ask("1")
    story.answer("1")
    story.end()
    for event, content in story.told[len(recorded) :]:
        live.follow(event, encode(content))
        live.send(event, encode(content))
    assert live.close() == 0
    expected = fold(story)
    spans = receiver.wait_for(len(expected))
    assert len(spans) == len(expected)
    assert received(spans) == folded(expected)


def test_what_happened_is_shown_while_the_run_waits(
    invoices: Any, desk: Any, fold: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events are read some at a time, but those of a run that waits for a model are not left lying."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    expected = len(fold(invoices)) - 1  # the session waits for a head until the run is closed

    async def wait_for_a_model() -> int:
        live = LiveExport()
        for event, content in invoices.told:
            live.follow(event, encode(content))
            live.send(event, encode(content))
        arrived = await asyncio.to_thread(_wait_for, desk, expected)
        assert live.close() == 0
        return arrived

    assert asyncio.run(wait_for_a_model()) == expected
    assert _spans_at(desk) == expected + 1


def _wait_for(desk: Any, spans: int) -> int:
    deadline = time.monotonic() + 60
    while (arrived := _spans_at(desk)) < spans and time.monotonic() < deadline:
        time.sleep(0.02)
    return arrived


def _spans_at(desk: Any) -> int:
    return sum(len(request.resource_spans[0].scope_spans[0].spans) for request in desk.requests)


def test_content_that_is_not_shown_is_not_read(invoices: Any, receiver: Any, fold: Fold) -> None:
    """As a follower of a run that begins, it sends the same spans, though it decodes few of the contents."""
    live = LiveExport()
    for event, content in invoices.told:
        live.follow(event, encode(content))
    assert live.close() == 0
    expected = fold(invoices)
    assert received(receiver.wait_for(len(expected))) == folded(expected)


def test_a_trace_its_host_does_not_sample_is_not_shown(story: Any, desk: Any) -> None:
    """Under an unsampled parent nothing is sent live and nothing is lost; an export on request sends it."""
    story.begin(config={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"})
    story.end()
    assert run_live(story)[1] == 0
    assert not desk.requests
    assert export(story.told).spans == 1


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_environment_decides_about_live_export(
    settings: dict[str, str], *, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are shown when a collector is named and tracing is not switched off."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    live = live_from_environment()
    assert (live is not None) is wanted
    if live is not None:
        assert live.close() == 0


def test_wrong_settings_keep_no_run_from_starting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Settings that OpenTelemetry refuses are reported, and the run goes without being shown."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    assert live_from_environment() is None
    assert "max_export_batch_size" in caplog.text


@pytest.mark.parametrize(("named", "typed"), [("phoenix", True), ("generic", False), ("phenix", False)])
def test_the_environment_names_a_backend_for_live_runs(
    invoices: Any,
    desk: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    named: str,
    *,
    typed: bool,
) -> None:
    """Spans are dressed for it; a name that is none of those known is reported, and they are sent plain."""
    monkeypatch.setenv("SCAFFOLD_TRACING_FOR", named)
    live = live_from_environment()
    assert live is not None
    for event, content in invoices.told:
        live.feed(event, content)
    assert live.close() == 0
    spans = [span for request in desk.requests for span in request.resource_spans[0].scope_spans[0].spans]
    dressed = [span for span in spans if any(fact.key == "openinference.span.kind" for fact in span.attributes)]
    assert len(dressed) == (len(spans) if typed else 0)
    assert ("'phenix' is not one of generic, phoenix, mlflow, langfuse" in caplog.text) is (named == "phenix")


def test_addresses_are_as_the_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that messages name is the one that the exporter uses."""
    assert environment.collector_address() == "http://localhost:4318/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")
    assert environment.collector_address() == "http://collector:4318/v1/traces"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in")
    assert environment.collector_address() == "https://traces.example/in"


def test_asking_the_environment_imports_nothing_heavy() -> None:
    """A run that is not shown does not pay for OpenTelemetry."""
    code = (
        "import sys; from scaffold.projections import environment; environment.wants_live_export();"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_span_costs_little(invoices: Any, record_property: Callable[[str, object], None]) -> None:
    """Folding a span, and writing it, take less each than OpenTelemetry's own encoding of it."""
    folding, writing, encoding = [], [], []
    for _ in range(20):
        began = time.process_time()
        spans = Spans()
        done = [span for event, content in invoices.told for span in spans.feed(event, content)]
        folding.append((time.process_time() - began) / len(done))
        began = time.process_time()
        write(done)
        writing.append((time.process_time() - began) / len(done))
        began = time.process_time()
        encode_spans(done).SerializeToString()
        encoding.append((time.process_time() - began) / len(done))
    record_property("microseconds", tuple(min(each) * 1e6 for each in (folding, writing, encoding)))
    assert min(folding) < min(encoding)
    assert min(writing) < min(encoding)
