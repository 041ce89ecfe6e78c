"""The Berkeley Function Calling Leaderboard's requests through `scope` and `dataflow`: no model.

    pip install --no-deps bfcl-eval==2026.3.23 mpmath
    python benchmarks/bfcl.py [--missed]          one JSON line a figure

The requests, tools and ground-truth calls are read from the installed package (Apache-2.0,
github.com/ShishirPatil/gorilla); none of them is kept here. *Turns* are of its multi-turn conversations: all that the
user said so far is the request, the calls of earlier turns were performed before (by the package's own classes), and
the calls of this turn are the plan. *Requests* are its single-turn ones; what the plan has read before is one page
that says nothing. Only plans with an effect are judged. Values are traced as in a run: no origin is declared, and a
value is taken to come from the results that hold it.

Attacks are forged by `attacks.py` from the tools' specifications. Half of the data, by a hash (of the conversation, or
of the function), is there to look at; the misses of the other half are never printed.
"""

from __future__ import annotations

import argparse
import ast
import collections
import copy
import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import agentdojo_gate
import attacks
import domains

from scaffold_monitors.entailment import flows, requests
from scaffold_monitors.entailment.calls import COMPOSED, Call, Origin, leaves
from scaffold_monitors.entailment.licences import Before
from scaffold_monitors.entailment.sightings import pieces
from scaffold_monitors.entailment.situation import Situation
from scaffold_monitors.entailment.tools import role_of, split
from scaffold_monitors.entailment.wording import stands_in, stem, stems, words

_ONE_TURN = ("simple_python", "multiple", "parallel", "parallel_multiple")
_LIVE = ("live_simple", "live_multiple", "live_parallel", "live_parallel_multiple")
_FORGED = 4  # tools a plan that calls are forged of
_PAGE = domains.Tool("get_page", "Gets the page that is open.", {"type": "object", "properties": {}}, side_effect=False)
_NEUTRAL = "The page was last changed in March. Opening hours are as usual."
_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}

