"""What runs in the process of `passes_tests`: takes away what it can, then runs the code and the tests.

It is handed to a bare interpreter as text, so it imports nothing of ours.
Arguments: number of the pipe for the verdict, seconds of CPU, bytes of memory, bytes of a file, whether network may be.
"""

import contextlib
import os
import resource
import sys
import traceback

_NEWUSER, _NEWNET = 0x10000000, 0x40000000  # <linux/sched.h>


def _without_network() -> bool:
    """Move into a network of its own, where there is nothing; False where the system does not allow it."""
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        return bool(library.unshare(_NEWNET) == 0 or library.unshare(_NEWUSER | _NEWNET) == 0)
    except (OSError, AttributeError, ImportError):
        return False


def _main() -> None:
    pipe, seconds, memory, largest, network = (int(said) for said in sys.argv[1:6])
    sys.argv[1:] = []
    length, _, source = sys.stdin.buffer.read().partition(b"\n")
    code, tests = source[: int(length)], source[int(length) :]
    isolated = _without_network()
    if not isolated and not network:
        os.write(pipe, b"unready: the network cannot be taken away here; `network=True` runs them all the same")
        return
    for limit, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, largest),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        # A process that is out of time is told so by a signal of its own first.
        resource.setrlimit(limit, (most, most + (limit == resource.RLIMIT_CPU)))
    names: dict[str, object] = {"__name__": "candidate"}
    try:
        exec(compile(code, "<code>", "exec"), names)  # noqa: S102 - what this process is for
        exec(compile(tests, "<tests>", "exec"), names)  # noqa: S102 - as above
    except BaseException as error:  # noqa: BLE001 - whatever it raises, SystemExit too, is no pass
        with contextlib.suppress(Exception):  # the code may have closed it
            sys.stdout.flush()
        traceback.print_exception(error, limit=-3)
    else:
        os.write(pipe, b"passed")


_main()
