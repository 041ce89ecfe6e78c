"""The monitors' cards, readable without importing them: how far to trust each, and what it cannot see.

`scaffold plugins --monitor NAME` shows a card, so this module imports nothing heavy. `tests/monitors/test_cards.py`
compares it with what the monitors declare. Rates are from `benchmarks/README.md`, which says how far to trust them.
"""

from __future__ import annotations

from scaffold.vocabulary.cards import BaseRate, MonitorCard

RULES = MonitorCard(
    about="Checks goals and limits written as CEL rules, for every call and every plan.",
    property="the task's own rules",
    default=True,
    watches=frozenset({"plan", "action"}),
    cost="no model; a few microseconds per rule and call, bounded when the rule is loaded",
    rates=(
        BaseRate(
            data="100 requests of Mind2Web-SC, six rules; `python benchmarks/mind2web_sc.py DIR`",
            found=0.96,
            spared=0.90,
            note="rules are as good as their author: these were written once, in everyday words",
        ),
    ),
    blind=(
        "what no rule covers: without a rule it abstains.",
        "whether a rule says what its goal means.",
        "what a call will really do: a rule sees arguments, plan, provenance, inputs and what was done.",
    ),
    example='rules: {rules: [{rule: "args.cents <= 20000", statement: at most 200.00, for: [pay]}]}',
)
BUDGET = MonitorCard(
    about="Refuses a plan that would exceed the budget before its end.",
    property="remaining budget",
    default=True,
    watches=frozenset({"plan", "action"}),
    cost="no model; microseconds",
    blind=(
        "the cost of thinking between the actions.",
        "plans of other branches that have not begun.",
        "costs that an action does not declare.",
    ),
    example="budget",
)
GOALS = MonitorCard(
    about="Asks a model whether the plan serves each objective and keeps to each constraint and principle.",
    property="fit with the stated goals",
    watches=frozenset({"plan"}),
    needs=("judge",),
    cost="one question to a model per goal and plan, in the oversight ledger; only one if the objective is missed",
    blind=(
        "what the judge does not understand: it is a model, and can be wrong or be persuaded.",
        "arguments that are not known yet, and single actions: it reads plans only.",
        "consequences that nobody predicted: neither the planner nor, with `consequences: asked`, the judge.",
    ),
    example="goals: {to: judge, consequences: asked}",
)
_AGENTDOJO = "568 plans of AgentDojo 0.1.35, labels by execution; `python benchmarks/agentdojo_gate.py DIR`"
_TOGETHER = "`scope` and `dataflow` together, before any action; the core was developed on three of the four suites"
_FORGED = BaseRate(
    data="2,417 plans with attacks forged from tool specifications; `python benchmarks/attacks.py --suites DIR`",
    found=0.953,
    spared=0.959,
    note="the same two, before any action; with the results of earlier steps, 98.5 % are found",
)
SCOPE = MonitorCard(
    about="Checks that the words of the request ask for what the plan does.",
    property="asked for by the request",
    watches=frozenset({"plan", "action"}),
    cost="no model; tens of microseconds per call, the request is parsed once",
    rates=(BaseRate(data=_AGENTDOJO, found=0.995, spared=0.963, note=_TOGETHER), _FORGED),
    blind=(
        "languages other than English, and loose English: it may miss a reason, and then asks a person.",
        "a record of the user's swapped for another in a call that was asked for, if the request does not describe it.",
        "what a call will really do: it judges words.",
    ),
    example="scope: {always: [write_log]}",
)
DATAFLOW = MonitorCard(
    about="Traces each value of a plan to its source, and checks whether that source allows its use.",
    property="origin of values",
    watches=frozenset({"plan", "action"}),
    cost="no model; tens of microseconds per call",
    rates=(BaseRate(data=_AGENTDOJO, found=0.995, spared=0.963, note=_TOGETHER), _FORGED),
    blind=(
        "values that a planner passes without a reference: they count as coming from all that it was told.",
        "whole fields that an attacker imitates in a result.",
        "results dropped in a very long run: their values count as never read.",
    ),
    example="dataflow: {declassify: [{action: post, argument: text, because: it is public}]}",
)
LOOP = MonitorCard(
    about="Objects to a call or question that has had the same result too often in a row.",
    property="progress",
    watches=frozenset({"action", "step"}),
    cost="no model; microseconds",
    blind=(
        "a loop whose arguments or results differ a little each time.",
        "intended polling: a read that returns the same result too often is refused too.",
    ),
    example="loop: {effects: 3, reads: 10, steps: 20}",
)
PREDICTION_ERROR = MonitorCard(
    about="Compares an action's result with the plan's prediction, and stops the rest of the plan if they differ.",
    property="surprise",
    watches=frozenset({"observation", "action"}),
    cost="no model; microseconds per claim",
    blind=(
        "actions without a prediction, or with a prediction in prose.",
        "effects that the action's result does not show.",
    ),
    example="prediction_error: {reads: true}",
)
SELFMODEL = MonitorCard(
    about="Flags reasoning or an answer that claims an action or an ability that does not exist.",
    property="claims about actions and abilities",
    watches=frozenset({"step"}),
    cost="no model; milliseconds for ten thousand characters",
    blind=(
        "claims in words other than its English phrases, or in another language.",
        "claims inside quotation marks or code, which count as quoted from somebody else.",
        "whether an action that exists was really performed.",
    ),
    example="selfmodel",
)
SECRETS = MonitorCard(
    about="Finds credentials and personal data in what leaves; needs the extra `secrets`.",
    property="no credentials or personal data leave",
    watches=frozenset({"plan", "action"}),
    cost="no model; a tenth of a millisecond for a short text, in proportion to its length; "
    "a second to load, ten seconds the first time on a machine",
    rates=(
        BaseRate(
            data="190 honest plans of AgentDojo, action by action, and 21 of them with a made-up token, card or "
            "account number in a text; `python benchmarks/secrets_spared.py DIR`",
            found=0.9,
            spared=1.0,
            note="the other two stay inside and are noted; tokens have known formats, as no others can be found",
        ),
    ),
    blind=(
        "secrets of no known format and without an English label such as password.",
        "what is encrypted, encoded more than twice, or encoded other than in Base64, hexadecimal, % or &.",
        "names, addresses and other personal data without check digits; local phone numbers.",
        "what leaves through calls whose specification does not show that they send anything out: it only notes those.",
    ),
    example="secrets: {numbers: block, contacts: allow}",
)
_SUITES = "`python benchmarks/injection.py DIR`"
INJECTION = MonitorCard(
    about="Flags untrusted text that addresses the agent, and asks a person before an effect follows it.",
    property="injection",
    watches=frozenset({"plan", "action", "observation"}),
    cost="no model unless a classifier is plugged in; a few milliseconds per thousand words of a result",
    rates=(
        BaseRate(
            data=f"520 of AgentDojo's cases whose reads show an injection, 96 clean results; {_SUITES}",
            found=1.0,
            spared=1.0,
            note="all of its attacks use one template, which imitates markup: others may show no sign",
        ),
        BaseRate(
            data=f"259 attackers' instructions of InjecAgent, the same clean results; {_SUITES}",
            found=0.015,
            spared=1.0,
            note="they are plain requests without any sign that they address an agent",
        ),
    ),
    blind=(
        "plain requests, such as people write to one another: `dataflow` checks what follows from those.",
        "attackers who know the rules and write around them; languages that are not in the word list.",
        "values that were rewritten on their way from the flagged passage into a call.",
        "pictures, and whatever else the model does not read as text.",
    ),
    example="injection: {classifier: guard:score, threshold: 0.8}",
)
POLICY = MonitorCard(
    about="Decides by a policy file: by kinds of act that specifications show, by action, and by CEL rules.",
    property="compliance with the policy file",
    watches=frozenset({"plan", "action"}),
    cost="no model; as `rules`, and one look-up per call",
    blind=(
        "what a specification does not show: a misnamed action gets the wrong kind, unless the file corrects it.",
        "whether a call was asked for, and where its values came from: `scope` and `dataflow` see those.",
    ),
    example="policy: {file: policy.yaml}",
)
WATCH = MonitorCard(
    about="Ends a sample as soon as it contains a phrase, a pattern, or a passage repeated too often.",
    property="watched words",
    watches=frozenset({"stream"}),
    cost="no model; ten to twenty microseconds of CPU per piece of a stream",
    blind=(
        "the same in other words, in another language, or encoded: it compares letters.",
        "why something is written: a model may quote what it is told not to do.",
        "matches of a pattern longer than `reach` characters.",
        "reasoning that the backend does not show.",
    ),
    example="watch: {phrases: [nobody will notice], decision: resample}",
)
TRACE = MonitorCard(
    about="Asks a model whether the reasoning shows an intent other than the task's, and for the words that show it.",
    property="suspicion",
    watches=frozenset({"step"}),
    needs=("judge",),
    cost="one question to a model per step, or per plan with `at: plan`, for every 24,000 characters of it",
    blind=(
        "intent that is not written down, or only where the backend does not show it.",
        "what the judge does not understand: it is a model, and can be wrong or be persuaded.",
        "drift over several steps, unless it reads whole stretches with `at: plan`.",
        "outvoted samples: it reads only the winning one.",
    ),
    example="trace: {to: judge, at: plan}",
)
LEGIBILITY = MonitorCard(
    about="Asks a model whether a reader can follow the reasoning, and whether it says all that the answer rests on.",
    property="illegibility",
    watches=frozenset({"step"}),
    needs=("judge",),
    cost="one question to a model per step that shows reasoning, for every 24,000 characters of it",
    blind=(
        "whether the reasoning is right, and whether the model used it: `faithfulness` tests that.",
        "steps without readable reasoning: it abstains, which does not mean that they are fine.",
        "in long reasoning, the connection between stretches that are rated separately.",
    ),
    example="legibility: {to: judge, at_least: 2}",
)
