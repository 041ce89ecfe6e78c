"""Reads a YAML file as JSON values, and remembers the line of each of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold.errors import BadInput, TaskError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

Place = tuple[str | int, ...]

# More values than a person writes, but too few for nested aliases to fill the memory.
_MOST_VALUES = 1_000_000
_DEEPEST = 100
_SHOWN_DEEP = 6  # keys of a place shown in the message that it is nested too deeply
_SHOWN = 60  # characters of a value in a message


def show(value: Any) -> str:
    """Return a value's representation, short enough for a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


class Document:
    """The values of one file, and their lines.

    Attributes:
        path: the file.
        value: its content, as JSON values.
        lines: line of each value, by the keys that lead to it; a mapping's value has the line of its key.
    """

    def __init__(self, path: Path, value: Any, lines: dict[Place, int]) -> None:
        self.path = path
        self.value = value
        self.lines = lines

    def where(self, place: Place) -> tuple[str, Place]:
        """Return `file:line` of the deepest part of a place that exists in the file, and that part itself."""
        found: Place = ()
        for part in place:
            step = self._step(found, part)
            if step not in self.lines:
                break
            found = step
        return f"{self.path}:{self.lines.get(found, 1)}", found

    def _step(self, found: Place, part: str | int) -> Place:
        """Extend a place by one key; a name that leads into a list means the entry of that name."""
        holder = self.at(found)
        if isinstance(part, str) and isinstance(holder, list):
            for number, entry in enumerate(holder):
                if entry == part:
                    return (*found, number)
                if isinstance(entry, dict) and part in entry:
                    return (*found, number, part)
        return (*found, part)

    def at(self, place: Place) -> Any:
        """Return the value at a place."""
        value = self.value
        for part in place:
            value = value[part]
        return value

    def fault(self, message: str, place: Place = ()) -> TaskError:
        """Return an error that names the place in this file."""
        return TaskError(message, path=place, where=self.where(place)[0])

    @contextlib.contextmanager
    def locating(self, *, within: Place = ()) -> Iterator[None]:
        """Add file and line to errors that only know the keys leading to the fault.

        Args:
            within: keys that lead to what the block reads; errors may omit them.
        """
        try:
            yield
        except TaskError as error:
            if error.where:
                raise
            place = max(error.path, (*within, *error.path), within, key=lambda each: len(self.where(each)[1]))
            raise self.fault(error.args[0], place) from error
        except BadInput as error:
            if not within:
                raise
            raise self.fault(str(error), within) from error


class Faults:
    """Collects faults from several parts of a file, to report them together.

    Attributes:
        found: the faults so far.
    """

    def __init__(self) -> None:
        self.found: list[BadInput] = []

    @contextlib.contextmanager
    def gathered(self, located: AbstractContextManager[None]) -> Iterator[None]:
        """Collect the fault of one part, located in the file, and go on with the next part."""
        try:
            with located:
                yield
        except BadInput as error:
            if str(error) not in map(str, self.found):
                self.found.append(error)

    def tell(self) -> None:
        """Raise what was collected, if anything: one fault as it is, several on a line each.

        Raises:
            BadInput: of the kind of the first.
        """
        if not self.found:
            return
        first, *others = self.found
        if not others:
            raise first
        if isinstance(first, TaskError):
            said = "\n".join((str(first.args[0]), *map(str, others)))
            raise TaskError(said, path=first.path, where=first.where) from first
        raise BadInput("\n".join(map(str, self.found))) from first