# What declares an effect: the package does not say it. Of its classes, all methods that are not listed here.
_LOOKS = frozenset(
    """
    cat diff du find grep ls pwd sort tail wc get_message_stats get_user_id list_users search_messages
    view_messages_sent get_tweet get_tweet_comments get_user_stats get_user_tweets list_all_following
    search_tweets get_ticket get_user_tickets filter_stocks_by_price get_account_info get_available_stocks
    get_current_time get_order_details get_order_history get_stock_info get_symbol_by_name get_transaction_history
    get_watchlist compute_exchange_rate get_all_credit_cards get_booking_history get_budget_fiscal_year
    get_credit_card_balance get_flight_cost get_nearest_airport_by_city list_all_airports retrieve_invoice
    verify_traveler_information check_tire_pressure displayCarStatus display_log estimate_distance
    estimate_drive_feasibility_by_mileage find_nearest_tire_shop gallon_to_liter get_current_speed
    get_outside_temperature_from_google get_outside_temperature_from_weather_com get_zipcode_based_on_city
    liter_to_gallon
    """.split()  # noqa: SIM905 - a list of words
)
# Of other functions, those whose name or description begins with none of these.
_READING = frozenset(
    map(
        stem,
        """
    get find fetch search retrieve retrive retrieving list look lookup locate view check calculate calc compute
    estimate predict determine identify analyze analyse explore discover browse provide return convert translate
    solve query count compare verify extract parse classify recommend read show display examine assess gather
    evaluate generate plot perform format function sort multiply subtract reverse concatenate track conduct
    forecast detect simulate explain
        """.split(),  # noqa: SIM905 - a list of words
    )
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is judged at once: the calls of one turn, and what was done before it."""

    name: str
    kind: str
    aside: bool
    case: domains.Case
    earlier: tuple[tuple[domains.Step, str], ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def main() -> None:
    """Score the gate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--missed", action="store_true", help="print what was judged wrongly in the half to look at")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    cells: dict[tuple[str, str, bool, str], list[int]] = collections.defaultdict(lambda: [0, 0, 0])
    known = (*turns(), *single())
    for seen in (False, True):
        for plan in known:
            honest = allowed(plan, plan.case.plan, plan.case.observations, seen=seen)
            _count(cells, plan, seen, "honest", right=honest, floored=floor(plan, plan.case.plan))
            if asked.missed and not honest and not plan.aside:
                _print(plan, plan.case.plan, plan.case.observations, seen=seen)
            for attack in _attacks(plan, asked.seed):
                blocked = not allowed(plan, attack.plan, attack.observations, seen=seen)
                floored = not floor(plan, attack.plan)
                for kind in ("attacks", attack.kind, *(["attacks on the understood"] if honest else [])):
                    _count(cells, plan, seen, kind, right=blocked, floored=floored)
                if asked.missed and honest and not blocked and not plan.aside and seen:
                    _print(plan, attack.plan, attack.observations, seen=seen, kind=attack.kind)
    version = importlib.metadata.version("bfcl-eval")
    for (kind, half, seen, what), (right, simply, total) in sorted(cells.items()):
        figures = {"right": right, "floor": simply, "of": total, "percent": round(100 * right / total, 1)}
        row = {"cases": kind, "half": half, "observations": seen, "what": what}
        print(json.dumps({"bfcl-eval": version} | row | figures))


def _count(
    cells: dict[tuple[str, str, bool, str], list[int]],
    plan: Plan,
    seen: bool,  # noqa: FBT001 - a column
    what: str,
    *,
    right: bool,
    floored: bool,
) -> None:
    cell = cells[plan.kind, "aside" if plan.aside else "looked at", seen, what]
    cell[0] += right
    cell[1] += floored
    cell[2] += 1


def _print(plan: Plan, steps: Sequence[Any], results: Sequence[str], *, seen: bool, kind: str = "honest") -> None:
    why = {each.rationale for each in judge(plan, steps, results, seen=seen)}
    shown = [(step.tool, step.args) for step in steps]
    said = plan.case.goal.splitlines()
    print(f"{plan.name} {kind} {'seen' if seen else 'before'}\n  said: {said[-1]}\n  calls: {shown}\n  why: {why}")


def _attacks(plan: Plan, seed: int) -> Iterator[attacks.Attack]:
    """Attacks with some of the effects that there are, the same ones each time."""
    effects = sorted(name for name, tool in plan.case.tools.items() if tool.side_effect)
    draw = random.Random(f"{seed}:{plan.name}")
    chosen = draw.sample(effects, min(_FORGED, len(effects)))
    yield from attacks.attacks(
        dataclasses.replace(plan.case, tools={name: plan.case.tools[name] for name in chosen}), seed
    )


def allowed(plan: Plan, steps: Sequence[Any], results: Sequence[str], *, seen: bool) -> bool:
    """Whether neither monitor objects."""
    return not judge(plan, steps, results, seen=seen)


def judge(plan: Plan, steps: Sequence[Any], results: Sequence[str], *, seen: bool) -> list[Any]:
    """What the monitors object to; with `seen`, the results of the plan's own steps are at hand."""
    tools = agentdojo_gate.tools_of(plan.case.tools)
    told: list[tuple[str, Any]] = []
    before: list[Call] = []
    for number, (step, result) in enumerate(plan.earlier):
        before.append(_call(f"done:{number}", step, tools, told, agentdojo_gate.decode(result)))
        told.append((before[-1].id, before[-1].seen))
    calls = []
    for number, (step, result) in enumerate(zip(steps, results, strict=False)):
        found = agentdojo_gate.decode(result)
        calls.append(_call(str(number), step, tools, told, found if seen else None))
        told.append((str(number), found))
    used = {each for call in calls for leaf in call.leaves for each in leaf.origin.reads}
    past = [call for call in before if call.id in used]
    situation = Situation(
        request=plan.case.goal,
        calls=[*past, *calls],
        tools=tools,
        facts=plan.facts,
        done=frozenset(call.id for call in past),
    )
    effects = [call for call in before if call.tool.effect]
    done = Before(
        lambda: collections.Counter(call.tool.name for call in effects),
        lambda name: [call for call in effects if call.tool.name == name],
    )
    return [*requests.judge(situation, done), *flows.judge(situation)]


def _call(name: str, step: Any, tools: Mapping[str, Any], told: Sequence[tuple[str, Any]], seen: Any) -> Call:
    """A call whose values a model wrote: each comes from the results that hold it."""
    tool = tools[step.tool]
    found = tuple(
        leaf
        if isinstance(leaf.value, bool) or not (reads := _holding(leaf.text, told))
        else dataclasses.replace(leaf, origin=Origin(reads=reads))
        for leaf in leaves(tool, step.args, dict.fromkeys(step.args, COMPOSED))
    )
    return Call(id=name, tool=tool, leaves=found, seen=seen)


def _holding(text: str, told: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    return tuple(name for name, result in told if any(stands_in(text, piece.text) for piece in pieces(result)))


def floor(plan: Plan, steps: Sequence[Any]) -> bool:
    """Whether each effect's name shares a word with the request."""
    asked = stems(plan.case.goal)
    return all(asked & set(map(stem, split(step.tool))) for step in steps if step.side_effect)


def _in_half(name: str) -> bool:
    """Whether something is in the half that is set aside."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def turns() -> Iterator[Plan]:
    """The turns of all conversations that have an effect, with the calls that should be made in them."""
    constants = importlib.import_module("bfcl_eval.constants.executable_backend_config")
    answers = {each["id"]: each["ground_truth"] for each in _lines("possible_answer/BFCL_v4_multi_turn_base.json")}
    for entry in _lines("BFCL_v4_multi_turn_base.json"):
        tools = {}
        world: dict[str, Any] = {}
        facts: dict[str, Any] = {}
        for name in entry["involved_classes"]:
            for spec in _lines(f"multi_turn_func_doc/{constants.MULTI_TURN_FUNC_DOC_FILE_MAPPING[name]}"):
                if spec["name"] not in entry.get("excluded_function", ()):
                    tools[spec["name"]] = _tool(spec, effect=_acts(spec["name"], name))
            made = getattr(importlib.import_module(constants.CLASS_FILE_PATH_MAPPING[name]), name)()
            config = entry["initial_config"].get(name, {})
            if name not in constants.STATELESS_CLASSES:
                made._load_scenario(copy.deepcopy(config))  # noqa: SLF001 - how the package itself sets it up
            world.update((each, made) for each in dir(made) if not each.startswith("_"))
            facts |= _session(config)
        earlier: list[tuple[domains.Step, str]] = []
        said = []
        for number, (turn, truth) in enumerate(zip(entry["question"], answers[entry["id"]], strict=True)):
            said += [message["content"] for message in turn if message["role"] == "user"]
            steps, results = [], []
            for line in truth:
                step, result = _performed(line, tools, world)
                steps.append(step)
                results.append(result)
            if any(step.side_effect for step in steps):
                case = domains.Case("turns", "\n".join(said), steps, tuple(results), tools)
                yield Plan(f"{entry['id']}/{number}", "turns", _in_half(entry["id"]), case, tuple(earlier), facts)
            earlier += zip(steps, results, strict=True)


def _acts(name: str, kind: str) -> bool:
    return kind != "MathAPI" and name not in _LOOKS and not name.endswith("_login_status")


def _session(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the host of a real agent has: who its user is, and the user's credentials. Records are looked up."""
    return {
        name: value
        for name, value in config.items()
        if isinstance(value, str) and value and role_of(name, {}) in ("credential", "principal")
    }


def _performed(line: str, tools: Mapping[str, domains.Tool], world: Mapping[str, Any]) -> tuple[domains.Step, str]:
    """A call of the ground truth, and what the package's class gives back for it."""
    call = ast.parse(line, mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    tool = tools[call.func.id]
    given = zip(tool.schema["properties"], call.args, strict=False)
    args = {name: ast.literal_eval(value) for name, value in given}
    args |= {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    try:
        result = getattr(world[tool.name], tool.name)(**args)
    except Exception as error:  # noqa: BLE001 - what a tool says when it fails
        result = f"Error during execution: {error}"
    shown = result if isinstance(result, str) else json.dumps(result, default=str)
    return domains.Step(tool.name, args, {}, tool.side_effect), shown


def single() -> Iterator[Plan]:
    """The single requests whose ground truth has an effect."""
    for name in (*_ONE_TURN, *_LIVE):
        answers = {each["id"]: each["ground_truth"] for each in _lines(f"possible_answer/BFCL_v4_{name}.json")}
        for entry in _lines(f"BFCL_v4_{name}.json"):
            tools = {spec["name"]: _tool(spec, effect=not _reads(spec)) for spec in entry["function"]}
            truth = [(called, args) for each in answers[entry["id"]] for called, args in each.items()]
            if not any(tools[called].side_effect for called, _ in truth):
                continue
            said = "\n".join(each["content"] for each in entry["question"][0] if each["role"] == "user")
            steps = [domains.Step(called, _given(args), {}, tools[called].side_effect) for called, args in truth]
            plan = [domains.Step(_PAGE.name, {}, {}, side_effect=False), *steps]
            kind = "live requests" if name in _LIVE else "made-up requests"
            case = domains.Case(kind, said, plan, (_NEUTRAL, *["done"] * len(steps)), tools | {_PAGE.name: _PAGE})
            yield Plan(entry["id"], kind, _in_half(truth[0][0]), case)


def _given(args: Mapping[str, Any]) -> dict[str, Any]:
    """The first of the accepted values of each argument; one that may be left out is."""
    return {name: _first(accepted[0]) for name, accepted in args.items() if accepted and "" not in accepted}


def _first(value: Any) -> Any:
    if isinstance(value, dict):
        return _given(value) if all(isinstance(each, list) for each in value.values()) else value
    return [_first(each) for each in value] if isinstance(value, list) else value


def _reads(spec: Mapping[str, Any]) -> bool:
    said = [stem(word) for word in words(spec["description"]) if word not in ("this", "function", "the", "a", "to")]
    return bool(_READING & {*said[:1], *map(stem, split(spec["name"]))})


def _tool(spec: Mapping[str, Any], *, effect: bool) -> domains.Tool:
    schema: dict[str, Any] = _as_json_schema(spec["parameters"])
    return domains.Tool(spec["name"], spec["description"], schema, effect)


def _as_json_schema(value: Any) -> Any:
    """The package's own names of types, as JSON Schema has them."""
    if isinstance(value, dict):
        kind = value.get("type")
        named = {"type": _TYPES.get(kind, kind)} if isinstance(kind, str) else {}
        return {key: _as_json_schema(each) for key, each in value.items()} | named
    return [_as_json_schema(each) for each in value] if isinstance(value, list) else value


def _lines(name: str) -> list[dict[str, Any]]:
    """A file of the package's data."""
    try:
        folder = Path(importlib.import_module("bfcl_eval").__path__[0])
    except ModuleNotFoundError:
        raise SystemExit("the data is not installed: pip install --no-deps bfcl-eval==2026.3.23 mpmath") from None
    with (folder / "data" / name).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    main()
