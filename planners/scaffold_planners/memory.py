"""A working memory for long tasks: what a step is shown instead of the whole history, under a limit of tokens.

    memory = WorkingMemory(pinned(task, identity="..."), limit=2_000)
    key = yield from memory.add(observation)                 # older ones are shortened when there is no room
    thought = yield from think("decide", *memory.shown(), memory.recall(key), instruction="...")

What is pinned is never shortened. Observations are shortened oldest first, by `compress` steps. What a model leaves out
of a summary it does not announce: so after each compression the named facts of the raw texts (`facts.py`) are looked
for in it, and those that are gone are put back in their own words, as far as there is room. The rest is counted in what
is shown, and every loss is noted in the trace. The raw texts stay in the trace, and `recall` gives them back exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, NamedTuple

from scaffold.errors import MemoryTooSmall, StepFailed
from scaffold.planning import note, think
from scaffold.vocabulary.canonical import canonical
from scaffold.vocabulary.moves import Options, Planning
from scaffold.vocabulary.references import NOWHERE, Mixed, Provenance, Reference, apply, union
from scaffold.vocabulary.sampling import once
from scaffold.vocabulary.task import Task
from scaffold_planners.facts import Fact, facts_in, missing
from scaffold_planners.showing import labelled
from scaffold_planners.ways import described

_LEAST_ROOM = 96  # tokens for what is observed, at least: a shortened entry that says where to look has room
_MARKS = 12  # tokens of the marks around tainted text, and of the space between two texts
_LEAST_ENTRY = 48  # tokens of a shortened entry that says no more than where to look
_LEAST_SUMMARY = 16
_SLACK = 5  # a fifth of the room is made free at once, so that not every observation compresses
_ENOUGH = 32  # facts in a row for which there is no room: after a long history a shorter one is not looked for
_LONGEST_LIST = 40  # facts named in a note; their number is always told
_INSTRUCTION = (
    "Shorten the observations above to at most {words} words, for somebody who goes on with the task. Keep every "
    "number, name, date and condition exactly as it is written. Add nothing. Give the shortened text alone."
)

Measure = Callable[[str], int]


def tokens_in(text: str) -> int:
    """How many tokens a text has at most, for most tokenizers and languages: one for three bytes of UTF-8."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


class Loss(NamedTuple):
    """What one compression left out.

    Attributes:
        keys: which observations were shortened, such as `m1-m4`.
        restored: facts that were missing from the summary, and put back.
        left: facts for which there was no room; the raw texts have them.
        before: tokens shown of these observations before.
        after: tokens shown of them now.
    """

    keys: str
    restored: tuple[Fact, ...]
    left: tuple[Fact, ...]
    before: int
    after: int


class _Entry(NamedTuple):
    """Observations `first` to `last`, as they are shown."""

    first: int
    last: int
    shown: Reference[str]
    size: int

    @property
    def keys(self) -> str:
        return _keys(self.first, self.last)


def pinned(
    task: Task, *, identity: str = "", can: Sequence[str] = (), cannot: Sequence[str] = ()
) -> tuple[Reference[str], ...]:
    """What an agent must know at every step: who it is, what is asked, its goals, which actions there are.

    Args:
        task: as the engine gives it to a planner, with its actions.
        identity: who the agent is, in the planner's own words.
        can: abilities beside the actions, in the planner's own words.
        cannot: what it cannot do, the same.
    """
    actions = described({spec.name: spec for spec in task.tools}) or "(none)"
    limits = [
        "Nothing is done by being written down: only the actions listed change anything, and there are no others.",
        *(f"You can {each}." for each in can),
        *(f"You cannot {each}." for each in cannot),
    ]
    own = {
        "You are": identity,
        "Goals": "\n".join(f"{goal.kind}: {goal.statement}" for goal in task.goals),
        "Actions that exist": actions,
        "Limits": "\n".join(limits),
    }
    kept = [labelled(name, Reference(text, NOWHERE)) for name, text in own.items() if text]
    return (kept[0], labelled("Task", task.request), *kept[1:])


