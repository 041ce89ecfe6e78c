"""Runs inside an application that has OpenTelemetry set up already: its tracing, its sampling, its figures."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

HOST = """
import asyncio, json, logging, sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scaffold import Scaffold, Task, act, action, think

@action(effect="read")
def look() -> int:
    \"\"\"Look.\"\"\"
    return 1

def looking(task):
    yield from think("solve", task.prompt)
    yield from act("look")
    return "seen"

def solve(**more):
    agent = Scaffold(looking, backends={"default": "scripted:yes"}, monitors=["rules"], actions=[look], **more)
    return agent.solve_sync(Task(prompt="look")).run

memory = InMemorySpanExporter()
def host(processor=None, **more):
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), **more)
    provider.add_span_processor(processor or SimpleSpanProcessor(memory))
    trace.set_tracer_provider(provider)
    return provider
"""


def run(folder: Path, code: str, **environment: str) -> str:
    """Run an application; gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", HOST + textwrap.dedent(code)],
        env={**os.environ, "SCAFFOLD_RUNS": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_run_goes_into_the_hosts_own_tracing(tmp_path: Path) -> None:
    """Its spans reach the host's processors, below its span, with its resource; a later export gives the same ones."""
    run(
        tmp_path,
        """
        import os
        from pathlib import Path
        from scaffold.projections.spans import Spans
        from scaffold.trace.chain import Chain, body_of
        from scaffold.trace.records import read_files
        provider = host()
        with trace.get_tracer("shop").start_as_current_span("checkout") as checkout:
            found = solve()
        spans = {span.name: span for span in memory.get_finished_spans()}
        assert spans.keys() >= {"checkout", "step solve", "chat scripted", "execute_tool look", "guard rules"}, spans
        root = next(span for name, span in spans.items() if name.startswith("invoke_agent"))
        assert root.parent.span_id == checkout.get_span_context().span_id
        assert root.context.trace_id == checkout.get_span_context().trace_id
        assert spans["chat scripted"].resource.attributes["service.name"] == "shop"

        live = {span.context.span_id: span for span in memory.get_finished_spans() if span.name != "checkout"}
        fold, chain, later = Spans(), Chain(), []
        for record in read_files(Path(os.environ["SCAFFOLD_RUNS"]) / found):
            link = chain.follow(record)
            later += fold.feed(link.event, body_of(link.content))
        later += fold.finish()
        assert {span.context.span_id for span in later} == live.keys()
        for span in later:
            one = live[span.context.span_id]
            assert (span.name, span.parent, dict(span.attributes)) == (one.name, one.parent, dict(one.attributes))
        """,
    )


def test_the_hosts_sampler_decides(tmp_path: Path) -> None:
    """A host that samples nothing is shown nothing; one that samples its trace is shown all of the run in it."""
    run(
        tmp_path,
        """
        host(sampler=sampling.ALWAYS_OFF)
        solve()
        assert not memory.get_finished_spans()
        """,
    )


def test_a_host_that_switched_tracing_off_is_shown_nothing(tmp_path: Path) -> None:
    """`OTEL_SDK_DISABLED` counts for the host's provider as well."""
    run(tmp_path, "host()\nsolve()\nassert not memory.get_finished_spans()\n", OTEL_SDK_DISABLED="true")


def test_a_processor_that_fails_ends_no_run(tmp_path: Path) -> None:
    """What the host's processor raises is reported in one line that says what to do; the run is solved."""
    said = run(
        tmp_path,
        """
        class Broken(SimpleSpanProcessor):
            def on_end(self, span):
                raise RuntimeError("no disk")
        host(Broken(memory))
        solve()
        """,
    )
    assert "the host's tracing may not have all of the run (no disk)" in said
    assert "scaffold audit export" in said


def test_a_loss_in_the_hosts_queue_is_heard_of(tmp_path: Path) -> None:
    """When the host's batch processor drops spans, which it only logs, the user is told to export the run."""
    said = run(
        tmp_path,
        """
        import time
        class Slow(InMemorySpanExporter):
            def export(self, spans):
                time.sleep(0.5)
                return super().export(spans)
        host(BatchSpanProcessor(Slow(), max_queue_size=2, max_export_batch_size=2))
        solve()
        """,
    )
    assert "Queue full" in said
    assert "the host's tracing may not have all of the run (Queue full, dropping Span.)" in said
    assert "scaffold audit export" in said


def test_figures_go_to_the_hosts_meters(tmp_path: Path) -> None:
    """Tokens, seconds and verdicts are counted by the host's own MeterProvider, under the conventions' names."""
    run(
        tmp_path,
        """
        reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([reader]))
        host()
        solve()
        told = {}
        for scope in reader.get_metrics_data().resource_metrics[0].scope_metrics:
            for metric in scope.metrics:
                told[metric.name] = metric
        points = told["gen_ai.client.token.usage"].data.data_points
        tokens = {point.attributes["gen_ai.token.type"]: point for point in points}
        assert tokens["input"].sum > tokens["output"].sum > 0
        assert tokens["input"].attributes["gen_ai.request.model"] == "scripted"
        assert tokens["input"].explicit_bounds[1] == 4
        assert told["gen_ai.client.token.usage"].unit == "{token}"
        [seconds] = told["gen_ai.client.operation.duration"].data.data_points
        assert seconds.count == 1 and told["gen_ai.client.operation.duration"].unit == "s"
        verdicts = told["scaffold.verdicts"].data.data_points
        assert sum(point.value for point in verdicts) >= 1
        assert {point.attributes["scaffold.monitor"] for point in verdicts} == {"rules"}
        """,
    )


def test_who_started_the_process_is_the_parent(tmp_path: Path) -> None:
    """A run whose process was handed a W3C context by its environment belongs there, shown live or not."""
    run(
        tmp_path,
        """
        import os, asyncio
        from pathlib import Path
        from scaffold.trace.chain import Chain, body_of
        from scaffold.trace.records import read_files
        from scaffold.projections.spans import Spans
        found = solve()
        first = Chain().follow(next(iter(read_files(Path(os.environ["SCAFFOLD_RUNS"]) / found))))
        fold = Spans()
        fold.feed(first.event, body_of(first.content))
        [root] = fold.finish()
        assert f"{root.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
        assert f"{root.parent.span_id:016x}" == "b7ad6b7169203331"
        """,
        TRACEPARENT="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
