"""Programs: whether Python code passes tests, in a process with limits."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any

from scaffold.critics.calling import Said
from scaffold.errors import BadInput

_PLACE = re.compile(r'File "<(code|tests)>", line (\d+)')
_MEGABYTE = 1024 * 1024
_MOST = 10_000_000  # seconds, megabytes, bytes


def passes_tests(
    tests: str, *, seconds: float = 10.0, megabytes: int = 512, most_output: int = 16_384, network: bool = False
) -> Callable[[Any], Awaitable[Said]]:
    """Make a critic that accepts Python code if it passes tests: both run, in order, in one module of a new process.

    They have the standard library, an empty environment, a folder of their own, and limits on time, memory, files and
    output.

    - Network: none, if the system lets us remove it (user namespaces on Linux). If not, nothing is run, unless
      `network` allows it.
    - Files: they read what the user may read, and write only in their folder, if the system can enforce that (Landlock:
      Linux 5.13; since 6.12 they cannot end other processes either).
    - Processes: they start none.
    - Root: the programs run as `nobody` if `nobody` can read Python's library. Otherwise they lose root's privileges,
      but still read root's files and can start processes, which no limit forbids root.

    This contains accidents, not attacks: run malicious code in a virtual machine. Code can also fool tests in its own
    process on purpose. A run that ends before the tests do is a failure, whatever its status.

    Args:
        tests: Python source, such as `assert add(1, 2) == 3`; it sees what the code defines.
        seconds: of wall time and of CPU time.
        megabytes: of memory.
        most_output: bytes of output; of an error, its end is reported.
        network: run it even if the network cannot be removed.

    Raises:
        BadInput: the tests are not Python, or define functions `test_...` that they never call, or a limit is not a
            number above 0.
    """
    _check(tests, {"seconds": seconds, "megabytes": megabytes, "most_output": most_output})

    async def check(value: Any) -> Said:
        if not isinstance(value, str):
            return f"a {type(value).__name__} is not Python code"
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


def _check(tests: str, limits: Mapping[str, float]) -> None:
    """Find tests that could never pass, or never fail, and limits that are none."""
    for name, limit in limits.items():
        if not 0 < limit < _MOST:
            raise BadInput(f"`{name}` should be a number above 0 and below {_MOST:,}, not {limit!r}")
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"the tests are not Python: {error}") from None
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    idle = [name for name in functions if name.startswith("test") and name not in names]
    if idle and not names & {"globals", "locals", "vars"}:  # by which they could be called too
        cure = f"write `{idle[0]}()` below it, since nothing else calls it"
        raise BadInput(f"the tests define {idle[0]!r} but never call it, so any code would pass: {cure}")


async def _run(
    folder: str, limits: list[str], code: str, tests: str, seconds: float, most_output: int
) -> tuple[str, str]:
    """Run code and tests; gives how it went, and what was written. The verdict comes through a pipe of its own."""
    child = (files("scaffold.critics") / "confined.py").read_text(encoding="utf-8")
    program = code.encode("utf-8", "surrogatepass")
    receiver, sender = os.pipe()
    try:
        transport, said = await asyncio.get_running_loop().subprocess_exec(
            lambda: _Said(most_output),
            sys.executable,
            *("-I", "-S", "-B", "-c", child, str(sender), *limits),
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
        _write(transport, f"{len(program)}\n".encode() + program + tests.encode())
        late = False
        try:
            await asyncio.wait_for(said.heard.wait(), seconds + _START)
        except TimeoutError:
            late = True
    finally:  # also when it is cancelled: what is left of a process would be told of after the loop has ended
        _end(transport.get_pid())
        await said.exited.wait()
        transport.close()
        os.set_blocking(receiver, False)
        verdict = _read(receiver)
        os.close(receiver)
    text = said.output.decode("utf-8", "replace")
    if late or transport.get_returncode() == -signal.SIGXCPU:
        return "late", text
    if len(said.output) > most_output:
        return "noisy", text
    if verdict.startswith("unready: "):
        return "unready", verdict.removeprefix("unready: ")
    return ("passed" if verdict == "passed" else "failed"), text


_START = 2.0  # seconds that a process may take to begin and end, beside its own time


class _Said(asyncio.SubprocessProtocol):
    """What a process writes, and when it has gone.

    Whether it has gone does not depend on its pipes: what it started may have left its session, and holds them open.

    Attributes:
        output: what it wrote, to the end or a little beyond the most that is read.
        heard: set at the end of that.
        exited: set when the process has gone.
    """

    def __init__(self, most: int) -> None:
        self.output = b""
        self.heard = asyncio.Event()
        self.exited = asyncio.Event()
        self._most = most

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep what was written, until it is too much."""
        if len(self.output) <= self._most:
            self.output += data
        if len(self.output) > self._most:
            self.heard.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Nothing more will be written."""
        if fd == 1:
            self.heard.set()

    def process_exited(self) -> None:
        """The process has gone."""
        self.exited.set()


def _write(transport: asyncio.SubprocessTransport, said: bytes) -> None:
    stdin: Any = transport.get_pipe_transport(0)
    stdin.write(said)
    stdin.write_eof()


def _read(receiver: int) -> str:
    try:
        return os.read(receiver, 1024).decode("utf-8", "replace")
    except BlockingIOError:
        return ""


def _end(process: int) -> None:
    """End a process and what it started, as far as that has stayed in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)


def _end_of(output: str) -> str:
    lines = [line.strip() for line in output.strip().splitlines() if line.strip()]
    if not lines:
        return "it exited before the tests had finished"
    places = _PLACE.findall(output)
    where = f" (line {places[-1][1]} of the {places[-1][0]})" if places else ""
    return f"{lines[-1][:500]}{where}"
