"""How the monitor `policy` is made: by itself so light that to list the monitors costs next to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scaffold_monitors.policy import Policy


def policy(*, file: str, base: Path | None = None) -> Policy:
    """Decides by a policy file, or by the default policy when the file's name is empty.

    Args:
        file: the file.
        base: folder that it is looked for in.

    Raises:
        TaskError: the file is no policy; names its line.
    """
    from scaffold_monitors.policy import Policy

    return Policy(file=file, base=base)
