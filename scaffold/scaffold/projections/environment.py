"""What the environment says about tracing; imports nothing heavy, so that asking costs nothing.

Source: OpenTelemetry specification 1.56, "OpenTelemetry Environment Variable Specification" and
"OpenTelemetry Protocol Exporter"; the capture switch is that of opentelemetry-util-genai.
"""

from __future__ import annotations

import os
import re

TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
QUEUE_SIZE = "OTEL_BSP_MAX_QUEUE_SIZE"

_CAPTURING = frozenset({"true", "1", "span_only", "span_and_event"})


def _setting(name: str) -> str:
    return os.environ.get(name, "").strip()


def wants_live_export() -> bool:
    """Say whether runs are to be shown to a collector while they go."""
    if _setting("OTEL_SDK_DISABLED").lower() == "true" or _setting("OTEL_TRACES_EXPORTER").lower() == "none":
        return False
    return bool(_setting(TRACES_ENDPOINT) or _setting(ENDPOINT))


def captures_content() -> bool:
    """Say whether spans may hold prompts, answers, arguments and results; no, unless the user says so."""
    return _setting(CAPTURE).lower() in _CAPTURING


def queue_size() -> int:
    """How many spans may wait to be sent: 2048, as the specification has it, unless set."""
    stated = _setting(QUEUE_SIZE)
    return int(stated) if stated.isdecimal() and int(stated) > 0 else 2048


def collector_address() -> str:
    """Where spans go, for people to read: user names and passwords are left out."""
    address = _setting(TRACES_ENDPOINT)
    if not address:
        address = (_setting(ENDPOINT) or "http://localhost:4318").removesuffix("/") + "/v1/traces"
    return re.sub(r"//[^/@]*@", "//", address)
