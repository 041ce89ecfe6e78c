"""Processes that crash for all tests of a session that want them; and what the tests have shown, at the end.

A test says with `record_property("shown", "...")` what it has counted, and with `record_property("crashes", [where,
agent, {point: crashes}])` what stands in the crash matrix's table.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from scaffold.machinery.recording.points import TRANSITIONS
from scaffold.testing.crashes import CrashWorkers

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

_WIDE = 18

if sys.version_info < (3, 12):
    # What a Protocol asks for is looked up anew at every `isinstance`; 3.12 remembers it. Simulations build agents by
    # the thousand, and a sixth of their time is that.
    typing._get_protocol_attrs = cache(typing._get_protocol_attrs)  # type: ignore[attr-defined]  # noqa: SLF001 - as above


@pytest.fixture(scope="session")
def crash_workers() -> Iterator[CrashWorkers]:
    """Two processes for the crash matrices and kill loops of a session."""
    workers = CrashWorkers()
    yield workers
    workers.__exit__()


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print what was shown: the crash matrix's table, and a line each for the rest."""
    passed = terminalreporter.getreports("passed")
    said = [each for report in passed for each in getattr(report, "user_properties", ())]
    table = [value for name, value in said if name == "crashes"]
    lines = [*_table(table), *(value for name, value in said if name == "shown")]
    if lines:
        terminalreporter.section("what was shown")
    for line in lines:
        terminalreporter.write_line(line)


def _table(columns: list[tuple[str, str, dict[str, int]]]) -> list[str]:
    """Crashes by transition (before it, and after it), one column for each agent and place of its runs."""
    if not columns:
        return []

    def row(*cells: Any) -> str:
        return f"{cells[0]:<{_WIDE}}" + "".join(f"{cell:>{_WIDE}}" for cell in cells[1:])

    def cell(crashes: dict[str, int], transition: str) -> str:
        before, after = (crashes.get(f"{transition}:{side}", 0) for side in ("before", "after"))
        return f"{before} + {after}" if before or after else ""

    total = sum(sum(crashes.values()) for _, _, crashes in columns)
    return [
        f"crash matrix: killed before + after each transition, resumed elsewhere; {total} crashes, no fault",
        row("", *(place for place, _, _ in columns)),
        row("killed at", *(agent for _, agent, _ in columns)),
        *(row(each, *(cell(crashes, each) for _, _, crashes in columns)) for each in TRANSITIONS),
        row("all", *(sum(crashes.values()) for _, _, crashes in columns)),
    ]
