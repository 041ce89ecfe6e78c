"""Rules that cannot be checked are refused when the task is loaded, with the place and the cure."""

from __future__ import annotations

from typing import Any

import pytest

from scaffold.errors import TaskError
from scaffold.vocabulary.actions import ActionSpec
from scaffold.vocabulary.task import Task
from scaffold_monitors.rules import Rules


def fault(kit: Any, rule: str, **inputs: Any) -> TaskError:
    """The error that a rule is refused with."""
    task = Task.model_validate(
        {
            "prompt": "pay",
            "goals": [{"objective": "pay"}, {"constraint": "c", "rule": rule}],
            "inputs": {"accounts": ["acme"], **inputs},
        }
    )
    with pytest.raises(TaskError) as raised:
        Rules().check(task, kit.actions)
    return raised.value


@pytest.mark.parametrize(
    ("rule", "message", "column"),
    [
        ("args.cents <", "not a CEL expression", 12),
        ("arg.cents < 5", "did you mean 'args'?", 0),
        ("5 < cents", "'cents' is not a variable; expected one of inputs, action, args, provenance, plan", 4),
        ("args.cent < 5", "'cent' is not an argument of any action; did you mean 'cents'?", 5),
        ("action.nam == 'pay'", "action has no 'nam'; did you mean 'name'?", 7),
        ("action == 'pay'", "write action.name", 0),
        ("action.name == 'pya'", "there is no action 'pya'; did you mean 'pay'?", 15),
        ("action.name in ['pay', 'dlete']", "there is no action 'dlete'; did you mean 'delete'?", 23),
        ("action.effect != 'irreversable'", "did you mean 'irreversible'?", 17),
        ("args.account in inputs.acounts", "no input 'acounts'; did you mean 'accounts'?", 23),
        ("provenance.account.taint", "did you mean 'tainted'?", 19),
        ("plan.all(c, c.acton == 'pay')", "a planned call has no 'acton'; did you mean 'action'?", 14),
        ("plan.all(c, c.action != 'pya')", "did you mean 'pay'?", 24),
        ("plan.all(c, true) && c.id == 'a'", "'c' is not a variable", 21),
        ("plan.all(args, true)", "already has a meaning", 9),
        ("totl('pay', 'cents') < 5", "'totl' is not a function; did you mean 'total'?", 0),
        ("total('pya', 'cents') < 5", "there is no action 'pya'", 6),
        ("total('pay', 'cent') < 5", "'cent' is not an argument of action 'pay'; did you mean 'cents'?", 13),
        ("total('pay', 'memo') < 5", "'memo' of action 'pay' has type 'string'", 13),
        ("args.memo.matches('(')", "unclosed group", 18),
        ("args.memo.matches(args.account)", "must be written in the rule itself", 10),
        (r"args.memo.matches(r'\w{100}')", "too costly", 18),
        ("args.memo.matches('((a{20}){20}){20}')", "too costly", 18),
        ("plan.all(c, plan.all(d, plan.all(e, true)))", "nest at most two", 29),
        ("plan.map(c, c.id + c.id).size() > 0", "may only pick parts", 17),
        ("plan.map(c, [c, c]).size() > 0", "may only pick parts", 12),
        ("plan.map(c, plan).size() > 0", "may only pick parts", 12),
        ("plan.all(a, b, true)", "'b' is not a variable", 12),
        ("optional.none()", "", 0),
    ],
)
def test_points_at_the_fault(kit: Any, rule: str, message: str, column: int) -> None:
    """The error says what is wrong, where in the task, and points into the expression."""
    error = fault(kit, rule)
    assert message in str(error)
    assert error.path == ("goals", 1, "rule")
    source, caret = str(error).splitlines()[-2:]
    assert source.strip() == rule
    assert caret.index("^") - 4 == column


def test_a_rule_nested_beyond_reading_is_refused_in_words(kit: Any) -> None:
    """It says how deep rules may go, and nothing of the library's insides."""
    said = str(fault(kit, "(" * 200 + "true" + ")" * 200))
    assert "is nested too deeply, at most 96 levels are allowed: split it into several goals" in said
    assert "ParseError" not in said


