"""What a turn is shown of earlier ones: everything, or what a working memory keeps."""

from __future__ import annotations

from functools import partial
from typing import Any

from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.moves import Planning
from scaffold.vocabulary.references import NOWHERE, Reference, apply
from scaffold.vocabulary.task import Task
from scaffold_planners.memory import WorkingMemory, pinned
from scaffold_planners.showing import inputs, labelled
from scaffold_planners.ways import Tools, described

_HAVE_BACK = "have what was shortened back word for word: say its key, such as m3, as `recall`"


class Seen:
    """The actions, the task, and everything seen so far; long texts are cut."""

    def __init__(self, task: Task, tools: Tools, longest: int) -> None:
        self._tools = tools
        self._task = task
        self._longest = longest
        self._texts: list[Reference[str]] = []

    def shown(self) -> tuple[Reference[str], ...]:
        """All that a turn is shown."""
        actions = labelled("Actions", described(self._tools))
        return (actions, *inputs(self._task), labelled("Task", self._task.request), *self._texts)

    def add(self, label: str, seen: Any) -> Planning[None]:
        """Add something for later turns to see."""
        yield from ()
        self._texts.append(labelled(label, apply(partial(_cut, longest=self._longest), seen)))

    def recalled(self, key: str) -> Reference[Any]:
        """Return what is remembered under a key, word for word, or a text that says there is nothing."""
        return Reference(f"nothing is remembered as {key!r}", NOWHERE)


class Remembered(Seen):
    """The same within a token limit: older texts are shortened, and can be recalled word for word.

    Raises:
        MemoryTooSmall: there is no room beside the task, its goals and its actions.
    """

    def __init__(self, task: Task, tools: Tools, limit: int) -> None:
        super().__init__(task, tools, longest=0)
        known = (*pinned(task, can=[_HAVE_BACK]), *inputs(task))
        self._memory = WorkingMemory(known, limit=limit, about=task.request)

    def shown(self) -> tuple[Reference[str], ...]:
        """All that a turn is shown."""
        return self._memory.shown()

    def add(self, label: str, seen: Any) -> Planning[None]:
        """Add something for later turns to see."""
        yield from self._memory.add(labelled(label, seen))

    def recalled(self, key: str) -> Reference[Any]:
        """Return what is remembered under a key, word for word, or a text that says there is nothing."""
        try:
            return self._memory.recall(key)
        except KeyError as error:
            return Reference(str(error.args[0]), NOWHERE)


def _cut(value: Any, longest: int) -> str:
    text = value if isinstance(value, str) else canonical(value).decode()
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters in all)"
