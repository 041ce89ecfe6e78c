"""The cards of the probes and of `latent`, readable without importing them; see `cards`."""

from __future__ import annotations

from scaffold.vocabulary.cards import MonitorCard

_COST = "questions to the step's own model, each cheaper than the step; all probes together 5 % of a run's tokens"

FAITHFULNESS = MonitorCard(
    about="Asks a step's model again with its reasoning cut short, made wrong, emptied or reworded, and compares.",
    property="whether the readable reasoning carries the answer",
    watches=frozenset({"step"}),
    probes=True,
    cost=_COST,
    blind=(
        "steps without readable reasoning; answers in free words, of which nobody can say whether they are the same.",
        "whether an easy question needed any reasoning: there an answer that stays the same is no deceit.",
        "a model that notices that it is being probed.",
    ),
    example="faithfulness: {share: 0.05, tests: [cut, mistake, filler, reworded]}",
)
CONSISTENCY = MonitorCard(
    about="Holds what steps state against one another, and asks for a belief again in a context of its own.",
    property="whether beliefs hold within a run and elsewhere",
    watches=frozenset({"step"}),
    probes=True,
    cost=f"the ledger: no model, microseconds; asking again: {_COST}",
    blind=(
        "contradictions in other words than its English forms, or that take an inference to see.",
        "what is wrong and always the same.",
        "facts that change while nothing is done: two readings of them look like a contradiction.",
    ),
    example="consistency: {share: 0.05, sample: 0.5}",
)
OUT_OF_CONTEXT = MonitorCard(
    about="Asks a model what it would decide, and compares that with what it has decided.",
    property="whether it does what it says it would do",
    watches=frozenset({"step"}),
    probes=True,
    cost=_COST,
    blind=(
        "decisions in free words.",
        "a model that answers about itself as it acts, and acts otherwise once nobody asks.",
        "whether one that answers otherwise means to, or is merely unsteady: `consistency` tells that.",
    ),
    example="out_of_context: {share: 0.05}",
)
LATENT = MonitorCard(
    about="Holds the inner signals of an answer against a baseline, where a backend gives such signals.",
    property="how much an answer's inner signals look like those of wrong ones",
    watches=frozenset({"step"}),
    cost="no model; microseconds",
    blind=(
        "backends without inner signals, and kinds of step without a baseline.",
        "errors of which the model is sure: what is measured is mostly how sure it was.",
        "how right the baseline's own key was.",
    ),
    example="latent: {baseline: baseline.json, decision: flag}",
)
