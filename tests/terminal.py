"""The command in a terminal of its own."""

from __future__ import annotations

from pathlib import Path

import pexpect
from tests.cli.conftest import command, environment


def at_terminal(folder: Path, *arguments: str) -> pexpect.spawn[str]:
    """Start the command there."""
    line = command(*arguments)
    env = environment(folder, {"TERM": "xterm", "COLUMNS": "160"})
    return pexpect.spawn(
        line[0], line[1:], cwd=str(folder), env=env, encoding="utf-8", timeout=90, dimensions=(40, 160)
    )


def ends(terminal: pexpect.spawn[str]) -> int:
    """Wait for its end; return the exit status."""
    terminal.expect(pexpect.EOF)
    terminal.close()
    return int(terminal.exitstatus if terminal.exitstatus is not None else -1)