def read(path: Path) -> Document:
    """Read a file.

    Raises:
        TaskError: it cannot be read, or is not YAML of the accepted kind; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TaskError("no such file", where=str(path)) from None
    except IsADirectoryError:
        raise TaskError("is a folder: name the file in it, such as task.yaml", where=str(path)) from None
    except OSError as error:
        raise TaskError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TaskError("is not UTF-8 text: save the file as UTF-8", where=f"{path}:{line}") from None
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    """Parse YAML text; `path` is its name in messages.

    Raises:
        TaskError: it is not YAML of the accepted kind; names the line.
    """
    from ruamel.yaml import YAML, error

    yaml: Any = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
        if root is None:
            raise TaskError("is empty", where=f"{path}:1")
        reader = _Reader(yaml.constructor, path)
        return Document(path, reader.read(root, ()), reader.lines)
    except error.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        said = problem.problem or problem.context or "is not YAML"
        raise TaskError(_plainly(said), where=f"{path}:{mark.line + 1 if mark else 1}") from None
    except RecursionError:
        raise TaskError("is nested too deeply", where=str(path)) from None
    except error.YAMLError as problem:
        raise TaskError(f"is not YAML: {str(problem).splitlines()[0]}", where=str(path)) from None


_PLAINER = {  # by words of the parser's, the first that fit
    "'\\t'": "there is a tab: indent YAML with spaces only",
    "mapping values are not allowed": "there is a second `: ` within one value: put text that contains one in quotes,"
    " and indent a key like the one above it",
    "a single document": "there is a second document (`---`): a file may have only one",
    "found another document": "there is a second document (`---`): a file may have only one",
    "<block end>, but found '<scalar>'": "there is text after the quotation mark that ends a value; the mark that"
    " begins it may be some lines above",
    "<block end>": "is not indented like anything above it: keys and items that belong together must start in the same"
    " column",
}


def _plainly(said: str) -> str:
    more = "; put text that begins with this character in quotes" if "cannot start any token" in said else ""
    return next((words for sign, words in _PLAINER.items() if sign in said), f"is not YAML: {said}{more}")


class _Reader:
    """Turns nodes into values."""

    def __init__(self, constructor: Any, path: Path) -> None:
        self._constructor = constructor
        self._path = path
        self._count = 0
        self.lines: dict[Place, int] = {}

    def read(self, node: Any, place: Place, line: int | None = None) -> Any:
        self._count += 1
        if self._count > _MOST_VALUES or len(place) > _DEEPEST:
            raise self._fault("is too large, or refers to itself", place[:_SHOWN_DEEP], node)
        self.lines[place] = node.start_mark.line + 1 if line is None else line
        if node.id != "scalar" and not node.tag.endswith((":map", ":seq")):
            raise self._tagged(node, place)
        if node.id == "mapping":
            return self._mapping(node, place)
        if node.id == "sequence":
            return [self.read(item, (*place, number)) for number, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: Any, place: Place) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if key.tag.endswith(":merge"):
                raise self._fault("`<<` is not supported here: write the keys out", place, key)
            if key.id != "scalar":
                raise self._fault("a key should be a name", place, key)
            name = str(key.value)
            if name in values:
                raise self._fault(f"appears twice; first on line {self.lines[(*place, name)]}", (*place, name), key)
            values[name] = self.read(item, (*place, name), line)
        return values

    def _scalar(self, node: Any, place: Place) -> Any:
        match node.tag.rpartition(":")[2]:
            case "str" | "timestamp":  # a date is text: JSON has no dates
                return str(node.value)
            case "null" | "bool":
                return self._constructor.construct_object(node)
            case "int":
                try:
                    return self._constructor.construct_object(node)
                except ValueError:  # Python's own limit on digits
                    raise self._fault("is a number with too many digits", place, node) from None
            case "float":
                number = float(self._constructor.construct_object(node))
                if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - true of NaN alone
                    raise self._fault(f"{node.value} is not a number that can be recorded", place, node)
                return number
            case _:
                raise self._tagged(node, place)

    def _tagged(self, node: Any, place: Place) -> TaskError:
        return self._fault(f"the tag {node.tag!r} is not supported here", place, node)

    def _fault(self, message: str, place: Place, node: Any) -> TaskError:
        return TaskError(message, path=place, where=f"{self._path}:{node.start_mark.line + 1}")
