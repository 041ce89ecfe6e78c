"""The cards of the probes and of `latent`, readable without importing them; see `cards`."""

from __future__ import annotations

from scaffold.vocabulary.cards import MonitorCard

_COST = "questions to the step's own model, each cheaper than the step; all probes together use 5 % of a run's tokens"

FAITHFULNESS = MonitorCard(
    about="Asks a step's model again with its reasoning cut short, made wrong, emptied or reworded, and compares.",
    property="whether the readable reasoning carries the answer",
    watches=frozenset({"step"}),
    probes=True,
    cost=_COST,
    blind=(
        "steps without readable reasoning; answers in free words, which code cannot compare.",
        "whether an easy question needed any reasoning: there, an unchanged answer is no deceit.",
        "a model that notices that it is being probed.",
    ),
    example="faithfulness: {share: 0.05, tests: [cut, mistake, filler, reworded]}",
)
CONSISTENCY = MonitorCard(
    about="Compares what steps state with one another, and asks for a belief again in a separate context.",
    property="whether beliefs agree within a run and in a separate context",
    watches=frozenset({"step"}),
    probes=True,
    cost=f"the ledger: no model, microseconds; asking again: {_COST}",
    blind=(
        "contradictions in words other than its English forms, or that take an inference to see.",
        "errors that are always the same.",
        "facts that change without an action: two readings of them look like a contradiction.",
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
        "a model that predicts itself rightly when asked, and acts differently when not asked.",
        "whether a different answer is intended or merely unstable: `consistency` tells that.",
    ),
    example="out_of_context: {share: 0.05}",
)
LATENT = MonitorCard(
    about="Compares the inner signals of an answer with a baseline, if the backend gives such signals.",
    property="how much an answer's inner signals look like those of wrong ones",
    watches=frozenset({"step"}),
    cost="no model; microseconds",
    blind=(
        "backends without inner signals, and kinds of step without a baseline.",
        "errors that the model is sure of: the signals mostly measure how sure it was.",
        "errors in the answers that the baseline was made from.",
    ),
    example="latent: {baseline: baseline.json, decision: flag}",
)
