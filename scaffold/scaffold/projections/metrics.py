"""Live metrics of a run: tokens, seconds, verdicts, refusals.

Source: GenAI semantic conventions v1.41, "Generative AI client metrics", for the two histograms and the boundaries of
their buckets; whatever they do not define is under `scaffold.`. Metrics are counted once, when they happen. A later
export of a trace sends spans alone, since metrics sent twice would be counted twice.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING

from opentelemetry import metrics
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider

from scaffold.projections import environment
from scaffold.version import VERSION
from scaffold.vocabulary import events as happened

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider as AnyMeterProvider
    from opentelemetry.sdk.resources import Resource

    from scaffold.vocabulary.events import Event

_TOKENS = [4**power for power in range(14)]
_SECONDS = [0.01 * 2**power for power in range(14)]


class Figures:
    """Counts the events of one run.

    Args:
        provider: the meter provider.
        own: the same, if it is to be shut down with the run; None for the host's.
    """

    def __init__(self, provider: AnyMeterProvider, own: MeterProvider | None = None) -> None:
        self._own = own
        self._asked: dict[str, dict[str, str]] = {}
        self._counted: Counter[tuple[str, ...]] = Counter()
        meter = provider.get_meter("scaffold", VERSION)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of the calls of models.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._seconds = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="How long calls of models took.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._verdicts = meter.create_counter(
            "scaffold.verdicts", unit="{verdict}", description="What monitors decided, and checks that were not made."
        )
        self._refusals = meter.create_counter(
            "scaffold.refusals", unit="{refusal}", description="Plans and actions that the gate refused."
        )

    def follow(self, event: Event) -> None:
        """Note which model is asked; called for every event, live or read from the trace."""
        if isinstance(event, happened.StepAsked):
            asked = {"gen_ai.operation.name": "chat"}
            if event.ledger != "model":  # omitted otherwise, since each attribute is cleaned and hashed with each value
                asked["scaffold.ledger"] = event.ledger
            if event.backend:
                asked["gen_ai.provider.name"] = event.backend
            if event.model:
                asked["gen_ai.request.model"] = event.model
            self._asked[event.key] = asked

    def count(self, event: Event) -> None:
        """Count a live event."""
        match event:
            case happened.StepAnswered() | happened.StepCut():
                self._answered(event)
            case happened.Reviewed():
                for fact in event.verdicts:
                    self._counted["verdicts", fact.monitor, fact.decision, fact.status, event.subject] += 1
            case happened.ActionRefused():
                self._counted["refusals", "action", event.decision, event.action] += 1
            case happened.PlanDecided() if not event.allowed:
                self._counted["refusals", "plan", event.decision, ""] += 1
            case _:
                pass

    def hand_over(self) -> None:
        """Add the counts since the last time to the counters; one by one would cost as much as the spans."""
        for counted, number in self._counted.items():
            match counted:
                case ("verdicts", monitor, decision, status, subject):
                    verdict = {
                        "scaffold.monitor": monitor,
                        "scaffold.decision": decision,
                        "scaffold.verdict.status": status,
                        "scaffold.subject": subject,
                    }
                    self._verdicts.add(number, verdict)
                case (_, subject, decision, action):
                    refusal = {"scaffold.subject": subject, "scaffold.decision": decision}
                    self._refusals.add(number, refusal | ({"gen_ai.tool.name": action} if action else {}))
                case _:
                    pass
        self._counted.clear()

    def _answered(self, event: happened.StepAnswered | happened.StepCut) -> None:
        attributes: dict[str, str] = self._asked.pop(event.key, {"gen_ai.operation.name": "chat"})
        self._tokens.record(event.usage.input, attributes | {"gen_ai.token.type": "input"})
        self._tokens.record(event.usage.output, attributes | {"gen_ai.token.type": "output"})
        if isinstance(event, happened.StepAnswered):
            failed = {} if event.ok else {"error.type": "step_failed"}
            self._seconds.record(event.seconds, attributes | failed)

    def close(self, timeout: float) -> None:
        """Send what is left within `timeout` seconds, if the provider is our own."""
        self.hand_over()
        if self._own is None:
            return
        own = self._own
        ending = threading.Thread(target=lambda: _shut_down(own, timeout), name="scaffold-metrics-close", daemon=True)
        ending.start()
        ending.join(timeout)


def _shut_down(provider: MeterProvider, timeout: float) -> None:
    with contextlib.suppress(Exception):  # a collector that refuses metrics must not fail the run
        provider.shutdown(timeout_millis=timeout * 1000)


def figures(resource: Resource) -> Figures | None:
    """Make metrics for the host's own MeterProvider if there is one, else for the collector in the environment."""
    provider = metrics.get_meter_provider()
    if isinstance(provider, MeterProvider):
        return Figures(provider)
    if not environment.wants_metrics():
        return None
    from opentelemetry.exporter.otlp.proto.http import metric_exporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    # Many collectors accept only traces, and the exporter would log that every minute.
    logging.getLogger(metric_exporter.__name__).setLevel(logging.CRITICAL)
    reader = PeriodicExportingMetricReader(metric_exporter.OTLPMetricExporter())
    own = MeterProvider([reader], resource=resource, shutdown_on_exit=False, exemplar_filter=AlwaysOffExemplarFilter())
    return Figures(own, own)
