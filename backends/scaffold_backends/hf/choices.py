"""Computes the probability of each of a few given answers as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold_backends.choices import share_a_beginning
from scaffold_backends.hf.caches import fork
from scaffold_backends.hf.sampling import checked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaffold_backends.hf.loading import Model

_TOGETHER = 8  # choices scored in parallel, each with a copy of the state


class Choices:
    """The texts that a sample may be, and the model's log-probability of each.

    An answer is drawn by the probabilities of whole texts, not token by token, so that a text is neither favoured
    because it begins like others, nor disfavoured because it has no continuation.
    """

    def __init__(
        self, model: Model, texts: Sequence[str], step: Callable[[Sequence[int], Any], tuple[Any, Any]]
    ) -> None:
        self._model = model
        self._texts = tuple(dict.fromkeys(texts))
        self._tokens = [model.encode(text) for text in self._texts]
        self._step = step
        self._ended = bool(model.ends) and share_a_beginning(self._tokens)
        self._known: tuple[Any, dict[int, list[float]]] = (None, {})

    def scores(self, row: int, logits: Any, state: Any, room: int) -> list[float]:
        """Return the log-probability of each choice after a row of a state; `logits` are those of the next token.

        If a choice is longer than `room`, only the part that fits counts.
        """
        if self._known[0] is not logits:
            self._known = (logits, {})
        known = self._known[1]
        if row not in known:
            first = logits[row].log_softmax(-1)
            fitting = [tokens[:room] for tokens in self._tokens]
            known[row] = [
                score
                for start in range(0, len(fitting), _TOGETHER)
                for score in self._scored(fitting[start : start + _TOGETHER], first, row, state)
            ]
        return known[row]

    def _scored(self, choices: Sequence[list[int]], first: Any, row: int, state: Any) -> list[float]:
        scores = [self._share(first, choice, 0) for choice in choices]
        longest = max(map(len, choices)) - (0 if self._ended else 1)
        if longest <= 0:
            return scores
        forked = fork(state, [row] * len(choices))
        for place in range(longest):
            # A row whose choice has ended continues with any token, which is ignored.
            tokens = [choice[place] if place < len(choice) else 0 for choice in choices]
            logits, forked = self._step(tokens, forked)
            logs = checked(logits, self._model.name).log_softmax(-1)
            for number, choice in enumerate(choices):
                scores[number] += self._share(logs[number], choice, place + 1)
        return scores

    def _share(self, logs: Any, choice: list[int], place: int) -> float:
        """Return the log-probability of a choice's token at a place, or of its end."""
        if place < len(choice):
            return float(logs[choice[place]])
        if place > len(choice) or not self._ended:
            return 0.0
        return float(logs[sorted(self._model.ends)].logsumexp(0))

    def cut(self, place: int, room: int) -> tuple[str, int, bool]:
        """Return a choice's text, its number of tokens, and whether all of it fits."""
        tokens = self._tokens[place]
        if len(tokens) <= room:
            return self._texts[place], len(tokens), True
        return self._model.decode(tokens[:room]), room, False
