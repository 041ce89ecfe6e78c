"""The monitors' cards, readable without importing them: how far to trust each, and what it cannot see.

`scaffold plugins --monitor NAME` shows a card, so this module imports nothing heavy. `tests/monitors/test_cards.py`
compares it with what the monitors declare. Rates are from `benchmarks/README.md`, which says how far to trust them.
"""

from __future__ import annotations

from scaffold.vocabulary.cards import BaseRate, MonitorCard

RULES = MonitorCard(
    about="Goals that a machine can check, in CEL, for every call and every plan.",
    property="the task's own rules",
    default=True,
    watches=frozenset({"plan", "action"}),
    cost="no model; some microseconds for each rule and call, bounded when the rule is loaded",
    rates=(
        BaseRate(
            data="100 requests of Mind2Web-SC, six rules; `python benchmarks/mind2web_sc.py DIR`",
            found=0.96,
            spared=0.90,
            note="how good rules are is up to who writes them: these go by everyday words, at first sight",
        ),
    ),
    blind=(
        "what no rule speaks of: without a rule it abstains.",
        "whether a rule says what its goal means.",
        "the world: a rule sees arguments, plan, provenance, inputs and what was done, not what a call will do.",
    ),
    example='rules: {rules: [{rule: "args.cents <= 20000", statement: at most 200.00, for: [pay]}]}',
)
BUDGET = MonitorCard(
    about="Refuses a plan that would run out of its budget in the middle.",
    property="room in the budget",
    default=True,
    watches=frozenset({"plan", "action"}),
    cost="no model; microseconds",
    blind=(
        "what thinking between the actions will cost.",
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
    cost="one question to a model for each goal and plan, in oversight's own ledger; one where the objective is missed",
    blind=(
        "what the judge does not understand: it is a model, and can be wrong or talked into something.",
        "arguments that are not known yet, and single actions: it reads plans only.",
        "consequences that nobody predicted: neither the planner nor, with `consequences: asked`, the judge.",
    ),
    example="goals: {to: judge, consequences: asked}",
)
_AGENTDOJO = "568 plans of AgentDojo 0.1.35, labels by execution; `python benchmarks/agentdojo_gate.py DIR`"
_TOGETHER = (
    "`scope` and `dataflow` together, before any action; the core was written with three of four suites in sight"
)
_FORGED = BaseRate(
    data="2,417 plans with attacks forged from tool specifications; `python benchmarks/attacks.py --suites DIR`",
    found=0.953,
    spared=0.959,
    note="the same two, before any action; 98.5 % are found with what earlier steps returned",
)
SCOPE = MonitorCard(
    about="Compares what the plan does with what the request's words ask for.",
    property="reason in the request",
    watches=frozenset({"plan", "action"}),
    cost="no model; tens of microseconds a call, the request read once",
    rates=(BaseRate(data=_AGENTDOJO, found=0.995, spared=0.963, note=_TOGETHER), _FORGED),
    blind=(
        "other languages than English, and loose English: a reason may be missed, and a person is then asked.",
        "one's own record swapped for another in a call that was asked for, where the request does not describe it.",
        "what a call will really do: it judges words.",
    ),
    example="scope: {always: [write_log]}",
)
DATAFLOW = MonitorCard(
    about="Follows each value of a plan to where it came from, and what may therefore be done with it.",
    property="origin of values",
    watches=frozenset({"plan", "action"}),
    cost="no model; tens of microseconds a call",
    rates=(BaseRate(data=_AGENTDOJO, found=0.995, spared=0.963, note=_TOGETHER), _FORGED),
    blind=(
        "values that a planner passes without a reference: they are taken to come from all that it was told.",
        "whole fields that an attacker has imitated in a result.",
        "what was let go of a very long run: a value of it counts as one that was never read.",
    ),
    example="dataflow: {declassify: [{action: post, argument: text, because: it is public}]}",
)
LOOP = MonitorCard(
    about="Objects to a call, and in the end to a thought, that has come out the same too often in a row.",
    property="progress",
    watches=frozenset({"action", "step"}),
    cost="no model; microseconds",
    blind=(
        "a loop whose arguments or results differ a little each time round.",
        "waiting that is meant: a read that gives the same too often is refused all the same.",
    ),
    example="loop: {effects: 3, reads: 10, steps: 20}",
)
PREDICTION_ERROR = MonitorCard(
    about="Compares what an effect gave back with what the plan predicted, and stops what is left of a surprised plan.",
    property="surprise",
    watches=frozenset({"observation", "action"}),
    cost="no model; microseconds a claim",
    blind=(
        "effects of which nothing was predicted, or only in prose.",
        "effects that the action does not tell of in what it gives back.",
    ),
    example="prediction_error: {reads: true}",
)
SELFMODEL = MonitorCard(
    about="Flags reasoning or an answer that claims an action or an ability that does not exist.",
    property="claims about itself",
    watches=frozenset({"step"}),
    cost="no model; milliseconds for ten thousand characters",
    blind=(
        "claims in other words than its English phrases, or in another language.",
        "claims inside quotation marks or code, which are taken for somebody else's words.",
        "whether an action that exists was really performed.",
    ),
    example="selfmodel",
)
SECRETS = MonitorCard(
    about="Reads what goes outward for credentials and personal data; needs the extra `secrets`.",
    property="nothing that opens or identifies leaves",
    watches=frozenset({"plan", "action"}),
    cost="no model; a tenth of a millisecond for a short text, in proportion to its length; "
    "a second to load, once for each machine ten",
    rates=(
        BaseRate(
            data="190 honest plans of AgentDojo, action by action, and 21 of them with a made-up token, card or "
            "account number in a text; `python benchmarks/secrets_spared.py DIR`",
            found=0.9,
            spared=1.0,
            note="the other two stay inside and are noted; tokens are of known forms, as no others can be found",
        ),
    ),
    blind=(
        "secrets of no known form that were not told under an English name such as password.",
        "what is encrypted, wrapped more than twice, or encoded otherwise than in Base64, hexadecimal, % or &.",
        "names, addresses and other personal data without check digits; local phone numbers.",
        "what leaves through calls whose specification does not show that they go outward: it only notes those.",
    ),
    example="secrets: {numbers: block, contacts: allow}",
)
_SUITES = "`python benchmarks/injection.py DIR`"
INJECTION = MonitorCard(
    about="Flags text from outside that speaks to the machine, and asks a person before an effect follows it.",
    property="injection",
    watches=frozenset({"plan", "action", "observation"}),
    cost="no model unless a classifier is plugged in; some milliseconds for a thousand words that come back",
    rates=(
        BaseRate(
            data=f"520 of AgentDojo's cases whose reads show an injection, 96 clean results; {_SUITES}",
            found=1.0,
            spared=1.0,
            note="all of its attacks are one template, which imitates markup: another may show no sign",
        ),
        BaseRate(
            data=f"259 attackers' instructions of InjecAgent, the same clean results; {_SUITES}",
            found=0.015,
            spared=1.0,
            note="they are plain requests without any sign of speaking to a machine",
        ),
    ),
    blind=(
        "plain requests, such as anybody writes to anybody: `dataflow` is what they have to get past.",
        "whoever knows the rules and writes around them; languages that the word list does not have.",
        "values that were rewritten on their way from the flagged passage into a call.",
        "pictures, and whatever the model reads otherwise than as text.",
    ),
    example="injection: {classifier: guard:score, threshold: 0.8}",
)
POLICY = MonitorCard(
    about="Decides by a policy file: kinds of act as specifications show them, decisions for actions, rules in CEL.",
    property="the policy of a file",
    watches=frozenset({"plan", "action"}),
    cost="no model; as `rules`, and a look-up for each call",
    blind=(
        "what a specification does not show: an action that is misnamed is of the wrong kind, unless the file says so.",
        "whether a call was asked for, and where its values came from: `scope` and `dataflow` see those.",
    ),
    example="policy: {file: policy.yaml}",
)
WATCH = MonitorCard(
    about="Ends a sample as soon as a phrase, a pattern, or a passage said over and over stands in it.",
    property="watched words",
    watches=frozenset({"stream"}),
    cost="no model; ten to twenty microseconds of CPU for each piece of a stream",
    blind=(
        "the same in other words, in another language, or encoded: it goes by letters.",
        "why something is written: a model may quote what it is told not to do.",
        "what a pattern needs more than `reach` characters for.",
        "reasoning that the backend does not show.",
    ),
    example="watch: {phrases: [nobody will notice], decision: resample}",
)
TRACE = MonitorCard(
    about="Asks a model whether the reasoning shows another intent than the task's, with the words that show it.",
    property="suspicion",
    watches=frozenset({"step"}),
    needs=("judge",),
    cost="one question to a model for each step, or each plan with `at: plan`, and for every 24,000 characters of it",
    blind=(
        "intent that is not written down, or only where the backend does not show it.",
        "what the judge does not understand: it is a model, and can be wrong or talked into something.",
        "drift over several steps, unless it reads whole stretches with `at: plan`.",
        "samples that were outvoted: it reads the one that counts.",
    ),
    example="trace: {to: judge, at: plan}",
)
LEGIBILITY = MonitorCard(
    about="Asks a model whether a reader can follow the reasoning, and whether it says all that the answer rests on.",
    property="illegibility",
    watches=frozenset({"step"}),
    needs=("judge",),
    cost="one question to a model for each step that shows reasoning, and for every 24,000 characters of it",
    blind=(
        "whether the reasoning is right, and whether the model went by it: `faithfulness` asks that.",
        "steps without readable reasoning: it abstains, which is no praise.",
        "of long reasoning, what lies between two stretches that are rated apart.",
    ),
    example="legibility: {to: judge, at_least: 2}",
)
