"""Reads the key `sampling` of a task file: how samples become one answer."""

from __future__ import annotations

from typing import Any

from scaffold.document import show
from scaffold.errors import TaskError, unknown
from scaffold.vocabulary.composed import cascade, in_rotation, unless_sure
from scaffold.vocabulary.sampling import MOST_SAMPLES, Sampling, Way, ahead_by, majority, once, shorter_than

_POLICIES = ("once", "majority", "ahead_by")
_AROUND = ("cap", "shorter_than", "batch", "rotate", "cascade", "sure", "calibration")
_FORM = "should be `once`, `majority: N` or `ahead_by: K`"


def read_sampling(said: Any) -> Sampling | None:
    """Return the policy that a task file describes.

    That is `once`, `{majority: 5}` or `{ahead_by: 2, cap: 20, shorter_than: 750}`, optionally with

        rotate: [{}, {temperature: 1.0}, {prompt: other}]    ask in several ways in turn
        cascade: strong                                      ask another backend if its votes split
        cascade: {to: strong, majority: 3}                   the same, with a vote there too
        sure: 0.95                                           one sample, if its corrected confidence is as high
        calibration: calibration.json                        how it is corrected: a file beside the task file

    Raises:
        TaskError: it describes none.
    """
    if said is None:
        return None
    table = {said: None} if isinstance(said, str) else said
    if not isinstance(table, dict):
        raise TaskError(f"{_FORM}, not {show(said)}")
    for key in table:
        if key in {"best_of", "verified"}:
            needs = "a judge" if key == "best_of" else "a critic in code"
            raise TaskError(f"needs {needs}, which only a planner can give: use `scaffold.{key}`", path=(key,))
        if key not in (*_POLICIES, *_AROUND):
            raise TaskError(unknown(str(key), (*_POLICIES, *_AROUND)), path=(key,))
    policy = _vote(table)
    if "rotate" in table:
        policy = _rotated(policy, table["rotate"])
    if "cascade" in table:
        policy = _cascade(policy, table["cascade"])
    return _unless_sure(policy, table) if "sure" in table else policy


def _unless_sure(policy: Sampling, table: dict[str, Any]) -> Sampling:
    sure = table["sure"]
    if isinstance(sure, bool) or not isinstance(sure, int | float) or not 0.5 < sure <= 1:  # noqa: PLR2004 - as `unless_sure` says
        raise TaskError(f"should be a probability above 0.5, such as 0.95, not {show(sure)}", path=("sure",))
    if "calibration" not in table:
        made = "`scaffold audit calibration --write FILE` makes it from past runs"
        raise TaskError(f"needs `calibration: FILE` beside it: {made}", path=("sure",))
    return unless_sure(policy, sure=float(sure))


def _vote(table: dict[str, Any]) -> Sampling:
    named = [key for key in table if key in _POLICIES]
    if len(named) != 1:
        raise TaskError("should have exactly one of `once`, `majority: N` and `ahead_by: K`")
    for key in ("majority", "ahead_by", "cap", "shorter_than", "batch"):
        number = table.get(key, 1)
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise TaskError(f"should be a whole number of at least 1, not {show(number)}", path=(key,))
        if number > MOST_SAMPLES and key != "shorter_than":
            raise TaskError(f"should be {MOST_SAMPLES:,} at most, not {show(number)}", path=(key,))
    if "batch" in table and named[0] == "once":
        raise TaskError("can only be used with `majority` or `ahead_by`", path=("batch",))
    cap = table.get("cap")
    if cap is not None and named[0] != "once" and cap < table[named[0]]:
        raise TaskError(f"should be at least {table[named[0]]}: no fewer samples can decide", path=("cap",))
    flags = (shorter_than(table["shorter_than"]),) if "shorter_than" in table else ()
    match named[0]:
        case "majority":
            return majority(table["majority"], cap=cap, batch=table.get("batch", 1), flags=flags)
        case "ahead_by":
            return ahead_by(table["ahead_by"], cap=cap, batch=table.get("batch", 1), flags=flags)
        case _:
            return once(tries=cap or 3, flags=flags)


def _rotated(policy: Sampling, said: Any) -> Sampling:
    if not isinstance(said, list):
        raise TaskError(
            f"should be a list of ways, such as [{{}}, {{temperature: 1.0}}], not {show(said)}", path=("rotate",)
        )
    ways = []
    for number, way in enumerate(said):
        place = ("rotate", number)
        if not isinstance(way, dict):
            raise TaskError(f"should be a mapping, such as {{temperature: 1.0}}, not {show(way)}", path=place)
        for key, value in way.items():
            if key not in Way.__struct_fields__:
                raise TaskError(unknown(str(key), Way.__struct_fields__), path=(*place, key))
            wanted: Any = (int, float) if key == "temperature" else str
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise TaskError(
                    f"should be {'a number' if key == 'temperature' else 'text'}, not {show(value)}", path=(*place, key)
                )
        ways.append(Way(**way))
    try:
        return in_rotation(policy, *ways)
    except ValueError as error:
        raise TaskError(str(error), path=("rotate",)) from None


def _cascade(policy: Sampling, said: Any) -> Sampling:
    table = {"to": said} if isinstance(said, str) else said
    if not isinstance(table, dict) or not isinstance(table.get("to"), str):
        raise TaskError(
            "should be the role of a stronger backend, or a mapping with `to` and a policy", path=("cascade",)
        )
    rest = {key: value for key, value in table.items() if key != "to"}
    for key in rest:
        if key not in (*_POLICIES, "cap", "shorter_than", "batch"):
            raise TaskError(
                unknown(str(key), ("to", *_POLICIES, "cap", "shorter_than", "batch")), path=("cascade", key)
            )
    try:
        then = _vote(rest or {"once": None})
    except TaskError as error:
        raise TaskError(str(error.args[0]), path=("cascade", *error.path)) from None
    return cascade(policy, to=table["to"], then=then)
