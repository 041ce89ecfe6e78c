"""Clearance: single-use proof that one exact call was reviewed."""

from __future__ import annotations

from typing import Any

from scaffold.errors import ClearanceError
from scaffold.vocabulary.actions import Call


class Mint:
    """The right to make clearances. Each gate holds one, and a clearance records whose mint it came from."""

    __slots__ = ()


class Clearance:
    """A single-use permission for one action with exactly these arguments.

    Attributes:
        action: the action it is for.
        arguments: canonical bytes of the arguments that were reviewed.
        call: what the action is told about this call.
        observed: monitors were suspended when it was given.
    """

    __slots__ = ("_mint", "_spent", "action", "arguments", "call", "observed")

    def __init__(self, mint: Mint, action: str, arguments: bytes, call: Call, *, observed: bool = False) -> None:
        if type(mint) is not Mint:
            raise ClearanceError("only the gate can make clearances: propose the action from a planner, or use Gate")
        self._mint = mint
        self._spent = False
        self.action = action
        self.arguments = arguments
        self.call = call
        self.observed = observed

    def __reduce_ex__(self, _protocol: Any) -> Any:
        raise ClearanceError("a clearance cannot be copied: it is for one call")

    def redeem(self, action: str, arguments: bytes) -> Call:
        """Spend the clearance on the call it was given for.

        Raises:
            ClearanceError: it was already spent, or the call is not the one that was reviewed.
        """
        if self._spent:
            raise ClearanceError(f"the clearance for {self.action!r} has already been used")
        if action != self.action or arguments != self.arguments:
            raise ClearanceError(f"the clearance is for another call than this call of {action!r}")
        self._spent = True
        return self.call
