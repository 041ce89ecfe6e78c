"""A mind for tests of `deliberate`: answers each step by its kind and by what it is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scaffold.errors import BackendError
from scaffold.vocabulary.models import Request

UNDERSTOOD = {"wanted": "pay invoice 7", "facts": ["invoice 7 is 120 cents"], "unknown": []}
_KINDS = {
    "You restate": "understand",
    "You propose how": "propose",
    "You foresee": "predict",
    "You hold one thing": "evaluate",
    "You check whether": "verify",
    "You answer what": "answer",
}


def way(summary: str, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A way as a model writes it."""
    return {
        "summary": summary,
        "calls": [{"action": name, "arguments": arguments} for name, arguments in calls],
    }


class Mind:
    """Answers each step.

    Args:
        ways: what it proposes, one after another; the last again and again.
        judgements: for words that all occur in an evaluation, its answer; the first that fits counts.
        surprise: what it says of a result that was not as expected; empty when all were.
        answer: its final answer.

    Attributes:
        asked: kind and prompt of every step.
    """

    def __init__(
        self,
        ways: Sequence[Any],
        judgements: Mapping[Any, str] | None = None,
        *,
        surprise: str = "",
        answer: str = "",
    ) -> None:
        self.asked: list[tuple[str, str]] = []
        self._ways = list(ways)
        self._judgements = dict(judgements or {})
        self._surprise = surprise
        self._answer = answer

    def __call__(self, request: Request) -> str:
        system, prompt = request.messages[0].content, request.messages[-1].content
        kind = next(kind for words, kind in _KINDS.items() if words in system)
        self.asked.append((kind, prompt))
        said: object = getattr(self, "_final" if kind == "answer" else f"_{kind}")(prompt)
        return said if isinstance(said, str) else json.dumps(said)

    def prompts(self, kind: str) -> list[str]:
        """What steps of one kind were asked."""
        return [prompt for each, prompt in self.asked if each == kind]

    def _understand(self, _prompt: str) -> Any:
        return UNDERSTOOD

    def _propose(self, _prompt: str) -> Any:
        return self._ways.pop(0) if len(self._ways) > 1 else self._ways[0]

    def _predict(self, prompt: str) -> Any:
        calls = [line.split(": ", 1)[1] for line in prompt.splitlines() if line.startswith("call-")]
        return {"expected": [f"as {call}" for call in calls], "outcome": "done"}

    def _evaluate(self, prompt: str) -> str:
        for words, said in self._judgements.items():
            if all(word in prompt for word in words):
                return str(said)
        return "fully" if "this objective" in prompt else "keeps"

    def _verify(self, _prompt: str) -> Any:
        return {"as_expected": not self._surprise, "difference": self._surprise}

    def _final(self, _prompt: str) -> str:
        if not self._answer:
            raise BackendError("nobody expected a final answer")
        return self._answer
