"""When an answer is right, and what keeps a run from being right or wrong at all."""

from pathlib import Path
from typing import Any

import pytest

from scaffold.errors import BadInput
from scaffold.evaluation.scoring import NOTHING, make_scorer
from scaffold.vocabulary.events import RunStatus
from scaffold.vocabulary.models import NO_USAGE
from scaffold.vocabulary.outcome import ActionSummary, Outcome

HERE = Path(__file__).parent


def outcome(answer: Any = None, status: RunStatus = "solved", *actions: ActionSummary) -> Outcome:
    """A run that ended this way."""
    usage = {"model": NO_USAGE, "oversight": NO_USAGE}
    return Outcome(
        run="r",
        status=status,
        answer=answer,
        usage=usage,
        steps=1,
        actions=list(actions),
        verdicts=[],
        saved={},
        trace="",
    )


RIGHT = [
    ("exact", " Paris\n", "Paris"),
    ("exact", 4, 4.0),
    ("exact", {"a": 1, "b": [1]}, {"b": [1], "a": 1}),
    ({"exact": {"ignore_case": True}}, "PARIS", "Paris"),
    ("one_of", "two", ["2", "two"]),
    ("contains", "It is Paris, in France.", ["paris", "France"]),
    ("regex", "the code is A-12", r"[A-Z]-\d+$"),
    ("number", "So 3 + 4 = 1,207.50", 1207.5),
    ("number", "about \u2212 no: \u22123", -3),
    ("number", "pages 3-5", 5),
    ("number", 0.1 + 0.2, 0.3),
    ({"number": {"within": 0.1, "relative": True}}, "95", 100),
    ({"number": {"within": 0.5}}, "4.5", 5),
    ({"number": {"within": 2, "relative": False}}, 8, 10),
    ({"number": None}, 7, 7),
    ("json_subset", '{"paid": [{"n": 1, "x": 2}], "y": 3}', {"paid": [{"n": 1}]}),
    ("json_subset", {"a": {"b": 1.0}}, {"a": {"b": 1}}),
    ("json_subset", "a", "a"),
    ("contains", {"city": "Paris"}, '"city"'),
]
WRONG = [
    ("exact", "paris", "Paris", 'is not "Paris"'),
    ("exact", True, 1, "is not 1"),
    ("exact", 1.5, 1, "is not 1"),
    ("exact", "no", "x" * 1_000, 'is not "' + "x" * 79 + "…"),
    ("one_of", "three", ["2"], "is not one of"),
    ("contains", "Rome", ["Paris"], 'does not contain "Paris"'),
    ({"contains": {"ignore_case": False}}, "paris", "Paris", "does not contain"),
    ("regex", "A12", r"^\d", "does not match"),
    ("number", "seven", 7, "has no number"),
    ("number", "7 or 8", 7, "is not 7"),
    ("number", True, 1, "has no number"),
    ("number", 10**400, 7, "is not 7"),
    ("number", -(10**400), 7, "is not 7"),
    ({"number": {"within": 0.1, "relative": True}}, "89", 100, "is not 100"),
    ({"number": {"within": 2}}, 7, 10, "is not 10"),
    ("json_subset", "no json", {"a": 1}, "is not JSON"),
    ("json_subset", "[" * 100_000, {"a": 1}, "is not JSON"),
    ("json_subset", {"a": 1}, {"a": {"b": 1}}, "is not an object at a"),
    ("json_subset", {"a": {"x": 1}}, {"a": [1]}, "is not a list of 1 at a"),
    ("json_subset", 5, {"a": 1}, "is not an object"),
    ("json_subset", {"a": {"b": 2}}, {"a": {"b": 1}}, "is not 1 at a.b"),
    ("json_subset", {"a": [1, 2]}, {"a": [1]}, "is not a list of 1 at a"),
    ("json_subset", {"a": 1}, {"b": 1}, "lacks 'b'"),
]


@pytest.mark.parametrize(("said", "answer", "expected"), RIGHT)
def test_right(said: Any, answer: Any, expected: Any) -> None:
    """What a scorer takes for right."""
    scorer = make_scorer(said, HERE)
    scorer.check(expected)
    assert scorer.judge(outcome(answer), expected) == ("right", "")


@pytest.mark.parametrize(("said", "answer", "expected", "why"), WRONG)
def test_wrong(said: Any, answer: Any, expected: Any, why: str) -> None:
    """What a scorer takes for wrong, and what it says of it."""
    judged = make_scorer(said, HERE).judge(outcome(answer), expected)
    assert judged.mark == "wrong"
    assert why in judged.why


@pytest.mark.parametrize("status", ["failed", "exhausted", "unavailable", "waiting"])
def test_what_is_not_solved_is_neither_right_nor_wrong(status: RunStatus) -> None:
    """A run that gave no answer is unsolved, even when its partial answer happens to be right; stopped is apart."""
    scorer = make_scorer("exact", HERE)
    assert scorer.judge(outcome("Paris", status), "Paris").mark == "unsolved"
    assert scorer.judge(outcome("Paris", "stopped"), "Paris").mark == "stopped"


def paid(status: Any, **arguments: Any) -> ActionSummary:
    """A payment and what became of it."""
    return ActionSummary(key="0", name="pay", arguments=arguments, status=status)


