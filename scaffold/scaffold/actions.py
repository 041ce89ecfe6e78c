"""Turns typed Python functions into actions.

    @action(effect="irreversible", identity=("invoice",), idempotency="target_key")
    async def pay(invoice: str, account: str, cents: int, *, call: Call) -> str:
        '''Pay an invoice.'''

A planner proposes such an action with `act("pay", {...})` or in a plan. It cannot be called directly.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import msgspec
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError, create_model

from scaffold.errors import NotPerformed
from scaffold.fitting import arguments_in_words, result_in_words
from scaffold.tracebacks import described
from scaffold.vocabulary.actions import ActionSpec, Call, Credential
from scaffold.vocabulary.canonical import adapter, canonical
from scaffold.vocabulary.plain_types import is_plain

if TYPE_CHECKING:
    from scaffold.vocabulary.actions import Effect, Idempotency
    from scaffold.vocabulary.clearance import Clearance

_CALL = "call"


async def _begun_in_time(work: Callable[[], Any], seconds: float) -> Any:
    """Do something in a thread, as `asyncio.to_thread` does, but not after so many seconds of waiting for one.

    Raises:
        NotPerformed: it was not begun, and never will be.
    """
    permits = [None]  # one, for the thread that begins or for who gives up
    late = False

    def taken() -> bool:
        try:
            permits.pop()
        except IndexError:
            return False
        return True

    def give_up() -> None:
        nonlocal late
        if taken():
            late = True
            done.cancel()

    loop = asyncio.get_running_loop()
    try:
        done = loop.run_in_executor(None, copy_context().run, lambda: work() if taken() else None)
    except RuntimeError as error:  # the system has no thread left, but one of ours might still come to it
        if taken():
            raise NotPerformed(f"it was not begun: {error}") from error
        raise
    timer = loop.call_later(seconds, give_up)
    try:
        return await done
    except asyncio.CancelledError:
        if late:
            raise NotPerformed(f"it was not begun: no thread was free within {seconds:g} s") from None
        raise
    finally:
        timer.cancel()


class FunctionAction:
    """A function as an action: it can be proposed, but not called."""

    def __init__(self, function: Callable[..., Any], spec: ActionSpec, shape: _Shape) -> None:
        self.spec = spec
        self.__doc__ = function.__doc__
        self._function = function
        self._waits = inspect.iscoroutinefunction(function)
        arguments = TypeAdapter(shape.arguments)
        self._check = arguments.validator.validate_python
        self._dump = arguments.serializer.to_python
        self._has_sets = '"uniqueItems"' in json.dumps(shape.schema)
        self._stays = shape.stays
        self._names = tuple(shape.arguments.model_fields)
        self._told = shape.told
        self._credentials = shape.credentials
        self._result = shape.result
        self._reconcile: Callable[..., Any] | None = None
        self.undoing: FunctionAction | None = None
        self._preview: Callable[..., Any] | None = None

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Refuse: an action cannot be called past the gate."""
        raise TypeError(f"{self.spec.name} is an action: propose it from a planner with act({self.spec.name!r}, ...)")

    def validate(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments against the function's annotations; return them as JSON values with defaults filled in.

        Raises:
            ValueError: they do not fit, or the values made from them would not validate to the same values again.
        """
        try:
            plain = self._plain(self._check(dict(arguments), strict=False))
        except ValidationError as error:
            raise ValueError(arguments_in_words(error)) from None
        if not self._stays:
            self._must_stay(plain)
        return plain

    async def perform(self, arguments: Mapping[str, Any], clearance: Clearance) -> Any:
        """Redeem the clearance on exactly these arguments, then call the function.

        Raises:
            NotPerformed: the annotations no longer accept the reviewed arguments, or make something else of them; or no
                thread was free for the function in time.
        """
        call = clearance.redeem(self.spec.name, canonical(arguments))
        try:
            values = self._values(arguments, call)
        except ValueError as error:
            raise NotPerformed(f"what would be done is not what was reviewed: {error}") from None
        if self._waits:
            return await self._function(**values)
        return await _begun_in_time(partial(self._function, **values), self.spec.timeout_s)

    def misfit(self, result: Any) -> str:
        """Say in what a result does not fit the function's return annotation."""
        if self._result is None:
            return ""
        try:
            self._result.validate_python(result)
        except ValidationError as error:
            return result_in_words(error)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a validator's own fault; the action was performed
            return described(error)
        return ""

    def reconciler(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register the function that asks the target whether a call had its effect; use as a decorator.

        It takes the action's own arguments, and returns the call's result, or None if the call did not happen.
        """
        self._reconcile = function
        return function

    async def reconcile(self, arguments: Mapping[str, Any], call: Call) -> tuple[bool, Any]:
        """Ask the target whether a call happened.

        Raises:
            TypeError: the action has no reconciler.
        """
        if self._reconcile is None:
            raise TypeError(f"{self.spec.name} declares idempotency='reconcile' but has no reconciler")
        values = self._values(arguments, call)
        if inspect.iscoroutinefunction(self._reconcile):
            found = await self._reconcile(**values)
        else:
            found = await asyncio.to_thread(self._reconcile, **values)
        return found is not None, found

    def previewer(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register a dry run that shows reviewers and people what a call would do; use as a decorator.

        It takes the action's own arguments, and credentials and `call` as the action does.
        """
        self._preview = function
        self.spec = msgspec.structs.replace(self.spec, preview=True)
        return function

    async def preview(self, arguments: Mapping[str, Any], call: Call) -> Any:
        """Say what a call would do.

        Raises:
            TypeError: the action has no previewer.
        """
        if self._preview is None:
            raise TypeError(f"{self.spec.name} has no previewer")
        values = self._values(arguments, call)
        if inspect.iscoroutinefunction(self._preview):
            return await self._preview(**values)
        return await asyncio.to_thread(self._preview, **values)

    @overload
    def undo(self, function: Callable[..., Any], /) -> FunctionAction: ...
    @overload
    def undo(self, /, **declared: Any) -> Callable[[Callable[..., Any]], FunctionAction]: ...
    def undo(
        self, function: Callable[..., Any] | None = None, /, **declared: Any
    ) -> FunctionAction | Callable[[Callable[..., Any]], FunctionAction]:
        """Register the function that undoes a call: an action too, which goes through the gate; use as a decorator.

        Its parameters are any of the action's own, by name, and `gave`: the call's result. They are filled in from the
        call that it undoes. It comes with the action, and need not be listed for an agent.

        Args:
            function: the function, when used without parentheses.
            declared: what `action` takes.

        Raises:
            TypeError: it takes anything else.
        """

        def wrap(wrapped: Callable[..., Any]) -> FunctionAction:
            undoing: FunctionAction = action(**declared)(wrapped)
            known = {*self.spec.parameters["properties"], "gave"}
            unknown = [name for name in undoing.spec.parameters["properties"] if name not in known]
            if unknown:
                raise TypeError(
                    f"{wrapped.__name__} undoes {self.spec.name}, which has no parameter {unknown[0]!r}: it can take "
                    "the parameters of that action, and `gave`"
                )
            self.undoing = undoing
            self.spec = msgspec.structs.replace(self.spec, undo=undoing.spec.name)
            return undoing

        return wrap if function is None else wrap(function)

    def _values(self, arguments: Mapping[str, Any], call: Call) -> dict[str, Any]:
        """Return the function's arguments, converted to the types in its annotations."""
        if not self._stays:
            self._must_stay(arguments)
        checked = self._check(dict(arguments), strict=False)
        values = {name: getattr(checked, name) for name in self._names}
        if self._told:
            values[_CALL] = call
        for parameter, name in self._credentials.items():
            values[parameter] = call.credentials[name]
        return values

    def _must_stay(self, arguments: Mapping[str, Any]) -> None:
        """Check that the function is given exactly what is reviewed.

        Raises:
            ValueError: validating the validated values again, with aliases and serializers, changes them.
        """
        try:
            plain = self._plain(self._check(dict(arguments), strict=False))
        except ValidationError as error:
            raise ValueError(
                f"the values they are converted to are not valid arguments themselves: {arguments_in_words(error)}"
            ) from None
        if canonical(plain) != canonical(arguments):
            names = {**arguments, **plain}
            changed = [name for name in names if canonical(plain.get(name)) != canonical(arguments.get(name))]
            raise ValueError(
                f"the values they are converted to would be converted again to other values: {', '.join(changed)}"
            )

    def _plain(self, checked: Any) -> dict[str, Any]:
        """Return arguments as JSON values, with the names and forms of their schema."""
        plain: dict[str, Any] = self._dump(checked, mode="json", by_alias=True, round_trip=True)
        return _in_order(plain, self._dump(checked, by_alias=True, round_trip=True)) if self._has_sets else plain


@overload
def action(function: Callable[..., Any], /) -> FunctionAction: ...
@overload
def action(
    *,
    effect: Effect = "irreversible",
    name: str = "",
    version: str = "1",
    cost: float = 0.0,
    trusted: bool = False,
    identity: tuple[str, ...] = (),
    idempotency: Idempotency = "none",
    timeout_s: float = 60.0,
    limits: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], FunctionAction]: ...
def action(  # noqa: PLR0913 - all that an action may declare
    function: Callable[..., Any] | None = None,
    /,
    *,
    effect: Effect = "irreversible",
    name: str = "",
    version: str = "1",
    cost: float = 0.0,
    trusted: bool = False,
    identity: tuple[str, ...] = (),
    idempotency: Idempotency = "none",
    timeout_s: float = 60.0,
    limits: Mapping[str, Any] | None = None,
) -> FunctionAction | Callable[[Callable[..., Any]], FunctionAction]:
    """Make a function an action; its schema comes from its annotations.

    A plain function runs in a thread. A keyword parameter named `call`, of type Call, receives the idempotency key; one
    of type `Annotated[str, Credential("BANK_TOKEN")]` receives that credential. Neither is an argument.

    Args:
        function: the function, when used without parentheses.
        effect: what it does to the world; irreversible unless declared otherwise.
        name: its name in plans; the function's name if empty.
        version: change it when what the action does changes.
        cost: what one call costs, in US dollars.
        trusted: whether its result is trusted; otherwise it is tainted.
        identity: arguments that say which thing is acted on; the same thing is not acted on twice.
        idempotency: what its target promises about repeated calls.
        timeout_s: seconds after which its outcome counts as unknown.
        limits: the most that it may be done, such as `{"run": 5, "day": 20}`; see `Limits`.

    Raises:
        TypeError: a parameter has no annotation, `identity` names no parameter, or the function is a generator, so
            that calling it would do nothing yet.
        ValueError: there is no such effect or idempotency, or the cost or the timeout is not a valid number.
    """
    _check_places(function, identity)

    def wrap(wrapped: Callable[..., Any]) -> FunctionAction:
        if inspect.isgeneratorfunction(wrapped) or inspect.isasyncgenfunction(wrapped):
            said = "is a generator: calling it does nothing, but would count as done; use `return` instead of `yield`"
            raise TypeError(f"{wrapped.__name__} {said}")
        shape = _shape_of(wrapped)
        unknown = [field for field in identity if field not in shape.schema["properties"]]
        if unknown:
            raise TypeError(f"{wrapped.__name__} has no argument {unknown[0]!r}, which is in its identity")
        spec = ActionSpec(
            name=name or wrapped.__name__,
            description=(inspect.getdoc(wrapped) or "").split("\n", 1)[0],
            version=version,
            parameters=shape.schema,
            effect=effect,
            cost=cost,
            trusted=trusted,
            identity=identity,
            idempotency=idempotency,
            timeout_s=timeout_s,
            limits=dict(limits or {}),
            credentials=tuple(dict.fromkeys(shape.credentials.values())),
        )
        return FunctionAction(wrapped, spec, shape)

    return wrap if function is None else wrap(function)


def _check_places(function: object, identity: object) -> None:
    if function is not None and not callable(function):
        raise TypeError(f"an action's settings are given by name, as in @action(effect='read'), not as {function!r}")
    if isinstance(identity, str):
        raise TypeError(f"identity should be a tuple of names, such as ({identity!r},), not text")


class _Shape(NamedTuple):
    """What a function takes.

    Attributes:
        arguments: validates its arguments.
        schema: their JSON Schema.
        stays: validated arguments always validate to the same values again.
        told: it takes `call`.
        credentials: names of credentials, by parameter.
        result: validates what it gives back; None if it declares nothing that can be checked.
    """

    arguments: type[Any]
    schema: dict[str, Any]
    stays: bool
    told: bool
    credentials: dict[str, str]
    result: TypeAdapter[Any] | None


def _in_order(plain: Any, value: Any) -> Any:
    """Return a JSON value with the items of each set sorted, independent of this process's hash seed."""
    match plain, value:
        case list(), set() | frozenset():
            return sorted(plain, key=canonical)
        case dict(), dict() if len(plain) == len(value):
            return {name: _in_order(plain[name], each) for name, each in zip(plain, value.values(), strict=True)}
        case list(), list() | tuple() if len(plain) == len(value):
            return [_in_order(item, each) for item, each in zip(plain, value, strict=True)]
        case _:
            return plain


def _credential_in(hint: Any) -> str:
    """Return the name of the credential that an annotation asks for; empty if none."""
    marks = [mark for mark in getattr(hint, "__metadata__", ()) if isinstance(mark, Credential)]
    return marks[0].name if marks else ""


def _shape_of(function: Callable[..., Any]) -> _Shape:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(
            f"{function.__name__}: {error}, but its annotations are needed at run time: import that outside `if "
            "TYPE_CHECKING:`"
        ) from None
    fields: dict[str, Any] = {}
    credentials: dict[str, str] = {}
    told = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == _CALL and hints.get(_CALL) is Call:
            told = True
            continue
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            raise TypeError(f"{function.__name__}: every parameter of an action needs a name, and {parameter} has none")
        if parameter.name not in hints and parameter.name == "self":
            raise TypeError(
                f"{function.__name__}: a method of a class cannot be an action; decorate the method of an object: "
                f"action(effect=...)(thing.{function.__name__})"
            )
        if parameter.name not in hints:
            raise TypeError(f"{function.__name__}: the parameter {parameter.name!r} needs an annotation")
        credential = _credential_in(hints[parameter.name])
        if credential:
            credentials[parameter.name] = credential
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], default)
    try:
        model = create_model(f"{function.__name__}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
        schema: dict[str, Any] = model.model_json_schema()
    except PydanticUserError as error:  # a type has no schema, or no JSON form
        why = str(error.message).partition("\n")[0].partition(". Set ")[0]
        raise TypeError(
            f"{function.__name__}: arguments should have JSON types (text, numbers, booleans, lists, dicts, pydantic "
            f"models, dataclasses): {why}"
        ) from None
    if '"writeOnly"' in json.dumps(schema):
        raise TypeError(
            f"{function.__name__}: a SecretStr would be recorded as stars, and the function would get the stars: "
            'take it as `Annotated[str, Credential("NAME")]`, which is never recorded'
        )
    stays = all(is_plain(hint) and (default is ... or _is_read(hint, default)) for hint, default in fields.values())
    return _Shape(model, schema, stays, told, credentials, _validator_of(hints.get("return", Any)))


def _validator_of(returns: Any) -> TypeAdapter[Any] | None:
    """Return the validator of a return annotation; None if any value will do, or pydantic cannot check it."""
    if returns is Any:
        return None
    try:
        return TypeAdapter(returns)
    except Exception:  # noqa: BLE001 - a function may give back what only its own library knows
        return None


def _is_read(hint: Any, default: Any) -> bool:
    """Whether a default, which nothing validates, is read back unchanged."""
    try:
        written = adapter(hint).dump_python(default, mode="json", warnings="error")
        return canonical(adapter(hint).validate_python(written)) == canonical(written)
    except (TypeError, ValueError):
        return False