@pytest.mark.parametrize(
    ("rule", "message", "column"),
    [
        ("args.cents + 'a' == 'x'", "'+' is not defined for int and string", 11),
        ("args.cents * 1.5 < 3.0", "write double(...) around the whole number", 11),
        ("args.cents", "it gives int, which is neither true nor false", 5),
        ("args.memo && true", "of type string, which is neither true nor false", 5),
        ("!args.memo", "of type string, which is neither true nor false", 6),
        ("args.cents ? true : false", "of type int, which is neither true nor false", 5),
        ("true ? args.cents : 'x'", "it gives int or string", 5),
        ("args.memo == 5", "string and int are never equal", 10),
        ("args.cents in inputs.accounts", "int and string are never equal", 11),
        ("args.account in args.memo", "'in' is not defined for string and string", 13),
        ("args.cents.size() > 1", "size() is not defined for int", 11),
        ("args.memo.startsWith(5)", "startsWith() is not defined for string and int", 10),
        ("args.memo[0] == 'a'", "a value of type string has nothing under a key of type int", 9),
        ("args.cents.name == 'x'", "a value of type int has no field 'name'", 11),
        ("args.cents.all(x, x > 1)", "all() goes through a list, but this is of type int", 11),
        ("inputs.accounts.all(a, a > 5)", "'>' is not defined for string and int", 25),
        ("inputs.accounts[0] > 5", "'>' is not defined for string and int", 19),
        ("inputs.limits.day < 'x'", "'<' is not defined for int and string", 18),
        ("inputs.limits['day'] < 'x'", "'<' is not defined for int and string", 21),
        ("plan.all(c, c.cost < 'x')", "'<' is not defined for double or int and string", 19),
        ("plan.all(c, c.args.cents < 'a')", "'<' is not defined for int and string", 25),
        ("provenance.account.tainted > 3", "'>' is not defined for bool and int", 27),
        ("total('pay', 'cents') + 'a' < 3", "'+' is not defined for double or int and string", 22),
        ("total('pay') < 5", "total() takes 2 values, but is given 1", 0),
        ("count(3) < 5", "count() takes a string here, but this is of type int", 6),
        ("clock('UTC') == '9:00'", "int and string are never equal", 13),
        ("timestamp('2024-01-01T00:00:00Z') < 5", "'<' is not defined for timestamp and int", 34),
        ("-args.memo == 'a'", "'-' is not defined for string", 0),
    ],
)
def test_what_no_call_could_keep_or_break_is_refused_at_its_place(
    kit: Any, rule: str, message: str, column: int
) -> None:
    """Types of inputs follow from the task, those of arguments from the actions' schemas."""
    error = fault(kit, rule, limits={"day": 5})
    assert message in str(error)
    source, caret = str(error).splitlines()[-2:]
    assert source.strip() == rule
    assert caret.index("^") - 4 == column


def test_types_are_checked_in_what_a_ready_rule_stands_for(kit: Any) -> None:
    """A limit that is a text, and a list of accounts held against an amount, are refused."""
    assert "'<=' is not defined for" in str(fault(kit, "at_most('pay', 'cents', inputs.who)", who="Ann"))
    assert "never equal" in str(fault(kit, "only('pay', 'cents', inputs.accounts)"))


@pytest.mark.parametrize(
    "rule",
    [
        "args.cents <= inputs.limits.day && args.cents < 5.5 && args.cents != 5u",
        "args.hours * 2.0 < 5.0 && args.hours * 2 < 5",
        "args.memo == null || dyn(args.cents) == 'a'",
        "inputs.mixed.all(m, m == 1 || m == 'a' || m > 2)",
        "inputs.empty.all(e, e > 5 && e.startsWith('x'))",
        "inputs.records.all(r, r.id != args.account && r.cents > 1)",
        "args.memo in {'a': 1} || 'cents' in args || args.all(name, name != 'memo')",
        "double(args.cents) * 1.5 < 3.0 || timestamp('2024-01-01T00:00:00Z').getHours() < 5",
        "provenance.account.sources.exists(s, s.startsWith('step')) || action.after.size() == 0",
        "[1, 'a', 2.5].exists(x, x == args.memo) && weekday() < 5",
        "args.path + args.memo != 'y' ? -args.cents < 0 : args.name_.contains('x')",
    ],
)
def test_what_some_call_could_keep_is_not_refused(kit: Any, rule: str) -> None:
    """Where a value can be of several types, or nothing is known of it, the check is left to the call."""
    more = {"limits": {"day": 5}, "mixed": [1, "a"], "empty": [], "records": [{"id": "a"}, {"id": "b", "cents": 2}]}
    goals = [{"constraint": "c", "rule": rule}]
    Rules().check(Task.model_validate({"prompt": "p", "goals": goals, "inputs": {"accounts": [], **more}}), kit.actions)


