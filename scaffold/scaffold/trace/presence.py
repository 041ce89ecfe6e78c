"""Whether a file or a run is there, where what cannot be looked at is not taken for absent."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path

_NAMED = re.compile(r"\d{8}-\d{6}-\w+")  # as runs are
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def is_there(path: Path) -> bool:
    """Whether a file is there; from Python 3.14 on `Path.is_file` also says no where it may not look.

    Raises:
        OSError: nobody can tell.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
    except ValueError:  # no name that a file could have
        pass
    return False


def may_be_run(folder: Path, spine: str) -> bool:
    """Whether a folder is a run's, or may be: it is not ours to enter, and named like one, as `lost+found` is not.

    Args:
        folder: the folder.
        spine: the name of the file that a run's folder has.

    Raises:
        OSError: nobody can tell.
    """
    try:
        return is_there(folder / spine)
    except PermissionError:
        return _NAMED.fullmatch(folder.name) is not None
