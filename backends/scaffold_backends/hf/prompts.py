"""Converts the turns of a request to tokens with the model's own chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaffold.errors import BadRequest
from scaffold.vocabulary.characters import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffold.vocabulary.models import Message

_APART = "\n\n"  # between the turns of a model without a chat template


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model gets it.

    Attributes:
        tokens: its tokens.
        thinking: whether the template has opened the model's reasoning, so that the answer begins with reasoning.
    """

    tokens: list[int]
    thinking: bool


def render(tokenizer: Any, messages: Sequence[Message]) -> Prompt:
    """Render turns in the form that the model was trained on.

    A last turn of the assistant is continued. Without a chat template (a base model), the texts follow one another,
    separated by blank lines.

    Raises:
        BadRequest: the template refuses these turns, or there is no text at all.
    """
    turns = [{"role": turn.role, "content": clean(turn.content)} for turn in messages]
    if not tokenizer.chat_template:
        text = _APART.join(turn["content"] for turn in turns)
        text += _APART if turns and turns[-1]["role"] != "assistant" else ""
        tokens = list(tokenizer(text, verbose=False)["input_ids"])
    else:
        text = _templated(tokenizer, turns)
        tokens = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if not tokens:
        raise BadRequest("the prompt is empty: a model needs at least one token to go on from")
    return Prompt(tokens, thinking=text.rstrip().endswith("<think>"))


def _templated(tokenizer: Any, turns: list[dict[str, str]]) -> str:
    import jinja2

    goes_on = bool(turns) and turns[-1]["role"] == "assistant" and bool(turns[-1]["content"])
    prefill = turns[-1]["content"] if goes_on else ""
    before = turns[:-1] if goes_on or (turns and turns[-1]["role"] == "assistant") else turns
    try:
        text: str = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
    except jinja2.TemplateError as error:
        merged = _without_system(before)
        if merged == before:
            raise BadRequest(f"the model's chat template refuses these turns: {error}") from error
        try:
            text = tokenizer.apply_chat_template(merged, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError as again:
            raise BadRequest(f"the model's chat template refuses these turns: {again}") from again
    return text + prefill


def _without_system(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put the system turn's text before the user's, for templates without a system role."""
    if len(turns) < 2 or turns[0]["role"] != "system" or turns[1]["role"] != "user":  # noqa: PLR2004 - system and user
        return turns
    first = {"role": "user", "content": f"{turns[0]['content']}{_APART}{turns[1]['content']}"}
    return [first, *turns[2:]]
