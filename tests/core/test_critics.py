"""Critics in code: what they accept is so; what they cannot check they have not accepted."""

from __future__ import annotations

import asyncio
import cProfile
import ctypes
import gc
import sys
import threading
import time
from collections.abc import Coroutine
from fractions import Fraction
from inspect import CORO_CLOSED, getcoroutinestate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaffold.critics import (
    all_limited,
    equations,
    fits_schema,
    in_quotation_marks,
    limited,
    passes_tests,
    pattern,
    quantity,
    quoted_from,
)
from scaffold.critics.arithmetic import evaluate
from scaffold.errors import BadInput

# --- arithmetic


@pytest.mark.parametrize(
    "text",
    [
        "12 * (3 + 4) = 84",
        "First 2 + 2 = 4, then 4 - 9 = -5.",
        "2^10 = 1,024",
        "x = 2 + 2 = 4",
        "0.1 + 0.2 = 0.3",
        "50% = 1/2",
        "007 = 7",
        "6 ÷ 4 = 1.5",
        "The total (3 * 4 = 12) is right.",
        "- 2 + 2 = 4\n- 3 + 3 = 6",
        "1) 2 + 2 = 4",
        "**2 + 2 = 4**",
        "- 2 + 2 = 0",
        "2 + 2 == 4",
        "It is 15% of 200 = 30, and 1 + 1 = 2.",
        "10 / 5% = 200",
        "2\u00a0+\u00a02 = 4",
        "-2^2 = -4 = -(2^2)",
        "2^3^2 = 512 and 2^-1 * 3 = 1.5",
    ],
)
def test_equations_that_hold_are_accepted(text: str) -> None:
    """Both sides are worked out exactly, wherever the equation stands in the text."""
    assert equations()(text) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 + 2 = 5", "'2 + 2 = 5' is wrong: 4 is not 5"),
        ("2 + 2 = 4 = 5", "4 is not 5"),
        ("1 + 1 = 2, 2 + 2 = 5", "4 is not 5"),
        ("1 / 0 = 1", "it divides by zero"),
        ("9**9**9**9 = 1", "a power is too large"),
        ("10 // 3 = 3", "not an expression of numbers"),
        ("(" * 2000 + "1" + ")" * 2000 + " = 1", "too long"),
        ("1/3 = 0.333", "is not"),
        ("four", "it states 0 equations, but needs at least 1"),
        ("1 + 1 = 2. **2 + 2 = 5**", "4 is not 5"),
        ("1 + 1 = 2. $2 + 2 = 5$", "4 is not 5"),
        ("1 + 1 = 2. \\(2 + 2 = 5\\)", "4 is not 5"),
        ('1 + 1 = 2. "2+2=5"', "4 is not 5"),
        ("1 + 1 = 2. Is 2+2=5?", "4 is not 5"),
        ("- 2 + 2 = 5", "0 is not 5"),
        ("2 + 2 = 5; so it goes", "4 is not 5"),
        ("2 + 2 = 5\u2014or so", "4 is not 5"),
        ("<b>2 + 2 = 5</b>", "4 is not 5"),
        ("7 % 3 = 1", "not an expression of numbers"),
        ("2 * x = 4", "0 equations"),
        ("3 apples + 4 = 7", "0 equations"),
        (4, "it should be text"),
    ],
)
def test_equations_that_do_not_hold_or_cannot_be_worked_out_are_refused(text: Any, said: str) -> None:
    """What is wrong, too large, or states no equation is told; nothing of the text is run."""
    assert said in str(equations()(text))


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf")])
def test_a_tolerance_that_is_none_is_bad_input(tolerance: float) -> None:
    """Nothing lies within NaN, and everything within infinity: either is a slip."""
    with pytest.raises(BadInput, match="`tolerance` should be a number of at least 0"):
        equations(tolerance=tolerance)
    with pytest.raises(BadInput, match="`tolerance` should be a number of at least 0"):
        quantity("m", equal="1 m", tolerance=tolerance)


def test_an_amount_too_large_for_a_number_is_not_the_one_wanted() -> None:
    """What overflows on the way to the wanted unit has been checked, and refused."""
    for number in "05":
        text = f"{number} Ym**9*Ym**9*Ym**9/m**9/m**9/m**8"
        assert "is not the expected amount" in str(quantity("m", equal="5 m")(text))


