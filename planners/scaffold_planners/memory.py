"""A working memory for long tasks: shows a step a shortened history within a token limit.

    memory = WorkingMemory(pinned(task, identity="..."), limit=2_000)
    key = yield from memory.add(observation)                 # older ones are shortened if there is no room
    thought = yield from think("decide", *memory.shown(), memory.recall(key), instruction="...")

Pinned texts are never shortened. Observations are shortened by `compress` steps, oldest first. A model does not say
what it leaves out of a summary, so after each compression the facts of the raw texts (`facts.py`) are searched for in
it, and lost ones are put back word for word, as far as there is room. What is shown gives the number of the others, and
the trace notes every loss. The raw texts stay in the trace, and `recall` returns them exactly.
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

_LEAST_ROOM = 96  # minimum tokens for observations: enough for a shortened entry that says where to look
_MARKS = 12  # tokens of the marks around tainted text and of the space between texts
_LEAST_ENTRY = 48  # tokens of a shortened entry that only says where to look
_LEAST_SUMMARY = 16
_SLACK = 5  # a fifth of the room is freed at once, so that not every observation triggers a compression
_ENOUGH = 32  # after this many facts in a row that do not fit, no shorter one is tried
_LONGEST_LIST = 40  # facts listed in a note; their number is always given
_INSTRUCTION = (
    "Shorten the observations above to at most {words} words, for somebody who goes on with the task. Keep every "
    "number, name, date and condition exactly as it is written. Add nothing. Give the shortened text alone."
)

Measure = Callable[[str], int]


def tokens_in(text: str) -> int:
    """Return an upper bound on a text's tokens for most tokenizers and languages: one per three bytes of UTF-8."""
    return -(-len(text.encode("utf-8", "replace")) // 3)


class Loss(NamedTuple):
    """What one compression left out.

    Attributes:
        keys: the observations that were shortened, such as `m1-m4`.
        restored: facts that were missing from the summary, and were put back.
        left: facts for which there was no room; the raw texts have them.
        before: tokens of these observations before.
        after: their tokens now.
    """

    keys: str
    restored: tuple[Fact, ...]
    left: tuple[Fact, ...]
    before: int
    after: int


class _Entry(NamedTuple):
    """Observations `first` to `last` as shown."""

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
    """Return what an agent must know at every step: its identity, the request, its goals and actions.

    Args:
        task: as the engine gives it to a planner, with its actions.
        identity: who the agent is, in the planner's words.
        can: abilities other than the actions, in the planner's words.
        cannot: what it cannot do, in the planner's words.
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
    """Observations and pinned texts, shown within a token limit.

    It belongs to one generator: branches of a `together` each need their own.

    Args:
        pinned: texts that are always shown in full.
        limit: most tokens that `shown` returns, pinned texts included.
        about: the task, shown to the steps that shorten; nothing if left out.
        measure: returns the number of tokens of a text.
        to: role of the backend that shortens.
        tries: most samples drawn for one summary.

    Attributes:
        losses: what each compression left out.

    Raises:
        MemoryTooSmall: the limit leaves no room beside the pinned texts.
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
        """The tokens shown now."""
        return self._fixed + sum(entry.size for entry in self._entries)

    def shown(self) -> tuple[Reference[str], ...]:
        """Return what a step is shown, as references: pinned texts, then observations, oldest first."""
        return (*self._pinned, *(entry.shown for entry in self._entries))

    def add(self, observed: Any) -> Planning[str]:
        """Remember something, shortening older entries if there is no room; return the key to recall it by."""
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
        """Return the raw value remembered under a key (`m3`), or from a place in the trace (`action:0/2`).

        Raises:
            KeyError: there is none.
        """
        if key not in self._places:
            raise KeyError(f"nothing is remembered as {key!r}: keys go from m1 to m{len(self._raws)}")
        return self._raws[self._places[key]]

    # --- shortening

    def _shorten(self) -> Planning[None]:
        """Shorten the oldest entries into one, to make room."""
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
        """Choose the oldest entries until half of their size is what is needed; the newest only if all are needed."""
        size = 0
        for count, entry in enumerate(self._entries[:-1], 1):
            size += entry.size
            if size >= 2 * need and size - _LEAST_ENTRY >= need:
                return self._entries[:count]
        return self._entries[:-1] if size - _LEAST_ENTRY >= need else list(self._entries)

    def _summary(self, chosen: list[_Entry], most: int) -> Generator[Any, Any, Reference[str]]:
        """Have a model summarise some entries, in portions if they are long; empty if it fails."""
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
                continue  # all its facts are then lost, and put back
            made.append(thought)
        if made:
            return apply(_joined, *made)
        return _alike("", chosen[-1].shown, union(each.shown.provenance for each in chosen))

    def _pieces(self, shown: Reference[str]) -> list[Reference[str]]:
        """Split a text into pieces that each fit into the limit, at ends of lines if possible."""
        pieces = _cut(shown.value, self._limit, self._measure)
        return [shown] if len(pieces) == 1 else [_alike(piece, shown, shown.provenance) for piece in pieces]

    def _portions(self, pieces: list[Reference[str]]) -> list[list[Reference[str]]]:
        """Group pieces so that each group fits into the limit."""
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
        """Put lost facts back into a summary as far as they fit; return it, the facts put back, and the others."""
        if self._measure(_shown(keys, summary, (), len(facts))) > most:
            summary = ""  # it is no shorter than the original
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
        # Binding sentences are put back first, whole, and may contain other lost facts.
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
    """Make a text of this provenance; it also depends on the generator's history if the original does."""
    return Mixed(text, provenance) if isinstance(like, Mixed) else Reference(text, provenance)


def _keys(first: int, last: int) -> str:
    return f"m{first + 1}" if first == last else f"m{first + 1}-m{last + 1}"


def _shown(keys: str, summary: str, back: Sequence[Fact], left: int) -> str:
    """Render shortened observations: the summary, the facts put back, and the number of those left out."""
    parts = [f"[{keys}, shortened]", summary]
    parts += [f"Also: {'; '.join(fact.text for fact in back)}."] if back else []
    parts += [f"({left} more named facts: recall {keys})"] if left else []
    return " ".join(part for part in parts if part)


def _told(loss: Loss) -> str:
    """Describe one compression for the trace."""
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
    return f"it has {size} tokens, but at most {most} are allowed" if size > most else None


def _cut(text: str, most: int, measure: Measure) -> list[str]:
    """Split a text into pieces of at most this many tokens, between lines, or within a line that is longer."""
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
