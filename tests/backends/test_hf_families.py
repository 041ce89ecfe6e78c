"""Copies of a model's state answer like the whole text, for every kind of model that the backend `hf` takes."""

from __future__ import annotations

from typing import Any

import pytest

from scaffold.errors import ModelFileError
from scaffold_backends.hf.caches import fork, memory_norms
from scaffold_backends.hf.families import FAMILIES, family_of

from . import tiny_hf

torch: Any = pytest.importorskip("torch")
pytest.importorskip("transformers")

# Some sum in another order step by step than all at once.
TOLERANCE = 2e-3
COPIES, STEPS = 8, 4


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_copies_answer_like_the_whole_text(kind: str) -> None:
    """Eight copies of one state, rows taken out and changed about on the way, give what their whole texts give.

    So do several tokens at once, where the family says that they may follow on a state.
    """
    family, network = FAMILIES[kind], tiny_hf.network(kind)
    source = torch.Generator().manual_seed(1)
    prompt = torch.randint(4, tiny_hf.TOKENS, (1, 19), generator=source)
    tails = torch.randint(4, tiny_hf.TOKENS, (COPIES, STEPS), generator=source)
    order = [5, 0, 7, 2, 3]
    with torch.inference_mode():
        wholes = network(input_ids=torch.cat([prompt.expand(COPIES, -1), tails], 1), use_cache=False).logits[:, 19:]
        state = getattr(network(input_ids=prompt, use_cache=True), family.carries)
        first = fork(state, [0] * COPIES)
        for step in range(STEPS):
            tokens = tails[:, step : step + 1] if step < 2 else tails[order, step : step + 1]
            if step == 2:
                first = fork(first, order)
            out = network(input_ids=tokens, use_cache=True, **{family.carries: first})
            first = getattr(out, family.carries)
            wanted = wholes[:, step] if step < 2 else wholes[order, step]
            assert (out.logits[:, -1] - wanted).abs().max() < TOLERANCE * wholes.std()
        # What was copied is untouched: it answers as if nothing had been copied.
        again = network(input_ids=tails[:1, :1], use_cache=True, **{family.carries: fork(state, [0])})
        assert (again.logits[0, -1] - wholes[0, 0]).abs().max() < TOLERANCE * wholes.std()
        assert bool(memory_norms(state)) <= family.recurrent
        if family.resumes:
            rest = network(input_ids=tails, use_cache=True, **{family.carries: fork(state, [0] * COPIES)}).logits
            assert (rest - wholes).abs().max() < TOLERANCE * wholes.std()


def test_memory_norms_are_those_of_each_row() -> None:
    """The norm of a row is the same whatever other rows there are, and differs between texts."""
    network = tiny_hf.network("xlstm")
    texts = torch.randint(4, tiny_hf.TOKENS, (3, 12), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        together = memory_norms(network(input_ids=texts, use_cache=True).cache_params)
        alone = [memory_norms(network(input_ids=text[None], use_cache=True).cache_params)[0] for text in texts]
        state = network(input_ids=texts, use_cache=True).cache_params
    assert together == pytest.approx(alone, rel=1e-3)
    assert len({round(norm, 3) for norm in together}) == 3
    by_hand = sum(float(tensors[0][1].norm()) ** 2 for tensors in state.rnn_state.values()) / len(state.rnn_state)
    assert together[1] == pytest.approx(by_hand**0.5, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "sizes", "why"),
    [
        ("recurrent_gemma", {}, "inside its layers"),
        ("rwkv", {}, "in batches"),
        ("bart", {}, "it has not been checked"),
        ("xlstm", {"hidden_size": 96, "qk_dim_factor": 0.5}, r"96 x 0.5 = 48, but should be a multiple of 64"),
    ],
)
def test_kinds_that_cannot_be_copied_are_refused(kind: str, sizes: dict[str, Any], why: str) -> None:
    """A kind whose copies are not known to be right, or whose sizes do not fit, is refused with the reason."""
    from transformers import AutoConfig

    with pytest.raises(ModelFileError, match=why):
        family_of(AutoConfig.for_model(kind, **sizes))


def test_unknown_states_are_refused() -> None:
    """A state of a class that is not known is refused, not copied by guess."""
    from transformers import StaticCache

    network = tiny_hf.network("llama")
    for state in (StaticCache(config=network.config, max_cache_len=8), [torch.zeros(1, 2)]):
        with pytest.raises(ModelFileError, match=type(state).__name__):
            fork(state, [0, 0])
