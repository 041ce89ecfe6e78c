"""Whether a file is there, where one that cannot be looked at is not taken for absent."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

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