def test_rounded_answers_need_a_tolerance() -> None:
    """With a tolerance the sides may differ by so much of the larger one."""
    assert equations(tolerance=0.01)("1/3 = 0.333") is True
    assert equations(tolerance=0.0001)("1/3 = 0.333") is not True


@settings(deadline=None)
@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda e: st.tuples(e, st.sampled_from("+-*/"), e).map("({0[0]}{0[1]}{0[2]})".format),
    )
)
def test_working_out_agrees_with_python(expression: str) -> None:
    """For every expression of small numbers the result is Python's own, in fractions."""
    numbers = {"Fraction": Fraction}
    as_fractions = "".join(f"Fraction({each})" if each.isdigit() else each for each in _tokens(expression))
    try:
        expected = eval(as_fractions, numbers)  # noqa: S307 - made here, of digits, signs and brackets
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            evaluate(expression)
    else:
        assert evaluate(expression) == expected


def _tokens(expression: str) -> list[str]:
    import re

    return re.findall(r"\d+|[-+*/()]", expression)


@pytest.mark.parametrize("text", ["1 " * 200_000, "1=" * 200_000, "(" * 400_000])
def test_a_text_made_to_take_long_does_not(text: str) -> None:
    """Time goes with the length of the text."""
    started = time.perf_counter()
    equations()(text)
    assert time.perf_counter() - started < 5


def test_what_is_nested_or_chained_deep_is_worked_out_once() -> None:
    """Neither a hundred divisions inside one another nor a thousand signs keep anybody busy, or break off."""
    assert equations()("1/(" * 100 + "2" + ")" * 100 + " = 2") is True
    assert equations()("-" * 900 + "1 = 1") is True
    assert equations()("1+" * 490 + "1 = 491") is True


def test_many_equations_take_as_long_as_they_are_many() -> None:
    """A hundred thousand on a megabyte are a matter of seconds: each takes fewer than a hundred calls."""

    def calls(many: int) -> int:
        profile = cProfile.Profile()
        assert profile.runcall(equations(least=many), "1 + 1 = 2\n" * many) is True
        return sum(entry.callcount for entry in profile.getstats())

    assert calls(400) - calls(200) < 100 * 200


def test_the_work_on_one_text_is_bounded() -> None:
    """Large numbers, many times over, end with a refusal, never with a pass or with hours."""
    said = str(equations(tolerance=1)("7^6000/3^9000 = 7^6001/3^9000\n" * 30_000))
    assert "the equations of the text take too long to compute" in said


# --- patterns, schemas, units, quotations


def test_a_pattern_that_blows_up_elsewhere_takes_no_time() -> None:
    """What keeps a backtracking engine busy for ages is decided at once."""
    started = time.perf_counter()
    assert "does not match" in str(pattern(r"(a+)+b")("a" * 100_000))
    assert "does not match" in str(pattern(r"(\w+\s?)*!", whole=False)("word " * 20_000))
    assert time.perf_counter() - started < 2


def test_patterns_match_the_whole_or_a_part() -> None:
    """The whole text is meant unless said otherwise; what is no text does not match."""
    assert pattern(r"\d{4}-\d\d")("2026-11") is True
    assert pattern(r"\d{4}-\d\d")("2026-11-22") is not True
    assert pattern(r"\d{4}-\d\d", whole=False)("on 2026-11-22") is True
    assert pattern(r"\d+")(2026) is not True
    with pytest.raises(BadInput, match="not a regular expression"):
        pattern("(")


def test_a_schema_says_all_that_does_not_fit_and_where() -> None:
    """JSON in a text, and values, are held against it; each fault has its place."""
    check = fits_schema(
        {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {"minimum": 3}}}
    )
    assert check('{"a": 1, "b": 3}') is True
    assert check({"a": 1}) is True
    assert check({"a": "x", "b": 1}) == 'a: "x" is not of type "integer"; b: 1 is less than the minimum of 3'
    assert "is not JSON" in str(check('{"a": 1'))
    assert "is not JSON" in str(check('{"a": NaN}'))
    assert "is not JSON" in str(check("[" * 100_000))


