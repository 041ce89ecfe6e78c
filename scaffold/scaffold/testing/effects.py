"""A stand-in for the outside world: a file that records every effect, whatever happens to process and journal.

ledger = EffectLedger(folder / "effects")

@action(effect="irreversible")
async def pay(invoice: str, *, call: Call) -> str:
    return ledger.happen("pay", call, {"invoice": invoice}, "paid")
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scaffold.vocabulary.actions import Call


@dataclass(frozen=True, slots=True)
class EffectLine:
    """One effect that happened.

    Attributes:
        action: the action's name.
        run: the run's id.
        key: the idempotency key.
        arguments: the arguments, as JSON values.
        result: the target's answer.
    """

    action: str
    run: str
    key: str
    arguments: dict[str, Any]
    result: Any = None


class EffectLedger:
    """Appends one line per effect, synced before returning; several processes may share it.

    Args:
        path: the file, created if missing.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def happen(self, action: str, call: Call, arguments: Mapping[str, Any], result: Any = None) -> Any:
        """Perform an effect, again if asked again; return the result."""
        with self._locked() as file:
            self._write(file, EffectLine(action, call.run, call.key, dict(arguments), result))
        return result

    def happen_once(self, action: str, call: Call, arguments: Mapping[str, Any], result: Any = None) -> Any:
        """Perform an effect unless the key is known, like a target that removes duplicates by idempotency key."""
        with self._locked() as file:
            before = self._find(call.key)
            if before is not None:
                return before.result
            self._write(file, EffectLine(action, call.run, call.key, dict(arguments), result))
        return result

    def find(self, key: str) -> EffectLine | None:
        """Return the effect with this key, for targets that can be asked."""
        return self._find(key)

    def lines(self) -> list[EffectLine]:
        """Every effect so far, in order."""
        if not self.path.exists():
            return []
        return [EffectLine(**json.loads(line)) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def _find(self, key: str) -> EffectLine | None:
        return next((line for line in self.lines() if line.key == key), None)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _write(descriptor: int, line: EffectLine) -> None:
        said = {
            "action": line.action,
            "run": line.run,
            "key": line.key,
            "arguments": line.arguments,
            "result": line.result,
        }
        os.write(descriptor, json.dumps(said).encode() + b"\n")
        os.fsync(descriptor)
