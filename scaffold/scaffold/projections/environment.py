"""Reads the environment's settings for tracing; imports nothing heavy, so that asking is cheap.

Source: OpenTelemetry specification 1.56, "OpenTelemetry Environment Variable Specification" and
"OpenTelemetry Protocol Exporter"; the capture switch is that of opentelemetry-util-genai.
"""

from __future__ import annotations

import os
import re
import sys

TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
QUEUE_SIZE = "OTEL_BSP_MAX_QUEUE_SIZE"
FOR = "SCAFFOLD_TRACING_FOR"

_CAPTURING = frozenset({"true", "1", "span_only", "span_and_event"})


def _setting(name: str) -> str:
    return os.environ.get(name, "").strip()


def is_switched_off() -> bool:
    """Whether OpenTelemetry is switched off."""
    return _setting("OTEL_SDK_DISABLED").lower() == "true"


def host_has_tracing() -> bool:
    """Whether the host application has set up its own tracing; imports nothing if it has not."""
    if "opentelemetry.sdk.trace" not in sys.modules or is_switched_off():
        return False
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import get_tracer_provider

    return isinstance(get_tracer_provider(), TracerProvider)


def wants_live_export() -> bool:
    """Whether runs are to be sent to a collector live."""
    if is_switched_off() or _setting("OTEL_TRACES_EXPORTER").lower() == "none":
        return False
    return bool(_setting(TRACES_ENDPOINT) or _setting(ENDPOINT))


def wants_metrics() -> bool:
    """Whether metrics of runs are to be sent to a collector live."""
    if is_switched_off() or _setting("OTEL_METRICS_EXPORTER").lower() == "none":
        return False
    return bool(_setting(METRICS_ENDPOINT) or _setting(ENDPOINT))


def backend_named() -> str:
    """Return the backend whose overlay spans get; empty if none is named."""
    return _setting(FOR)


def captures_content() -> bool | None:
    """Whether spans may contain prompts, answers, arguments and results; None if not set, which means no."""
    said = _setting(CAPTURE).lower()
    return said in _CAPTURING if said else None


def queue_size() -> int:
    """Return how many spans may wait to be sent; by default 2048, as specified."""
    stated = _setting(QUEUE_SIZE)
    return int(stated) if stated.isdecimal() and int(stated) > 0 else 2048


def traces_endpoint() -> str:
    """Return the URL that spans are sent to."""
    return _setting(TRACES_ENDPOINT) or (_setting(ENDPOINT) or "http://localhost:4318").removesuffix("/") + "/v1/traces"


def collector_address() -> str:
    """Return the URL for display, without user name and password."""
    return re.sub(r"//[^/@]*@", "//", traces_endpoint())
