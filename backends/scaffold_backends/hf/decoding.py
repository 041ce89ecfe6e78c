"""The decoding loop: a prompt is read once, and its samples continue together from copies of the state.

transformers' own loop (`generate`) cannot continue from the state of every kind of model, nor copy it. All rows of a
step have the same number of tokens, so no mask is needed, which some models would ignore.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scaffold.vocabulary.models import Delta, Finish, Usage
from scaffold_backends.choices import normalised
from scaffold_backends.hf.caches import fork, memory_norms
from scaffold_backends.hf.choices import Choices
from scaffold_backends.hf.sampling import Sureness, checked, drawn, drawn_from, sureness_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scaffold.vocabulary.models import Request
    from scaffold_backends.hf.constraints import Constraint
    from scaffold_backends.hf.loading import Model
    from scaffold_backends.hf.prompts import Prompt
    from scaffold_backends.hf.text import SampleText

_PIECE = 512  # tokens of a prompt read at once; it can be stopped between pieces


@dataclass(frozen=True)
class Wanted:
    """What is to be reported about samples besides their text."""

    logprobs: bool = False
    signals: bool = False
    together: int = 8


@dataclass
class Sample:
    """One sample while it is generated.

    Attributes:
        index: its place in the request.
        source: random source of its tokens, seeded by its index alone.
        text: converts its tokens to text.
        limit: most tokens it may have.
        constraint: the constraint on its answer.
        used: number of its tokens so far.
        reasoned: how many of them were reasoning.
        sureness: how sure the model was.
        logprob: log-probability of the tokens whose text has not been passed on yet.
    """

    index: int
    source: random.Random
    text: SampleText
    limit: int
    constraint: Constraint | None = None
    used: int = 0
    reasoned: int = 0
    sureness: Sureness = field(default_factory=Sureness)
    logprob: float = 0.0

    def take(self, token: int, model: Model) -> tuple[str, str, Finish | None]:
        """Take a token; return the reasoning and the answer that it completes, and the finish if it was the last."""
        self.used += 1
        thinking = self.text.thinking
        if token in model.ends:
            return (*self.text.end(), "stop")
        self.reasoned += thinking
        whole = self.constraint is not None and not thinking and self.constraint.take(token)
        reasoning, answer = ("", "") if token in model.silent else self.text.feed(token)
        if not (whole or self.text.stopped or self.used >= self.limit):
            return reasoning, answer, None
        more_reasoning, more_answer = self.text.end()  # in which a stop text may stand
        finish: Finish = "stop" if whole or self.text.stopped else "length"
        return reasoning + more_reasoning, answer + more_answer, finish


class Decoding:
    """One request of one model. Runs in a thread, and checks `stopped` before each token."""

    def __init__(
        self,
        model: Model,
        request: Request,
        wanted: Wanted,
        emit: Callable[[Delta], object],
        stopped: Callable[[], bool],
    ) -> None:
        self._model = model
        self._request = request
        self._wanted = wanted
        self._emit = emit
        self._stopped = stopped
        self._unfinished = request.n
        self._prompt_tokens = 0
        self._spent = 0
        self._reasoned = 0
        self._choices = Choices(model, request.choices, self._step) if request.choices else None

    def run(self, prompt: Prompt, samples: Sequence[Sample]) -> None:
        """Generate all samples.

        Raises:
            BadResponse: the model's scores are not valid.
            ModelFileError: its state is of a kind that cannot be copied.
        """
        import torch

        self._prompt_tokens = len(prompt.tokens)
        with torch.inference_mode():
            read = self._read(prompt.tokens)
            if read is None:
                return
            logits, state = read
            together = self._wanted.together
            for first in range(0, len(samples), together):
                self._go_on(logits, state, samples[first : first + together], last=first + together >= len(samples))

    def _read(self, tokens: Sequence[int]) -> tuple[Any, Any] | None:
        """Read a prompt; return the logits after it, of shape (1, tokens), and the state; None if stopped."""
        import torch

        model, state, logits = self._model, None, None
        piece = _PIECE if model.family.resumes else len(tokens)
        only_last = {"logits_to_keep": 1} if model.keeps_last else {}
        for start in range(0, len(tokens), piece):
            if self._stopped():
                return None
            ids = torch.tensor([tokens[start : start + piece]], device=model.network.device)
            carried: dict[str, Any] = {} if state is None else {model.family.carries: state}
            out = model.network(input_ids=ids, use_cache=True, **carried, **only_last)
            logits, state = out.logits[:, -1].float(), getattr(out, model.family.carries, None)
        return logits, state

    def _step(self, tokens: Sequence[int], state: Any) -> tuple[Any, Any]:
        """Advance each row by one token; return logits of shape (rows, tokens), and the state."""
        import torch

        ids = torch.tensor(tokens, device=self._model.network.device).unsqueeze(1)
        carries = self._model.family.carries
        out = self._model.network(input_ids=ids, use_cache=True, **{carries: state})
        return out.logits[:, -1].float(), getattr(out, carries)

    def _go_on(self, logits: Any, state: Any, samples: Sequence[Sample], *, last: bool) -> None:
        """Generate some samples in parallel from the state after the prompt; unless `last`, later ones need it, too."""
        going, rows, height = list(samples), [0] * len(samples), 1
        while going and not self._stopped():
            checked(logits, self._model.name)
            tokens = self._next(going, rows, logits, state)
            rows = [row for row, token in zip(rows, tokens, strict=True) if token is not None]
            going = [sample for sample, token in zip(going, tokens, strict=True) if token is not None]
            if not going:
                return
            if rows != list(range(height)) or not last:
                state, last = fork(state, rows), True
            logits, state = self._step([token for token in tokens if token is not None], state)
            height = len(going)
            rows = list(range(height))

    def _next(self, going: Sequence[Sample], rows: Sequence[int], logits: Any, state: Any) -> list[int | None]:
        """Draw a token for each sample, and emit what it completes; None for a sample that has ended."""
        entropy, margin = sureness_of(logits) if self._wanted.signals else ([], [])
        totals = logits.logsumexp(-1).tolist() if self._wanted.logprobs else []
        norms: list[float] = []
        tokens: list[int | None] = []
        for sample, row in zip(going, rows, strict=True):
            if self._wanted.signals:
                sample.sureness.take(entropy[row], margin[row])
            token: int | None = None
            if self._choices is not None and not sample.text.thinking:
                answer, finish = self._choose(self._choices, sample, row, logits, state)
                reasoning = ""
            else:
                token = self._draw(sample, logits[row])
                if totals and self._choices is None:
                    sample.logprob += float(logits[row, token]) - totals[row]
                reasoning, answer, finish = sample.take(token, self._model)
            if finish is not None and self._wanted.signals and self._model.family.recurrent:
                norms = norms or memory_norms(state)
            self._tell(sample, reasoning, answer, finish, norms[row : row + 1])
            tokens.append(token if finish is None else None)
        return tokens

    def _draw(self, sample: Sample, scores: Any) -> int:
        if sample.constraint is not None and not sample.text.thinking:
            scores = sample.constraint.narrow(scores)
        return drawn(scores, self._request.temperature, sample.source)

    def _choose(self, choices: Choices, sample: Sample, row: int, logits: Any, state: Any) -> tuple[str, Finish | None]:
        """End a sample with one of the choices, drawn by their log-probabilities."""
        scores = choices.scores(row, logits, state, sample.limit - sample.used)
        place = drawn_from(scores, self._request.temperature, sample.source)
        sample.logprob = normalised(scores)[place]
        text, count, whole = choices.cut(place, sample.limit - sample.used)
        sample.used += count
        return text, "stop" if whole else "length"

    def _tell(self, sample: Sample, reasoning: str, answer: str, finish: Finish | None, norm: Sequence[float]) -> None:
        if not (reasoning or answer or finish):
            return
        usage, signals = None, None
        if finish is not None:
            self._spent += sample.used
            self._reasoned += sample.reasoned
            self._unfinished -= 1
            if not self._unfinished:
                usage = Usage(input=self._prompt_tokens, output=self._spent, reasoning=self._reasoned)
            if self._wanted.signals:
                signals = sample.sureness.signals() | ({"memory_norm": norm[0]} if norm else {})
        logprob = sample.logprob if self._wanted.logprobs else None
        sample.logprob = 0.0
        self._emit(Delta(sample.index, answer, reasoning, finish, usage, logprob, None, signals))