def test_types_of_arguments_are_those_of_their_schema() -> None:
    """Unions, references, choices and items; what a schema leaves open is open."""
    money = {"type": "object", "properties": {"cents": {"type": "integer"}}}
    schema = {
        "$defs": {"Money": money},
        "properties": {
            "sum": {"$ref": "#/$defs/Money"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "kind": {"enum": ["a", "b"]},
            "to": {"type": "array", "items": {"type": "string"}},
            "open": {},
        },
    }
    actions = {"move": ActionSpec(name="move", effect="irreversible", parameters=schema)}

    def check(rule: str) -> None:
        Rules().check(Task.model_validate({"prompt": "p", "goals": [{"constraint": "c", "rule": rule}]}), actions)

    for rule in (
        "args.sum.cents > 1",
        "args.note == null || args.note.size() > 1",
        "args.open > 1 || args.open == 'a'",
    ):
        check(rule)
    for rule in ("args.sum.cents == 'a'", "args.kind > 3", "args.to.all(t, t > 3)", "args.sum > 3", "args.note > 3"):
        with pytest.raises(TaskError):
            check(rule)


def test_points_into_the_right_line(kit: Any) -> None:
    """Of an expression of several lines, the one with the fault is shown."""
    source, caret = str(fault(kit, "args.cents < 5 &&\n  arg.cents > 0")).splitlines()[-2:]
    assert source.strip() == "arg.cents > 0"
    assert source.index("arg") == caret.index("^")


def test_expressions_are_short(kit: Any) -> None:
    """What nobody can read is refused before it is parsed."""
    assert "2,000" in str(fault(kit, " || ".join(["args.cents == 1"] * 200)))


def test_what_doubles_in_each_of_many_maps_is_refused(kit: Any) -> None:
    """Thirty maps that each double a list would take a thousand million steps."""
    assert "may only pick parts" in str(fault(kit, "[1]" + ".map(x, [x, x])" * 30 + ".size() > 0"))


def test_inputs_that_cannot_be_compared_exactly(kit: Any) -> None:
    """A number beyond 64 bits is refused where it stands."""
    task = Task.model_validate({"prompt": "pay", "inputs": {"id": 2**64}})
    with pytest.raises(TaskError, match="64 bits") as raised:
        Rules().check(task, kit.actions)
    assert raised.value.path == ("inputs",)


def test_a_fault_in_the_settings_points_there() -> None:
    """A further rule is checked as soon as the monitor is made."""
    with pytest.raises(TaskError) as raised:
        Rules(rules=[{"rule": "true &&", "statement": "s"}])
    assert raised.value.path == ("monitors", "rules", "rules", 0, "rule")


def test_for_is_about_calls() -> None:
    """A rule that speaks of no call cannot be limited to some."""
    with pytest.raises(TaskError, match="about single calls"):
        Rules(rules=[{"rule": "count('pay') < 2", "statement": "s", "for": ["pay"]}])


@pytest.mark.parametrize(
    "rule",
    [
        "args['account'] in inputs['accounts'] || !has(args.account)",
        "plan.exists_one(c, c.effect == 'irreversible') // at most one",
        r"args.memo.matches(r'^[a-z]{1,20}\.$')",
        "plan.map(c, c.args.cents).all(cents, cents + 1 < 5)",
        "args.memo.size() > 0 && args.memo.startsWith('x') && type(args.cents) == int",
        "'''args.nothing''' != \"inputs.nothing\"",
        "action.name != 'pay' ||\n args.cents < 5",
    ],
)
def test_proper_rules_load(kit: Any, rule: str) -> None:
    """What is in order is not refused."""
    goals = [{"constraint": "c", "rule": rule}]
    Rules().check(Task.model_validate({"prompt": "p", "goals": goals, "inputs": {"accounts": []}}), kit.actions)
