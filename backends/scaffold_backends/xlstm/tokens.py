"""Converts texts to words of a small vocabulary, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scaffold.errors import BadRequest, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.vocabulary.models import Message

_MOST_NAMED = 5


class Vocabulary:
    """The words that a model knows, each a token with its place as number.

    Attributes:
        words: in order.
        glue: the separator between two of them in a text.
    """

    def __init__(self, words: Sequence[str], kind: Literal["words", "characters"]) -> None:
        self.words = tuple(words)
        self.glue = " " if kind == "words" else ""
        self._kind = kind
        self._places = {word: place for place, word in enumerate(self.words)}

    def tokens(self, text: str, what: str = "the prompt") -> list[int]:
        """Return a text's tokens; white space only parts words.

        Raises:
            BadRequest: it has words that the model does not know; names them.
        """
        parts = text.split() if self._kind == "words" else "".join(text.split())
        try:
            return [self._places[part] for part in parts]
        except KeyError:
            strange = list(dict.fromkeys(part for part in parts if part not in self._places))
        named = ", ".join(map(repr, strange[:_MOST_NAMED]))
        more = f" and {len(strange) - _MOST_NAMED} others" if len(strange) > _MOST_NAMED else ""
        raise BadRequest(
            f"{what} has {self._kind} that the model does not know: {named}{more}{nearest(strange[0], self.words)} "
            f"(it knows {len(self.words)}: {_few(self.words)})"
        )

    def text(self, tokens: Sequence[int], *, first: bool = True) -> str:
        """Convert tokens to text; unless it comes first, it begins with the separator."""
        written = self.glue.join(self.words[token] for token in tokens)
        return written if first or not tokens else self.glue + written


def _few(words: Sequence[str]) -> str:
    shown = 12
    return " ".join(words[:shown]) + (" ..." if len(words) > shown else "")


def bare_prompt(messages: Sequence[Message]) -> tuple[str, str]:
    """Return the text that the model reads, and the beginning of the answer that it goes on from.

    A small model reads just what it was trained on. So the prompt is the one user message as it is; what the system
    says is for models that read language, and is left out. A last message of the assistant is the answer's beginning.

    Raises:
        BadRequest: there is no user message, or there are several turns.
    """
    turns = [message for message in messages if message.role != "system"]
    roles = [turn.role for turn in turns]
    if roles == ["user"]:
        return turns[0].content, ""
    if roles == ["user", "assistant"]:
        return turns[0].content, turns[1].content
    raise BadRequest(
        "an xLSTM reads one user message, perhaps with the beginning of its answer, "
        f"not {' and '.join(roles) or 'none'}: put what it should read into one message"
    )
