"""Programs: whether Python code passes tests, in a process with limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

from scaffold.critics.calling import Said

_PLACE = re.compile(r'File "<(code|tests)>", line (\d+)')
_MEGABYTE = 1024 * 1024


def passes_tests(
    tests: str, *, seconds: float = 10.0, megabytes: int = 512, most_output: int = 16_384, network: bool = False
) -> Callable[[Any], Awaitable[Said]]:
    """Make a critic that wants Python code to pass tests: both run one after the other, in one module of a new process.

    They have the standard library, an empty environment, a folder of their own, and limits on time, memory, files and
    output; they start no processes where the system can forbid that (it cannot for root). They have no network where
    the system lets us take it away (user namespaces on Linux); if it does not, nothing is run, unless `network` says
    that this may be. That keeps accidents in, not attacks: code that means harm belongs into a virtual machine. Tests
    in the code's own process can also be fooled by code that sets out to. A run that ends before the tests do is a
    failure, whatever its status.

    Args:
        tests: Python source, such as `assert add(1, 2) == 3`; it sees what the code defines.
        seconds: of wall time and of CPU time.
        megabytes: of memory.
        most_output: bytes of output, of which the end of an error is told.
        network: run it even where the network cannot be taken away.
    """

    async def check(value: Any) -> Said:
        if not isinstance(value, str):
            return f"a {type(value).__name__} is no Python code"
        with tempfile.TemporaryDirectory(prefix="scaffold-") as folder:
            limits = [str(max(1, round(seconds))), str(megabytes * _MEGABYTE), str(_MEGABYTE), str(int(network))]
            status, output = await _run(folder, limits, value, tests, seconds, most_output)
        match status:
            case "passed":
                return True
            case "late":
                return f"did not end within {seconds:g} s"
            case "noisy":
                return f"wrote more than {most_output} bytes"
            case "unready":
                raise OSError(f"the tests cannot be run: {output}")
            case _:
                return f"fails the tests: {_end_of(output)}"

    return check


async def _run(
    folder: str, limits: list[str], code: str, tests: str, seconds: float, most_output: int
) -> tuple[str, str]:
    """Run code and tests; gives how it went, and what was written. The verdict comes through a pipe of its own."""
    child = (files("scaffold.critics") / "confined.py").read_text(encoding="utf-8")
    receiver, sender = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", "-B", "-c", child, str(sender), *limits),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=folder,
            env={},
            pass_fds=(sender,),
            start_new_session=True,
        )
    except BaseException:
        os.close(receiver)
        raise
    finally:
        os.close(sender)
    try:
        said = (f"{len(code.encode())}\n").encode() + code.encode() + tests.encode()
        late = False
        try:
            output = await asyncio.wait_for(_talk(process, said, most_output), seconds + _START)
        except TimeoutError:
            late, output = True, b""
        _end(process)
        await _gone(process)
        os.set_blocking(receiver, False)
        verdict = _read(receiver)
    finally:
        os.close(receiver)
        _end(process)
    text = output.decode("utf-8", "replace")
    if late or process.returncode == -signal.SIGXCPU:
        return "late", text
    if len(output) > most_output:
        return "noisy", text
    if verdict.startswith("unready: "):
        return "unready", verdict.removeprefix("unready: ")
    return ("passed" if verdict == "passed" else "failed"), text


_START = 2.0  # seconds that a process may take to begin and end, beside its own time


async def _talk(process: asyncio.subprocess.Process, said: bytes, most: int) -> bytes:
    """Say what to run, and read what it writes until it ends or has written too much."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None  # noqa: S101 - asked for above
    assert stdout is not None  # noqa: S101 - as above

    async def write() -> None:
        with contextlib.suppress(ConnectionError):
            stdin.write(said)
            await stdin.drain()
            stdin.close()

    writing = asyncio.create_task(write())
    output = b""
    try:
        while len(output) <= most:
            more = await stdout.read(most + 1 - len(output))
            if not more:
                break
            output += more
    finally:
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
    return output


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Wait until a process that was ended is gone.

    What it had written has to be read for that: asyncio takes a process for gone once its pipes are at their end, and
    does not look at a pipe whose reader has enough.
    """
    assert process.stdout is not None  # noqa: S101 - asked for above
    while await process.stdout.read(_MEGABYTE):
        pass
    await process.wait()


def _read(receiver: int) -> str:
    try:
        return os.read(receiver, 1024).decode("utf-8", "replace")
    except BlockingIOError:
        return ""


def _end(process: asyncio.subprocess.Process) -> None:
    """End the process and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _end_of(output: str) -> str:
    lines = [line.strip() for line in output.strip().splitlines() if line.strip()]
    if not lines:
        return "it ended before the tests did"
    places = _PLACE.findall(output)
    where = f" (line {places[-1][1]} of the {places[-1][0]})" if places else ""
    return f"{lines[-1][:500]}{where}"
