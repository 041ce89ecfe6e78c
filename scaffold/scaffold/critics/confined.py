"""What runs in the process of `passes_tests`: takes away what it can, then runs the code and the tests.

It is handed to a bare interpreter as text, so it imports nothing of ours.
Arguments: number of the pipe for the verdict, seconds of CPU, bytes of memory, bytes of a file, whether network may be.
"""

import contextlib
import os
import resource
import struct
import sys
import traceback

_NEWUSER, _NEWNET = 0x10000000, 0x40000000  # <linux/sched.h>
_NOBODY = 65534
_BOUNDING_DROP, _NO_NEW_PRIVS = 24, 38  # <linux/prctl.h>
_CAPABILITIES = 0x20080522  # <linux/capability.h>, version 3
_RULESET, _RULE, _RESTRICT = 444, 445, 446  # Landlock's calls, by the numbers that every architecture of Linux has
_WRITE, _TRUNCATE = 1 << 1, 1 << 14  # <linux/landlock.h>
_WRITES = (_WRITE | 0x1FF0, 1 << 13, _TRUNCATE)  # to write, make and remove; what versions 2 and 3 added
_SCOPES, _SIGNALS = 6, 1 << 1  # the version that knows scopes; nobody outside is sent a signal


def _without_network() -> bool:
    """Move into a network of its own, where there is nothing; False where the system does not allow it."""
    try:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        return bool(library.unshare(_NEWNET) == 0 or library.unshare(_NEWUSER | _NEWNET) == 0)
    except (OSError, AttributeError, ImportError):
        return False


def _powerless() -> None:
    """Give up what root may do, and every capability, here and in programs that are started, as far as that goes."""
    if sys.platform != "linux":
        return
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        _write_here_only()
    for capability in range(64):
        library.prctl(_BOUNDING_DROP, capability, 0, 0, 0)
    if os.geteuid() == 0 and os.getuid() == 0:
        with contextlib.suppress(OSError):  # in a container there may be nobody else
            _become_nobody()
    library.capset((ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)())


def _become_nobody() -> None:
    """Become nobody where nobody can read Python's library; where not, stay the owner of root's files."""
    os.seteuid(_NOBODY)
    readable = os.access(traceback.__file__, os.R_OK, effective_ids=True)
    os.seteuid(0)
    if readable:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.chown(".", _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def _write_here_only() -> None:
    """Have files changed in this folder alone, and nobody else signalled, where the system can do that: Landlock."""
    import ctypes

    library = ctypes.CDLL(None)
    version = library.syscall(_RULESET, None, 0, 1)
    if version < 1:
        return
    writes = sum(_WRITES[:version])
    asked = struct.pack("=Q", writes) if version < _SCOPES else struct.pack("=QQQ", writes, 0, _SIGNALS)
    rules = library.syscall(_RULESET, asked, len(asked), 0)
    for path, allowed in ((".", writes), (os.devnull, writes & (_WRITE | _TRUNCATE))):
        place = os.open(path, os.O_PATH)
        library.syscall(_RULE, rules, 1, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    library.syscall(_RESTRICT, rules, 0)
    os.close(rules)


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
    _powerless()
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
