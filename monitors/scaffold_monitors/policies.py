"""The factory of the monitor `policy`, apart from it so that listing the monitors imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaffold_monitors.policy import Policy


def policy(*, file: str, base: Path | None = None) -> Policy:
    """Make a monitor that decides by a policy file, or by the default policy if the file's name is empty.

    Args:
        file: the file's path.
        base: the folder that it is relative to.

    Raises:
        TaskError: the file is not a valid policy; names the line.
    """
    from scaffold_monitors.policy import Policy

    return Policy(file=file, base=base)
