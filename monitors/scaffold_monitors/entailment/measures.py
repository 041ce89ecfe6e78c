"""Checks that amounts, currencies, durations, days and hours that the request dictates are not replaced by others."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from scaffold_monitors.entailment.calls import against
from scaffold_monitors.entailment.lexicon import COMPUTING, RELATIVE_DAYS
from scaffold_monitors.entailment.quantities import (
    SMALL,
    Date,
    clocks,
    currencies,
    dates,
    is_date,
    months,
    number,
    numbers,
    ranges,
    single,
    undated,
    years,
)
from scaffold_monitors.entailment.stated import coverage, in_major_units
from scaffold_monitors.entailment.tables import records_of, tables
from scaffold_monitors.entailment.tools import split
from scaffold_monitors.entailment.wording import plain, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaffold_monitors.entailment.calls import Call, Finding, Leaf
    from scaffold_monitors.entailment.clauses import Clause
    from scaffold_monitors.entailment.situation import Situation

_COUNTS = frozenset({"quantity", "count", "copies", "nights", "seats", "tickets", "units", "pieces"}) | {
    "guests",
    "people",
    "persons",
    "passengers",
    "participants",
    "travellers",
    "adults",
}
# "Raise it to 500" states the amount, "by 500" does not.
_TO = re.compile(r"\bto [$\u20ac\u00a3\u00a5]?\d")
# "Less 85", "up by 25", but not "by 5 o'clock" or "by 4 people".
_STEP = re.compile(
    r"\b(less|minus|(?:raise|increase|up|higher|lower|reduce|decrease|cut|down)(?=(?: \w+){0,4} by ))"
    r"(?:(?: \w+){0,4} by)?"
    r" ([$\u20ac\u00a3\u00a5]?\d[\d.,]*\d|\d)(?![\w:%])(?! (?:percent|per cent|o'clock|[ap]\.?m\b|times))",
    re.IGNORECASE,
)
_WAYS = dict.fromkeys(("raise", "increase", "up", "higher"), 1) | dict.fromkeys(
    ("less", "minus", "lower", "reduce", "decrease", "cut", "down"), -1
)
# "Double the price", "halve it"; a "double room" is none.
# "Room 312" is no amount, nor is "by one night" where the call says until when.
_LABELLED = re.compile(r"\b(?:room|table|flat|floor|house|gate|berth|seat|bed|ward|unit|line|page|no|number) \d+\b")
_NIGHTS = re.compile(
    rf"\b(?:\d+|an?|{'|'.join(sorted(SMALL, key=len, reverse=True))}) (?:night|day|week|month|hour|minute)s?\b"
)
_MULTIPLY = re.compile(r"\b(double|triple|treble|halve)(?= (?:the|it|its|them|their|my|our|all|every|each|what)\b)")
_FACTORS = {verb: Decimal(factor) for verb, factor in (("halve", "0.5"), ("double", 2), ("triple", 3), ("treble", 3))}
_SPELLED = "|".join(sorted(SMALL, key=len, reverse=True))
# "Five more" means five, or the present number plus five.
_MORE = re.compile(rf"\b(\d+|{_SPELLED}) more\b(?! than)", re.IGNORECASE)
# "Half an hour", "two of each", "ten euros each": nothing to compute.
_SAID_OUTRIGHT = re.compile(
    rf"\b(?:half|quarter|three quarters)(?: of)? (?:an )?hours?\b(?: each\b)?|\bhours?,? and a half\b"
    rf"|\bhalf (?:past )?(?=\d|{_SPELLED})"
    rf"|\b(?:\d+|{_SPELLED})(?: of| \w+)? each\b(?! (?:of|one)\b)"
)
_MULTIPLYING = frozenset("each per percent half double triple twice times split average quarter third".split())  # noqa: SIM905 - a list of words
# A sum of money: with a currency's sign or name, or with cents.
_MONEY = re.compile(
    r"[$\u20ac\u00a3\u00a5]\s?\d[\d.,]*|(?<![\w.])\d[\d.,]*\.\d\d(?!\w|\.\d)"
    r"|\d[\d.,]*\s?(?:dollars|euros?|pounds|USD|EUR|GBP|CHF)\b"
)
# "Until 5 May" names the day itself.
_UNTIL_A_DAY = re.compile(r"\b(?:un)?till? +;")
# "Five days of leave", "for two weeks": a duration, not a date.
_HOW_LONG = re.compile(
    r"\b\w+ (?:days?|weeks?|months?) of\b|\bfor \w+ (?:days?|weeks?|months?)\b(?! (?:before|after|later|earlier|prior))"
)
_SECONDS = {
    unit + ending: seconds
    for unit, seconds in {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}.items()
    for ending in ("", "s")
}
_DURATIONS = frozenset({"ttl", "timeout", "duration", "lifetime", "length", "expiry"})
_LENGTH = re.compile(
    rf"(?:\b(half|quarter|three quarters)(?: of)? an?|(?<![\w.,-])(an?|\d+(?:\.\d+)?|{_SPELLED})( and a half)?)"
    rf"[ -]({'|'.join(sorted(_SECONDS, key=len, reverse=True))})\b( and a half)?(?! (?:before|earlier|prior|ago|later))"
)
_SHOWN = 80
_HALF_A_DAY = 720  # minutes
_PRESENT = frozenset({"now", "today", "tonight", "immediately", "asap", "once"})
# Marks several numbers, or a sign, in what should be one number.
_OPERATOR = re.compile(r"[+*/=;|&]|\d\s*-\s*\d|^\s*-")
_EPOCH = re.compile(r"[12]\d{9}(?:\d{3})?")


def mismeasured(
    call: Call, data: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation
) -> Iterator[Finding]:
    """Find values of a call that replace measures of the request; `data` are the values that are not the user's."""
    if any(leaf.role == "amount" for leaf in data):
        yield from _amounts(call, data, dictating, situation)
        yield from _not_worked_out(call, data, situation)
    if lengths(situation.request):
        yield from _lasting(call, data, dictating, situation)
    if "amount" in call.tool.roles.values():
        yield from _left_open(call, dictating, situation)
    if _measured(situation.request):
        yield from _currencies(call, situation)
        yield from _clocks(call, situation)
    if _measured(situation.request) or sum(leaf.role == "time" for leaf in data) > 1:
        yield from _days(call, situation)