def test_a_schema_fetches_nothing_and_has_to_be_one() -> None:
    """A reference to the network, and what is no schema, are faults when the critic is made."""
    with pytest.raises(BadInput, match="not a valid JSON Schema"):
        fits_schema({"$ref": "http://127.0.0.1:9/none"})
    with pytest.raises(BadInput, match="nonsense"):
        fits_schema({"type": "nonsense"})


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("5000 m", True),
        ("5.0e3 metre", True),
        ("5 km", True),
        ("5001 m", False),
        ("5 kg", False),
        ("5", False),
        ("5 m^2", False),
    ],
)
def test_quantities_have_the_kind_and_the_amount(text: str, *, accepted: bool) -> None:
    """Any unit of the right kind will do; another kind or amount will not."""
    assert (quantity("m", equal="5 km")(text) is True) is accepted


@pytest.mark.parametrize(
    "text",
    ["five", "5 " + "k" * 10_000, "5 m*" + "m*" * 99 + "m", "5 m; import os", "5 m**999999999", "9" * 99 + " m", 5],
)
def test_what_is_no_quantity_is_refused(text: Any) -> None:
    """Nothing but a number and a short unit is handed to the library."""
    assert "is not a quantity" in str(quantity("m")(text))


def test_a_unit_that_there_is_not_is_bad_input() -> None:
    """The critic is not made; the message says which unit."""
    with pytest.raises(BadInput, match="florps"):
        quantity("florps")
    with pytest.raises(BadInput, match="5 kg"):
        quantity("m", equal="5 kg")


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('he said “a” and "b"', ["a", "b"]),
        ("„a“ und „b”, ”c” och »d«", ["a", "b", "c", "d"]),
        ("«a „b“ c» 「d」『e』", ["a „b“ c", "b", "d", "e"]),
        ("“he said “no” there”", ["he said “no” there", "no"]),
        ('“he is 5" tall”', ['he is 5" tall']),
        ("5 ” and nothing else", []),
    ],
)
def test_quotation_marks_are_of_many_kinds(text: str, quoted: list[str]) -> None:
    """As several languages write them, one within another, and what only looks like one."""
    assert in_quotation_marks(text) == quoted


def test_a_long_word_is_looked_for_once() -> None:
    """Not at each of its letters, of which none begins a word."""
    begun = time.process_time()
    assert quoted_from("a" * 300_000)("a" * 150_000) is not True
    assert time.process_time() - begun < 8  # 15 s at each letter, 0.6 at the beginnings of words


def test_what_no_critic_can_read_is_refused() -> None:
    """Half a character, a value of another kind: the word of a critic, and nothing raised."""
    half = "\ud800"
    assert "lone surrogate" in str(pattern("a+")(half))
    assert "not a JSON value" in str(fits_schema({"type": "string"})('"\\ud800"'))
    assert "not a JSON value" in str(fits_schema({})(object()))
    assert "no quotations" in str(quoted_from("x")(3))
    assert len(str(fits_schema({"type": "string"})(list(range(10_000))))) < 400
    with pytest.raises(BadInput, match="should be a mapping"):
        fits_schema(3)  # type: ignore[arg-type]


def test_quotations_have_to_occur_in_the_source() -> None:
    """White space and the shape of quote marks do not count; every word does."""
    source = "The lift has been\n out of order  since May. It\u2019s quiet."
    assert quoted_from(source)("lift has been out of order") is True
    assert quoted_from(source)(["It's quiet", "since May"]) is True
    assert quoted_from(source)(["It's quiet", "since June"]) == "the source does not contain 'since June'"
    assert "0 quotations" in str(quoted_from(source)([]))
    assert quoted_from(source)("") is not True
    prose = quoted_from(source, quotes=in_quotation_marks)
    assert prose('They say “out of order” and "It\'s quiet".') is True
    assert prose("They say “in order”.") is not True