class WorkingMemory:
    """What is remembered, shown under a limit.

    It belongs to one generator: branches of a `together` each need their own.

    Args:
        pinned: texts that are always shown, whole.
        limit: most tokens that `shown` gives, pinned texts included.
        about: what the task is, shown to the steps that shorten; none if left out.
        measure: how many tokens a text has.
        to: role of the backend that shortens.
        tries: most samples drawn for one summary.

    Attributes:
        losses: what each compression left out.

    Raises:
        MemoryTooSmall: the limit has no room for anything beside what is pinned.
    """

    def __init__(
        self,
        pinned: Sequence[Reference[str]],
        *,
        limit: int,
        about: Reference[str] | None = None,
        measure: Measure = tokens_in,
        to: str = "default",
        tries: int = 3,
    ) -> None:
        self._pinned = tuple(pinned)
        self._limit = limit
        self._about = about
        self._measure = measure
        self._to = to
        self._tries = tries
        self._entries: list[_Entry] = []
        self._raws: list[Reference[Any]] = []
        self._facts: list[tuple[Fact, ...]] = []
        self._places: dict[str, int] = {}
        self.losses: list[Loss] = []
        self._fixed = sum(self._size_of(each) for each in self._pinned)
        if self._fixed + _LEAST_ROOM > limit:
            raise MemoryTooSmall(limit, self._fixed, _LEAST_ROOM)

    @property
    def size(self) -> int:
        """Tokens of what is shown now."""
        return self._fixed + sum(entry.size for entry in self._entries)

    def shown(self) -> tuple[Reference[str], ...]:
        """All that a step is shown: what is pinned, then what was observed, oldest first; each still a reference."""
        return (*self._pinned, *(entry.shown for entry in self._entries))

    def add(self, observed: Any) -> Planning[str]:
        """Remember something; what is older is shortened if there is no room. Gives the key to recall it by."""
        place = len(self._raws)
        raw = observed if isinstance(observed, Reference) else apply(_itself, observed)
        self._raws.append(raw)
        self._facts.append(facts_in(_text(raw.value)))
        key = f"m{place + 1}"
        self._places[key] = place
        for source in raw.provenance.sources[:1]:
            self._places.setdefault(source, place)
        self._entries.append(self._entry(place, place, f"[{key}] {_text(raw.value)}", raw, raw.provenance))
        while self.size > self._limit:
            yield from self._shorten()
        return key

    def recall(self, key: str) -> Reference[Any]:
        """The very thing that was remembered under a key (`m3`), or that came from a place in the trace (`action:0/2`).

        Raises:
            KeyError: nothing was.
        """
        if key not in self._places:
            raise KeyError(f"nothing is remembered as {key!r}: keys go from m1 to m{len(self._raws)}")
        return self._raws[self._places[key]]

    # --- shortening

    def _shorten(self) -> Planning[None]:
        """Shorten the oldest entries as one, so that there is room again."""
        need = self.size - self._limit + (self._limit - self._fixed) // _SLACK
        chosen = self._chosen(need)
        first, last = chosen[0].first, chosen[-1].last
        before = sum(entry.size for entry in chosen)
        aim = max(_LEAST_ENTRY, before - need)
        summary = yield from self._summary(chosen, aim // 2)
        facts = dict.fromkeys(fact for known in self._facts[first : last + 1] for fact in known)
        text, restored, left = self._restored(_keys(first, last), summary.value, tuple(facts), aim - _MARKS)
        tainted = summary.provenance.tainted or any(raw.provenance.tainted for raw in self._raws[first : last + 1])
        made = self._entry(first, last, text, summary, Provenance(summary.provenance.sources, tainted))
        self._entries[: len(chosen)] = [made]
        self.losses.append(Loss(made.keys, restored, left, before, made.size))
        yield from note(_told(self.losses[-1]))

    def _chosen(self, need: int) -> list[_Entry]:
        """The oldest entries, enough of them that half of what they take is what is needed; the newest last of all."""
        size = 0
        for count, entry in enumerate(self._entries[:-1], 1):
            size += entry.size
            if size >= 2 * need and size - _LEAST_ENTRY >= need:
                return self._entries[:count]
        return self._entries[:-1] if size - _LEAST_ENTRY >= need else list(self._entries)

    def _summary(self, chosen: list[_Entry], most: int) -> Generator[Any, Any, Reference[str]]:
        """What a model makes of some entries, in portions where they are long; empty where it makes nothing of them."""
        portions = self._portions([piece for entry in chosen for piece in self._pieces(entry.shown)])
        share = max(_LEAST_SUMMARY, most // len(portions))
        made: list[Reference[str]] = []
        for portion in portions:
            try:
                thought = yield from think(
                    "compress",
                    *(() if self._about is None else (self._about,)),
                    *portion,
                    instruction=_INSTRUCTION.format(words=share * 3 // 5),
                    to=self._to,
                    sampling=once(
                        tries=self._tries, flags=(partial(_too_long, measure=self._measure, most=2 * share),)
                    ),
                    options=Options(max_tokens=4 * share),
                )
            except StepFailed:
                continue  # its facts are then all lost, and put back
            made.append(thought)
        if made:
            return apply(_joined, *made)
        return _alike("", chosen[-1].shown, union(each.shown.provenance for each in chosen))

    def _pieces(self, shown: Reference[str]) -> list[Reference[str]]:
        """A text in pieces that each fit into the limit, cut at ends of lines where there are any."""
        pieces = _cut(shown.value, self._limit, self._measure)
        return [shown] if len(pieces) == 1 else [_alike(piece, shown, shown.provenance) for piece in pieces]

    def _portions(self, pieces: list[Reference[str]]) -> list[list[Reference[str]]]:
        """Pieces in groups that each fit into the limit."""
        portions: list[list[Reference[str]]] = []
        size = 0
        for piece in pieces:
            size += self._size_of(piece)
            if not portions or size > self._limit:
                portions.append([])
                size = self._size_of(piece)
            portions[-1].append(piece)
        return portions

    def _restored(
        self, keys: str, summary: str, facts: tuple[Fact, ...], most: int
    ) -> tuple[str, tuple[Fact, ...], tuple[Fact, ...]]:
        """A summary with what it lost put back, as far as that fits; what was put back, and what does not fit."""
        if self._measure(_shown(keys, summary, (), len(facts))) > most:
            summary = ""  # it is no shorter than what it stands for
        back: list[Fact] = []
        left: list[Fact] = []
        lost = missing(facts, summary)
        in_vain = 0
        for place, fact in enumerate(lost):
            if in_vain == _ENOUGH:
                left += lost[place:]
                break
            fits = self._measure(_shown(keys, summary, [*back, fact], len(facts))) <= most
            (back if fits else left).append(fact)
            in_vain = 0 if fits else in_vain + 1
        # What binds is put back first, whole, and may hold names and numbers that are lost as well.
        binding = " ; ".join(fact.text for fact in back if fact.kind == "constraint")
        alone = [fact for fact in back if fact.kind == "constraint"]
        alone += missing((fact for fact in back if fact.kind != "constraint"), binding)
        left = list(missing(left, binding))
        return _shown(keys, summary, alone, len(left)), tuple(back), tuple(left)

    # --- entries

    def _entry(self, first: int, last: int, text: str, like: Reference[Any], provenance: Provenance) -> _Entry:
        shown = _alike(text, like, provenance)
        return _Entry(first, last, shown, self._size_of(shown))

    def _size_of(self, shown: Reference[str]) -> int:
        return self._measure(shown.value) + _MARKS


def _alike(text: str, like: Reference[Any], provenance: Provenance) -> Reference[str]:
    """A text of this provenance; it depends on the generator's history too if what it is made from does."""
    return Mixed(text, provenance) if isinstance(like, Mixed) else Reference(text, provenance)


def _keys(first: int, last: int) -> str:
    return f"m{first + 1}" if first == last else f"m{first + 1}-m{last + 1}"


def _shown(keys: str, summary: str, back: Sequence[Fact], left: int) -> str:
    """How shortened observations read: the summary, the facts that were put back, and how many are not here."""
    parts = [f"[{keys}, shortened]", summary]
    parts += [f"Also: {'; '.join(fact.text for fact in back)}."] if back else []
    parts += [f"({left} more named facts: recall {keys})"] if left else []
    return " ".join(part for part in parts if part)


def _told(loss: Loss) -> str:
    """One compression in words, for the trace."""
    said = [f"memory: {loss.keys} shortened from {loss.before} to {loss.after} tokens"]
    for facts, what in ((loss.restored, "lost and put back"), (loss.left, "lost, to be recalled")):
        listed = "; ".join(f"{fact.kind} {fact.text!r}" for fact in facts[:_LONGEST_LIST])
        more = f"; and {len(facts) - _LONGEST_LIST} more" if len(facts) > _LONGEST_LIST else ""
        said += [f"{len(facts)} {what}: {listed}{more}"] if facts else []
    return ". ".join(said)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical(value).decode()


def _joined(*texts: str) -> str:
    return " ".join(text.strip() for text in texts)


def _itself(value: Any) -> Any:
    return value


def _too_long(text: str, *, measure: Measure, most: int) -> str | None:
    size = measure(text)
    return f"{size} tokens, where at most {most} are wanted" if size > most else None


def _cut(text: str, most: int, measure: Measure) -> list[str]:
    """A text in pieces of at most so many tokens, cut between lines, and within a line that is longer by itself."""
    if measure(text) <= most:
        return [text]
    pieces = [""]
    for line in text.splitlines(keepends=True):
        length = max(1, len(line) * most // max(1, measure(line)) // 2) if measure(line) > most else len(line)
        for start in range(0, len(line), length):
            part = line[start : start + length]
            if measure(pieces[-1] + part) > most:
                pieces.append("")
            pieces[-1] += part
    return [piece for piece in pieces if piece]