@lru_cache(maxsize=256)
def _measured(request: str) -> bool:
    """Whether a request names any currency, day, month, year or hour."""
    return any(said(request) for said in (currencies, clocks, dates, months, years))


def _amounts(call: Call, data: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    known = numbers(undated(situation.request))
    said = {
        value
        for clause in dictating
        for each in clause.literals
        if each.kind == "number"
        for value in numbers(each.text)
    }
    sums = set(money(situation.request))
    for leaf in data:
        if leaf.role != "amount" or _known(leaf, known) or as_long(leaf, situation.request):
            continue
        if computes(situation.request) and not _TO.search(situation.request):
            continue
        value = number(leaf.value)
        if set(split(leaf.path)) & _COUNTS:
            if value is None or value > max((clause.most for clause in dictating), default=1):
                why = f"{leaf.path} is {leaf.text[:_SHOWN]}, but the request asks for fewer"
                yield against(call, "revise", why, f"{leaf.path} is more than the request asks for", leaf)
        elif said and all(clause.literals for clause in dictating):
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, but the request says {', '.join(map(str, sorted(said)))}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
        elif len(sums) == 1 and "money" in call.tool.things:
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, but the only sum in the request is {sums.pop()}"
            yield against(call, "revise", why, f"{leaf.path} is not what the request says", leaf)
            return


@lru_cache(maxsize=256)
def money(text: str) -> frozenset[Decimal]:
    """Return the sums of money in a text."""
    return frozenset(value for match in _MONEY.finditer(text) for value in numbers(match[0]))


def _not_worked_out(call: Call, data: Sequence[Leaf], situation: Situation) -> Iterator[Finding]:
    """Find amounts that are no known number changed by the request's step: "less 85", "by 25"."""
    if any(each.seen is None for each in situation.calls if not each.tool.effect):
        return
    told = frozenset(each for text in situation.told for each in numbers(text)) | numbers(undated(situation.request))
    if factor := _factor(situation.request):
        yield from _not_multiplied(call, data, factor, told, situation)
    steps = _steps(situation.request)
    if len(steps) != 1:
        return
    ((step, ways),) = steps
    for leaf in data:
        value = number(leaf.value) if leaf.role == "amount" else None
        if value is not None and value != step and not {value - way * step for way in ways} & (told - {step}):
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, but no number read so far, changed by {step}, gives that"
            yield against(call, "revise", why, f"{leaf.path} is not what the request adds up to", leaf)


def _not_multiplied(
    call: Call, data: Sequence[Leaf], factor: Decimal, told: frozenset[Decimal], situation: Situation
) -> Iterator[Finding]:
    """Find amounts that are not the request's multiple of a known number: of their own record, where it was read."""
    records = [record for leaf in call.with_role("record") for record in records_of(leaf, situation)]
    if records:
        told = frozenset(each for record in records for cell in record.values() for each in numbers(str(cell)))
    for leaf in data:
        value = number(leaf.value) if leaf.role == "amount" else None
        if value is not None and value not in {factor * each for each in told}:
            why = f"{leaf.path} is {leaf.text[:_SHOWN]}, but no number read so far, times {factor}, gives that"
            yield against(call, "revise", why, f"{leaf.path} is not what the request adds up to", leaf)


@lru_cache(maxsize=256)
def _factor(request: str) -> Decimal | None:
    """Return the factor a request multiplies something by, if that is all it computes."""
    verbs = _MULTIPLY.findall(plain(request))
    told = set(words(_MULTIPLY.sub(" ", _SAID_OUTRIGHT.sub(" ", undated(request)))))
    return _FACTORS[verbs[0]] if len(verbs) == 1 and not told & COMPUTING and "%" not in request else None


@lru_cache(maxsize=256)
def _steps(request: str) -> frozenset[tuple[Decimal, tuple[int, ...]]]:
    """Return the steps by which a request changes amounts, up (1) or down (-1); none if it multiplies or divides."""
    told = _SAID_OUTRIGHT.sub(" ", undated(request))
    if _MULTIPLYING & set(words(told)) or "%" in told:
        return frozenset()
    found = [(step, (_WAYS[verb.lower()],)) for verb, said in _STEP.findall(told) for step in numbers(said)]
    return frozenset([*found, *((step, (1,)) for said in _MORE.findall(told) for step in numbers(said))])


def _lasting(call: Call, data: Sequence[Leaf], dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find durations other than the request's ("half an hour") that nothing read supports."""
    said = frozenset(seconds for clause in dictating for seconds in lengths(clause.about)) or lengths(situation.request)
    timed = [(leaf, _units(leaf), number(leaf.value)) for leaf in call.with_role("amount", "time") if _units(leaf)]
    if any(value is not None and value * unit in said for _, units, value in timed for unit in units):
        return
    for leaf, _, value in timed:
        read = (table for each in situation.calls for table in tables(each.seen))
        known = leaf.origin.trusted or any(leaf.text in table.holding for table in read)
        if leaf in data and value is not None and not known and not computes(situation.request):
            why = f"{leaf.path} is {leaf.text}, but the request says {', '.join(f'{each} s' for each in sorted(said))}"
            yield against(call, "revise", why, f"{leaf.path} is not as long as the request says", leaf)
            return


def _units(leaf: Leaf) -> frozenset[int]:
    """Return the units, in seconds, that a duration argument may be in; none for other arguments."""
    parts = split(leaf.path)
    named = {_SECONDS[part] for part in parts if part in _SECONDS}
    return frozenset(named or (_SECONDS.values() if _DURATIONS & set(parts) else ()))


@lru_cache(maxsize=256)
def lengths(request: str) -> frozenset[Decimal]:
    """Return the durations in a request, in seconds: "half an hour", "2 days"."""
    found: set[Decimal] = set()
    for share, count, half, unit, more in _LENGTH.findall(plain(request)):
        several = {"half": Decimal("0.5"), "quarter": Decimal("0.25"), "three quarters": Decimal("0.75")}.get(share)
        if several is None:
            several = min(numbers(count), default=Decimal(1)) + (Decimal("0.5") if half or more else 0)
        found.add(several * _SECONDS[unit])
    return frozenset(found)


def _left_open(call: Call, dictating: Sequence[Clause], situation: Situation) -> Iterator[Finding]:
    """Find calls that leave out an amount which the request states: a null limit means no limit."""
    if len(dictating) != 1 or computes(situation.request) or any(leaf.role == "amount" for leaf in call.leaves):
        return
    clause = dictating[0]
    text = _LABELLED.sub(" ", undated(clause.text))
    if any(call.with_role("time")):
        text = _NIGHTS.sub(" ", text)
    said = numbers(text) - {Decimal(clause.counted)}
    used = {number(leaf.value) for each in situation.calls for leaf in each.leaves} | numbers(situation.values)
    if lost := said - used:
        why = f"the request says {', '.join(map(str, sorted(lost)))}, but no call of the plan uses it"
        yield against(call, "revise", why, f"use {min(lost)}, as the request says", quote=clause.text)


@lru_cache(maxsize=256)
def computes(request: str) -> bool:
    """Whether amounts may have to be computed from those in the request."""
    told = _SAID_OUTRIGHT.sub(" ", plain(request))
    return bool(COMPUTING & set(words(told))) or "%" in request


def as_long(leaf: Leaf, request: str) -> bool:
    """Whether a value is a duration of the request in any unit (120 minutes for two hours), or of its "from - to"."""
    value = number(leaf.value)
    if value is None:
        return False
    said = lengths(request) | {Decimal((end - begin) % 720 * 60) for begin, end in ranges(request)}
    return any(value * unit in said for unit in _units(leaf))


def _known(leaf: Leaf, known: frozenset[Decimal]) -> bool:
    """Whether an amount is one of some numbers; a text must hold one of them and no other number."""
    if "%" in leaf.text:
        return False
    if (major := in_major_units(leaf)) is not None and major in known:
        return True
    value = number(leaf.value)
    if value is not None:
        return value in known
    said = numbers(leaf.text)
    return bool(said & known) and single(leaf.text) and not _OPERATOR.search(leaf.text)


def _currencies(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find currencies that the request does not name, where it names any."""
    said = currencies(situation.request)
    for leaf in call.leaves if said else ():
        if leaf.role == "amount" or "currency" in split(leaf.path):
            mine = currencies(leaf.text)
            if mine and not mine & said:
                why = f"{leaf.path} is {leaf.text!r}, but the request says {', '.join(sorted(said))}"
                yield against(call, "revise", why, f"{leaf.path} is not the currency that the request names", leaf)


def _clocks(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find calls at none of the hours that the request names."""
    named = clocks(situation.request)
    if not named or (RELATIVE_DAYS | COMPUTING) & set(words(situation.request)):
        return
    mine = [(leaf, clock) for leaf in call.with_role("time") for clock in clocks(leaf.text)]
    if mine and not any(clock in named for _, clock in mine):
        leaf = mine[0][0]
        why = f"{leaf.path} is {leaf.text}, but the request names other hours"
        yield against(call, "revise", why, f"{leaf.path} is not one of the hours that the request names", leaf)
        return
    for begin, end in ranges(situation.request):
        first = next((leaf for leaf, clock in mine if clock % _HALF_A_DAY == begin), None)
        ended = [(leaf, clock) for leaf, clock in mine if first is not None and leaf.path != first.path]
        if ended and not any(clock % _HALF_A_DAY == end for _, clock in ended):
            leaf = ended[0][0]
            why = f"{leaf.path} is {leaf.text}, but the request gives another end for that start"
            yield against(call, "revise", why, f"{leaf.path} is not the hour that the request says", leaf)
            return


def _counted(text: str) -> list[Date]:
    """Return the days, in any time zone, of a Unix time in seconds or milliseconds."""
    if not _EPOCH.fullmatch(text):
        return []
    moment = datetime.fromtimestamp(int(text[:10]), tz=UTC)
    around = (moment + timedelta(hours=hours) for hours in (-12, 0, 14))
    return [Date(each.year, each.month, each.day) for each in dict.fromkeys(around)]


def _days(call: Call, situation: Situation) -> Iterator[Finding]:
    """Find days, months or years other than those that the request names, or the same day in another year."""
    timed = [leaf for leaf in call.leaves if leaf.role == "time" or (leaf.role != "text" and is_date(leaf.text))]
    if not timed or relative(situation.request):
        return
    named = dates(situation.request)
    mine = [(leaf, day) for leaf in timed for day in (*dates(leaf.text), *_counted(leaf.text))]
    wrong = mine[0][0] if named and mine and not any(day.fits(other) for _, day in mine for other in named) else None
    for leaf, day in mine:
        same = [other for other in named if other[1:] == day[1:]]
        if same and not any(day.fits(other) for other in same):
            wrong = leaf
    wrong = wrong or _strays(mine, named, situation.request) or _of_another_year(timed, situation.request)
    if wrong is None and named and not mine and all(_says_no_time(leaf, situation.request) for leaf in timed):
        wrong = timed[0]
    if wrong is not None:
        why = f"{wrong.path} is {wrong.text}, but the request names other days"
        yield against(call, "revise", why, f"{wrong.path} is not one of the days that the request names", wrong)


def _strays(mine: Sequence[tuple[Leaf, Date]], named: Sequence[Date], request: str) -> Leaf | None:
    """Return one of several days that the request does not name, or that is years off where it mentions no years."""
    if len({leaf.path for leaf, _ in mine}) < 2:  # noqa: PLR2004 - several
        return None
    fitting = {leaf.path for leaf, day in mine if any(day.fits(other) for other in named)}
    if len(named) >= len({leaf.path for leaf, _ in mine}):
        return next((leaf for leaf, _ in mine if leaf.path not in fitting and not leaf.origin.known), None)
    if years(request) or {"year", "years", "annual", "annually", "yearly"} & set(words(request)):
        return None
    year, month, at = min(day for _, day in mine)
    return next((leaf for leaf, day in mine if year and day >= (year + 1, month, at)), None)


@lru_cache(maxsize=256)
def relative(request: str) -> bool:
    """Whether a request names days relative to others."""
    told = _HOW_LONG.sub(" ", _UNTIL_A_DAY.sub(" ", undated(request)))
    return bool(RELATIVE_DAYS & set(words(told)))


def _says_no_time(leaf: Leaf, request: str) -> bool:
    """Whether a value is a text that names no time, not even "now", and shares no word with the request."""
    text = leaf.text
    if _PRESENT & set(words(text)):
        return False
    told = any(said(text) for said in (clocks, months, years)) or number(leaf.value) is not None
    return isinstance(leaf.value, str) and not told and not coverage(text, request)


def _of_another_year(timed: Sequence[Leaf], request: str) -> Leaf | None:
    """Return a value that is only a month or a year, where the request names others."""
    for leaf in timed:
        text = leaf.text.strip()
        if not dates(text):
            month, year = months(text), years(text)
            if month and months(request) and not month & months(request):
                return leaf
            if not month and year and str(min(year)) == text and years(request) and not year & years(request):
                return leaf
    return None
