"""Constrains decoding to a JSON Schema with the library llguidance.

See https://github.com/guidance-ai/llguidance. It gets the model's tokenizer, and gives at each step the tokens that
can continue a valid answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaffold.errors import BadRequest
from scaffold_backends.constraints import LLGUIDANCE, LONGEST_PER_TOKEN, bounded

if TYPE_CHECKING:
    from collections.abc import Collection


class Grammars:
    """Makes constraints for one model; its tokenizer is read once, which takes about a second."""

    def __init__(self, tokenizer: Any, width: int, ends: Collection[int]) -> None:
        """Read a tokenizer.

        Args:
            tokenizer: of transformers, with a `backend_tokenizer`.
            width: number of tokens that the model gives scores for.
            ends: the tokens that end an answer.
        """
        import llguidance

        self._library: Any = llguidance
        self._width = width
        self._vocabulary = llguidance.LLTokenizer(
            tokenizer.backend_tokenizer.to_str(), n_vocab=width, eos_token=sorted(ends) or None
        )

    def schema(self, schema: dict[str, Any], max_tokens: int) -> Constraint:
        """Begin an answer that fits a schema; strings and lists without bounds are bounded.

        Raises:
            BadRequest: it is not a schema, or llguidance cannot enforce it.
        """
        matcher: Any = self._library.LLMatcher
        narrowed = bounded(schema, LONGEST_PER_TOKEN * max_tokens, every=True)
        grammar = matcher.grammar_from_json_schema(narrowed, overrides=LLGUIDANCE)
        begun = matcher(self._vocabulary, grammar, log_level=0)
        if begun.is_error():
            raise BadRequest(f"answers cannot be restricted to this JSON Schema: {begun.get_error()[:300]}")
        return Constraint(begun, self._width)


class Constraint:
    """The constraint on one sample's next token."""

    def __init__(self, matcher: Any, width: int) -> None:
        self._matcher = matcher
        self._width = width

    def copy(self) -> Constraint:
        """Return a copy in the same state."""
        return Constraint(self._matcher.deep_copy(), self._width)

    def narrow(self, scores: Any) -> Any:
        """Set the logits (shape: tokens) of tokens that must not come next to minus infinity.

        Raises:
            BadRequest: no token may come, since llguidance gave up on the schema.
        """
        import torch

        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)[: len(scores)]
        if not allowed.any():
            raise self._broken()
        return scores.masked_fill(allowed.to(scores.device) == 0, float("-inf"))

    def take(self, token: int) -> bool:
        """Take the token that came; return whether the answer is complete.

        Raises:
            BadRequest: llguidance gave up on the schema.
        """
        if not self._matcher.consume_token(token):
            raise self._broken()
        return bool(self._matcher.is_stopped())

    def _broken(self) -> BadRequest:
        return BadRequest(f"the answer could not be restricted to its JSON Schema: {self._matcher.get_error()[:300]}")
