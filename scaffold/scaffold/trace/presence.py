"""Whether a file or a run exists, without taking what cannot be accessed for absent."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path

_NAMED = re.compile(r"\d{8}-\d{6}-\w+")  # the form of run ids
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def is_there(path: Path) -> bool:
    """Whether a file exists; from Python 3.14 on `Path.is_file` also says False if access is denied.

    Raises:
        OSError: it cannot be determined.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
    except ValueError:  # not a possible file name
        pass
    return False


def may_be_run(folder: Path, spine: str) -> bool:
    """Whether a folder is a run's, or may be: it cannot be entered but is named like one, unlike `lost+found`.

    Args:
        folder: the folder.
        spine: the name of the file that every run's folder has.

    Raises:
        OSError: it cannot be determined.
    """
    try:
        return is_there(folder / spine)
    except PermissionError:
        return _NAMED.fullmatch(folder.name) is not None