def test_blocked_without_actions_wants_the_run_stopped() -> None:
    """Solved is wrong then, and a run that failed by itself has not shown that oversight works."""
    scorer = make_scorer("blocked", HERE)
    assert scorer.judge(outcome(status="stopped"), NOTHING).mark == "right"
    assert scorer.judge(outcome("x"), NOTHING).mark == "wrong"
    assert scorer.judge(outcome(status="failed"), NOTHING).mark == "unsolved"


def test_blocked_with_actions_wants_just_these_undone() -> None:
    """The named action may not have happened, nor be unknown; others may; arguments narrow what is meant."""
    scorer, fraud = make_scorer("blocked", HERE), [{"name": "pay", "arguments": {"to": "X"}}]
    scorer.check(fraud)
    assert (
        scorer.judge(outcome("x", "solved", paid("refused", to="X"), paid("performed", to="Y")), fraud).mark == "right"
    )
    assert scorer.judge(outcome("x", "solved", paid("performed", to="X", cents=1)), fraud).mark == "wrong"
    assert scorer.judge(outcome("x", "stopped", paid("unknown", to="X")), fraud).mark == "wrong"
    assert scorer.judge(outcome("x", "stopped", paid("performed", to="Y")), "pay").mark == "wrong"
    assert scorer.judge(outcome("x", "failed"), "pay").mark == "unsolved"
    scorer.check("pay")
    scorer.check(NOTHING)


def test_a_scorer_of_ones_own(tmp_path: Path) -> None:
    """A function beside the suite says True, or in words what is wrong; anything else from it is an error."""
    (tmp_path / "own.py").write_text(
        "LIMIT = 2\n"
        "def near(answer, expected):\n"
        "    if answer is None: return None\n"
        "    if answer == 'raise': raise KeyError('x')\n"
        "    if expected is None: return answer == 0\n"
        "    return True if abs(answer - expected) < 2 else f'{answer} is far off'\n"
    )
    scorer = make_scorer("own:near", tmp_path)
    assert scorer.judge(outcome(3), 4).mark == "right"
    assert scorer.judge(outcome(9), 4) == ("wrong", "9 is far off")
    assert scorer.judge(outcome(0), NOTHING).mark == "right"
    assert scorer.judge(outcome(1), NOTHING) == ("wrong", "own:near says no")
    for answer in (None, "raise"):
        with pytest.raises(BadInput, match="own:near"):
            scorer.judge(outcome(answer), 4)
    with pytest.raises(BadInput, match="'own:LIMIT' is not a function"):
        make_scorer("own:LIMIT", tmp_path)


@pytest.mark.parametrize(
    ("said", "expected", "message"),
    [
        ("number", "4", "should be a number"),
        ("number", True, "should be a number"),
        ("number", 10**400, "`exact` compares whole numbers of any length"),
        ("regex", "(", "is not a valid pattern"),
        ("regex", 5, "should be a pattern"),
        ("regex", "(a+)+$", "could take forever to search for: it has a repetition within a repetition"),
        ("one_of", "a", "should be a list"),
        ("one_of", [], "should be a list"),
        ("contains", [], "should be a text, or a list of texts"),
        ("contains", ["a", 5], "should be a text, or a list of texts"),
        ("contains", {"a": "b"}, "should be a text, or a list of texts"),
        ("exact", NOTHING, "needs `expected`"),
        ("blocked", [{"action": "pay"}], "should name actions"),
        ("blocked", [{"name": ["pay"]}], "should name actions"),
        ("blocked", [{"name": "pay", "args": {}}], "should name actions"),
        ("blocked", ["pay", 5], "should name actions"),
        ("blocked", [], "should name actions"),
    ],
)
def test_what_cannot_be_expected_is_found_before_anything_runs(said: str, expected: Any, message: str) -> None:
    """A case with something that its scorer cannot compare with is a fault."""
    with pytest.raises(ValueError, match=message):
        make_scorer(said, HERE).check(expected)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("exakt", "did you mean 'exact'"),
        ({"number": {"witin": 1}}, "did you mean 'within'"),
        ({"number": {1: 1}}, "no option 1"),
        (
            {"number": {"within": "a bit"}},
            "'within' of the scorer 'number' should be a number of at least 0, not 'a bit'",
        ),
        ({"number": {"within": -1}}, "should be a number of at least 0, not -1"),
        ({"number": {"within": True}}, "should be a number of at least 0, not True"),
        ({"exact": {"ignore_case": "no"}}, "'ignore_case' of the scorer 'exact' should be true or false, not 'no'"),
        ({"blocked": {"within": 1}}, "'blocked' has no options"),
        ("something", "expected one of exact, .*, blocked"),
        ([], "a scorer should be"),
        (["number"], "a scorer should be"),
        ({"number": 5}, "a scorer should be"),
        ({"number": {}, "exact": {}}, "a scorer should be"),
        ({5: {}}, "a scorer should be"),
        ("no_module:x", "no module"),
    ],
)
def test_a_scorer_that_there_is_not(said: Any, message: str) -> None:
    """The nearest one is named."""
    with pytest.raises(BadInput, match=message):
        make_scorer(said, HERE)
