"""Answers requests in batches: each prompt is read once, and its state forks where samples diverge.

Samples with the same text so far have the same state, so they share one row of the batch until one differs: n votes
that agree cost little more than one. Several requests are rows of one batch, too. A state's size does not depend on the
prompt's length, so there is no padding, and a numpy call takes about as long for sixteen rows as for one.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import numpy as np

from scaffold.vocabulary.models import Delta, Usage
from scaffold_backends.xlstm.choosing import Weighed, uniform
from scaffold_backends.xlstm.model import joined
from scaffold_backends.xlstm.signals import entropy_and_margin
from scaffold_backends.xlstm.stopping import Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold.vocabulary.models import Finish
    from scaffold_backends.xlstm.asked import Asked, Branch
    from scaffold_backends.xlstm.functions import Array
    from scaffold_backends.xlstm.model import XLSTM, State
    from scaffold_backends.xlstm.specs import Config
    from scaffold_backends.xlstm.states import States
    from scaffold_backends.xlstm.tokens import Vocabulary

    Piece: TypeAlias = tuple[Asked, Delta]
    Said: TypeAlias = tuple[int, int, Branch]  # the row that a branch comes from, the word that it said, and itself

_BURST_S = 0.01  # what was generated is handed over this often; a short answer is one piece
_PIECE = 256  # tokens of a prompt read before somebody may stop us


class Generation:
    """Requests under way together."""

    def __init__(
        self,
        asked: Sequence[Asked],
        *,
        model: XLSTM,
        vocabulary: Vocabulary,
        config: Config,
        states: States,
        signals: bool,
    ) -> None:
        """Begin.

        Args:
            asked: at least one.
            model: answers.
            vocabulary: the model's.
            config: the model's.
            states: prompts that were read before.
            signals: give figures about the inner state.
        """
        self.asked = asked
        self._model, self._vocabulary, self._states = model, vocabulary, states
        self._end = None if config.end is None else vocabulary.words.index(config.end)
        self._signals = signals

    def run(self) -> Iterator[list[Piece]]:
        """Generate, in bursts; the last Delta of each request has its usage. One that was stopped says no more.

        Raises:
            Stopped: all of them were.
        """
        state = self._read()
        branches = [asked.first for asked in self.asked]  # one for each row of the state
        until = time.monotonic() + _BURST_S
        for place in itertools.count():
            said = self._choose(state, branches, place)
            pieces = self._ended(state, [each for each in said if each[2].finish])
            said = [each for each in said if not each[2].finish]
            if not said:
                yield pieces
                return
            if pieces or time.monotonic() > until:
                yield pieces + [(branch.asked, delta) for _, _, branch in said for delta in branch.deltas()]
                until = time.monotonic() + _BURST_S
            said = self._wanted(said)
            branches = [branch for _, _, branch in said]
            before = [row for row, _, _ in said]
            if before != list(range(state.batch)):
                state = state.take(before)
            state = self._model.step(state, np.array([token for _, token, _ in said]))

    def _wanted(self, said: list[Said]) -> list[Said]:
        """Leave out whatever was stopped.

        Raises:
            Stopped: nothing is left.
        """
        if not any(asked.stopped for asked in self.asked):
            return said
        left = [each for each in said if not each[2].asked.stopped]
        if not left:
            raise Stopped
        return left

    def _read(self) -> State:
        """Read the prompts, or find them read; give a state with a row for each request."""
        found: dict[tuple[int, ...], State] = {}
        missing: dict[int, list[tuple[int, ...]]] = {}  # prompts by their length
        for asked in self.asked:
            prompt = tuple(asked.prompt)
            state = self._states.get(prompt)
            if state is not None:
                found[prompt], asked.cached = state, len(prompt)
            elif prompt not in missing.setdefault(len(prompt), []):
                missing[len(prompt)].append(prompt)
        for prompts in missing.values():
            state = self._encode(prompts)
            for row, prompt in enumerate(prompts):
                found[prompt] = state if state.batch == 1 else state.take([row])
                self._states.put(prompt, found[prompt])
        return joined([found[tuple(asked.prompt)] for asked in self.asked])

    def _encode(self, prompts: list[tuple[int, ...]]) -> State:
        """Read prompts of one length, as a batch."""
        tokens, state = np.array(prompts), None
        for first in range(0, tokens.shape[1], _PIECE):
            if all(asked.stopped for asked in self.asked):
                raise Stopped
            state = self._model.encode(tokens[:, first : first + _PIECE], state)
        assert state is not None  # noqa: S101 - a prompt has at least one token
        return state

    def _choose(self, state: State, branches: list[Branch], place: int) -> list[Said]:
        """Choose a word for each sample."""
        if self._signals:
            self._note(state.logits, branches)
        said = []
        for rows, weighed in self._weighed(state.logits, branches):
            for at, row in enumerate(rows):
                branch = branches[row]
                chosen = [weighed.choose(at, uniform(stream, place)) for _, stream in branch.samples]
                branch.asked.written += len(chosen)
                for token, part in branch.parts(chosen):
                    part.logprob += weighed.logprob(at, token)
                    part.take(*self._word(part, token))
                    said.append((row, token, part))
        return said

    @staticmethod
    def _weighed(logits: Array, branches: list[Branch]) -> Iterator[tuple[Sequence[int], Weighed]]:
        """Weigh the words: rows that are chosen from alike together, which most often are all."""
        alike: dict[tuple[float, bool], list[int]] = {}
        for row, branch in enumerate(branches):
            alike.setdefault((branch.asked.request.temperature, branch.place is not None), []).append(row)
        for (temperature, limited), rows in alike.items():
            limits = [branches[row].place or {} for row in rows] if limited else None
            yield rows, Weighed(logits if len(alike) == 1 else logits[rows], temperature, limits)

    def _word(self, branch: Branch, token: int) -> tuple[str, Finish | None]:
        """Return a token's text, and how the samples end with it."""
        if token == self._end:
            return "", "stop"
        asked = branch.asked
        text = self._vocabulary.text([token], first=not (branch.count or asked.begun))
        branch.count += 1
        if branch.place is not None:
            branch.place = branch.place[token]
            whole = not branch.place
        else:
            whole = asked.answer is not None and branch.count >= asked.answer
        if whole:
            return text, "stop"
        return text, "length" if branch.count >= asked.request.max_tokens else None

    @staticmethod
    def _note(logits: Array, branches: list[Branch]) -> None:
        entropy, margin = entropy_and_margin(logits)
        for branch, high, low in zip(branches, entropy.tolist(), margin.tolist(), strict=True):
            branch.entropy, branch.margin = max(branch.entropy, high), min(branch.margin, low)

    def _ended(self, state: State, ended: list[Said]) -> list[Piece]:
        """Return the last pieces of the samples that have ended."""
        # The answer is as sure as its least sure word; the memory is the one from which the last word was chosen.
        figures = self._model.signals(state) if self._signals and ended else []
        pieces: list[Piece] = []
        for row, _, branch in ended:
            asked = branch.asked
            sure = {"entropy": branch.entropy, "margin": branch.margin}
            deltas = branch.deltas(figures[row] | sure if figures else None)
            asked.alive -= 1
            if not asked.alive:
                usage = Usage(input=len(asked.prompt), output=asked.written, cached=asked.cached)
                deltas[-1] = msgspec.structs.replace(deltas[-1], usage=usage)
            pieces += [(asked, delta) for delta in deltas]
        return pieces