@pytest.mark.parametrize(
    ("quote", "occurs"),
    [
        ("paid 12", True),
        ("paid 1", False),
        ("2 euros", False),
        ("12.50", True),
        ("fee 12", False),
        ("50 in all", False),
        ("euro", False),
        ("uros for", False),
        ("in all.", True),
        ("电梯", True),
        ("梯坏", True),
    ],
)
def test_a_quotation_cuts_no_word_and_no_number_short(quote: str, occurs: bool) -> None:  # noqa: FBT001 - a case's outcome
    """Else `1` would be quoted from `12`; where a script has no words to cut, any part of it will do."""
    check = quoted_from("We paid 12 euros for it, and a fee 12.50 in all. 电梯坏了")
    assert (check(quote) is True) == occurs


# --- programs

ADDS = "assert add(1, 2) == 3"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def add(a, b): return a + b", True),
        ("def add(a, b): return a - b", "fails the tests: AssertionError (line 1 of the tests)"),
        ("def add(", "SyntaxError"),
        ("import os; os._exit(0)", "it exited before the tests had finished"),
        ("raise SystemExit(0)", "SystemExit"),
        ("print('x' * 10**6)", "wrote more than"),
        ("x = bytearray(10**11)", "MemoryError"),
        ("import socket; socket.create_connection(('127.0.0.1', 9), 1)", "unreachable"),
        ("open('big', 'wb').write(bytes(10**8))", "File too large"),
        ("import os; print(os.environ); assert 0", "AssertionError"),
    ],
)
def test_programs_pass_their_tests_or_are_told_why_not(code: str, said: object) -> None:
    """Only code that lets the tests run to their end has passed; limits hold on output, memory, files and network."""
    found = asyncio.run(_checked(passes_tests(ADDS, seconds=20), code))
    assert found is True if said is True else str(said) in str(found)


@pytest.mark.parametrize(
    "does",
    ["os.chroot('.')", "os.chown('.', 1, 1)", "os.setuid(1)", "open('/dev/mem', 'rb')"],
)
def test_a_program_has_no_powers_of_roots(does: str) -> None:
    """Whoever runs it, code is refused what only root may do, and keeps its folder."""
    refused = "except OSError:\n    open('mine', 'w').close()\n"
    code = f"import os\ntry:\n    {does}\n{refused}else:\n    raise SystemExit(1)\n"
    assert asyncio.run(_checked(passes_tests("assert os.path.exists('mine')", seconds=20), code)) is True


def test_a_program_writes_in_its_own_folder_only(tmp_path: Path) -> None:
    """What its user could write elsewhere it cannot, nor remove, nor end who called it; it may write into nothing."""
    kept = tmp_path / "kept"
    kept.write_text("whole")
    tmp_path.chmod(0o777)
    kept.chmod(0o666)
    harm = ["open(kept, 'w')", "open(kept + '2', 'w')", "os.remove(kept)", "os.truncate(kept, 0)"]
    tries = "".join(f"try:\n    {each}\nexcept OSError:\n    refused += 1\n" for each in harm)
    code = f"import os\nkept, refused = {str(kept)!r}, 0\n{tries}open(os.devnull, 'w').write('x')\n"
    version = ctypes.CDLL(None).syscall(444, None, 0, 1) if sys.platform == "linux" else 0
    if version < 1:
        pytest.skip("this system has no Landlock")
    if version >= 6:
        code += "try:\n    os.kill(os.getppid(), 0)\n    refused = 0\nexcept OSError:\n    pass\n"
    said = asyncio.run(_checked(passes_tests("assert refused == 4", seconds=20), code))
    assert (said, kept.read_text()) == (True, "whole")


def test_what_a_program_started_elsewhere_is_not_waited_for() -> None:
    """A process that left the session and holds the output open takes no more than the time there is."""
    leaves = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(30)\n    os._exit(0)\n"
    begin = time.monotonic()
    assert asyncio.run(_checked(passes_tests("", seconds=0.1), leaves)) is not True
    assert time.monotonic() - begin < 25


def test_a_check_that_is_given_up_leaves_nothing_behind() -> None:
    """When it is cancelled, its process is gone before the event loop is: nothing is said of it afterwards."""

    async def given_up() -> None:
        checking = asyncio.create_task(_checked(passes_tests("", seconds=30), "import time; time.sleep(30)"))
        await asyncio.sleep(0.3)
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking

    asyncio.run(given_up())
    gc.collect()  # what was left open would be found, and say so


@pytest.mark.parametrize(
    ("tests", "limits", "said"),
    [
        ("assert (", {}, "not Python"),
        ("def test_add():\n    assert False", {}, "never call it"),
        (ADDS, {"seconds": 0}, "`seconds` should be a number above 0"),
        (ADDS, {"seconds": float("nan")}, "`seconds`"),
        (ADDS, {"megabytes": -1}, "`megabytes`"),
    ],
)
def test_tests_that_say_nothing_are_bad_input(tests: str, limits: dict[str, Any], said: str) -> None:
    """Tests that can never pass, or never fail, are found when the critic is made."""
    with pytest.raises(BadInput, match=said):
        passes_tests(tests, **limits)


def test_a_program_that_never_ends_is_ended() -> None:
    """Time is limited, busy or idle, and the event loop goes on meanwhile."""

    async def both() -> list[Any]:
        check = passes_tests(ADDS, seconds=1)
        ticks: list[float] = []
        ticking = asyncio.create_task(_tick(ticks))
        said = [await check(code) for code in ("while True: pass", "import time; time.sleep(60)")]
        ticking.cancel()
        assert len(ticks) > 10
        return said

    assert asyncio.run(both()) == ["did not end within 1 s"] * 2


async def _tick(ticks: list[float]) -> None:
    while True:
        await asyncio.sleep(0.02)
        ticks.append(time.perf_counter())


async def _checked(critic: Any, value: Any) -> Any:
    return await critic(value)


# --- how they are called


@pytest.mark.parametrize("nothing", [None, False, 0, "", []])
def test_only_something_true_accepts(nothing: Any) -> None:
    """A callable that finds nothing has accepted nothing."""
    said = asyncio.run(_checked(limited(lambda _: nothing, name="search"), "x"))
    assert said == "refused by search"


@pytest.mark.parametrize(("said", "found"), [(True, True), ("no", "no"), (None, "refused by later")], ids=repr)
def test_a_limited_callable_may_be_one_that_is_awaited(said: Any, found: Any) -> None:
    """Its word counts, not that there is something to be awaited."""

    async def later(_value: Any) -> Any:
        await asyncio.sleep(0)
        return said

    assert asyncio.run(_checked(limited(later, name="later"), "x")) == found


def test_what_is_awaited_keeps_to_the_limit_too() -> None:
    """A critic that never comes to its end has failed after its time."""

    async def never(_value: Any) -> Any:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"never took longer than 0\.05 s"):
        asyncio.run(_checked(limited(never, timeout_s=0.05, name="never"), "x"))


@pytest.mark.parametrize("when", ["late", "as the time is over"])
def test_what_comes_too_late_to_be_awaited_is_closed(when: str) -> None:
    """Python warns of a coroutine that nobody awaits."""
    made: list[Coroutine[Any, Any, bool]] = []
    may_go_on = threading.Event()

    async def accept() -> bool:
        return True

    def critic(_value: Any) -> Any:
        may_go_on.wait(30)
        made.append(accept())
        return made[0]

    async def check() -> None:
        checking = asyncio.create_task(_checked(limited(critic, timeout_s=0.05), "x"))
        if when == "late":
            await asyncio.wait([checking])
            may_go_on.set()
        else:
            await asyncio.sleep(0)
            may_go_on.set()
            time.sleep(0.2)  # noqa: ASYNC251 - the loop is held up until both have come
        with pytest.raises(TimeoutError, match="took longer than"):
            await checking
        until = time.monotonic() + 30
        while not made or getcoroutinestate(made[0]) != CORO_CLOSED:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)

    asyncio.run(check())


def test_a_timeout_of_the_callables_own_is_its_own() -> None:
    """It is not told as if the limit had been reached."""

    def late(_value: Any) -> Any:
        raise TimeoutError("the database did not answer")

    with pytest.raises(TimeoutError, match="the database did not answer"):
        asyncio.run(_checked(limited(late), "x"))


def test_a_limit_of_ones_own_is_kept() -> None:
    """Of several critics each gets the limit, but for those that have one."""
    own = limited(len, timeout_s=1)
    first, second = all_limited([own, len], timeout_s=5)
    assert first is own
    assert asyncio.run(_checked(second, "")) == "refused by len"
