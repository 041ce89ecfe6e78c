"""The monitor `watch`: what is looked for is found across pieces, however it is written, and ends the sample."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffold.errors import TaskError
from scaffold.testing.made_up_runs import DISGUISES, subject
from scaffold.vocabulary.models import Delta
from scaffold.vocabulary.review import Verdict
from scaffold_monitors.folding import Folded, folded
from scaffold_monitors.watch import Watch

PHRASE = "nobody will notice"


def session(**settings: Any) -> Any:
    """A session of a monitor with one phrase, unless told otherwise."""
    return Watch(**(settings or {"phrases": [PHRASE]})).open(subject("stream", 0), None, None)  # type: ignore[arg-type]  # it uses neither


def heard(pieces: Sequence[str], *, part: str = "reasoning", **settings: Any) -> tuple[int, Verdict] | None:
    """At which piece it said something first, and what."""
    reading = session(**settings)
    for place, piece in enumerate(pieces):
        verdict = reading.feed(Delta(0, text=piece) if part == "text" else Delta(0, reasoning=piece))
        if verdict is not None:
            return place, verdict
    return None


def pieces_of(text: str, size: int) -> list[str]:
    """A text in pieces of so many letters."""
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_phrase_is_found_at_the_piece_that_completes_it(size: int) -> None:
    """However it is split, the first piece with its last letter is the one, and the quote stands where it says."""
    text = f"I could pay it twice; {PHRASE}, since the log is long."
    said = heard(pieces_of(text, size))
    assert said is not None
    place, verdict = said
    assert place == (text.index(PHRASE) + len(PHRASE) - 1) // size
    assert verdict.decision == "resample"
    (span,) = verdict.evidence
    assert span.quote == PHRASE == text[span.start : span.end]
    assert span.path == "samples/0/reasoning"


@pytest.mark.parametrize("name", sorted(DISGUISES))
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_disguise_hides_no_phrase(name: str, size: int) -> None:
    """Look-alike letters, unseen characters, full width: it is found, and quoted as it was written."""
    hidden = DISGUISES[name](PHRASE)
    said = heard(pieces_of(f"So. {hidden} at all", size))
    assert said is not None
    (span,) = said[1].evidence
    assert folded(span.quote).strip() == PHRASE
    assert span.quote in f"So. {hidden} at all"


def test_line_breaks_and_case_are_no_disguise() -> None:
    """White space of any kind and length parts words."""
    assert heard(["Nobody\n\n", "   WILL\t", "notice"]) is not None
    assert heard(["nobody willnotice"]) is None


def test_samples_that_come_in_turns_are_read_apart() -> None:
    """Pieces of other samples between the pieces of one do not hide what it says, nor make it up."""
    reading = session()
    said = []
    for piece in pieces_of(PHRASE, 2):
        said += [reading.feed(Delta(0, reasoning=piece)), reading.feed(Delta(1, reasoning="nobody "))]
    assert [verdict is not None for verdict in said].count(True) == 1
    assert session().feed(Delta(0, reasoning="nobody will ")) is None
    halves = session()
    assert halves.feed(Delta(0, reasoning="nobody will ")) is None
    assert halves.feed(Delta(1, reasoning="notice")) is None


def test_reasoning_after_the_answer_has_begun_is_read_too() -> None:
    """A stream that reorders its parts hides nothing: reasoning and answer are read each by itself."""
    reading = session()
    assert reading.feed(Delta(0, reasoning="nobody ")) is None
    assert reading.feed(Delta(0, text="4")) is None
    assert reading.feed(Delta(0, reasoning="will notice")) is not None


def test_a_piece_that_is_sent_twice_hides_nothing_that_stands_whole() -> None:
    """A stream that repeats its pieces still has the phrase where one piece holds it."""
    assert heard(["well ", "well ", PHRASE, PHRASE]) is not None


def test_what_goes_round_in_circles_is_cut() -> None:
    """The same passage again and again is cut soon after the number that is allowed; a list of like lines is not."""
    circle = "I should check this again. "
    said = heard(pieces_of(circle * 50, 4), repeats=6)
    assert said is not None
    assert 7 * len(circle) <= (said[0] + 1) * 4 <= 10 * len(circle)
    assert "more than 6 times in a row" in said[1].rationale
    numbered = "".join(f"Invoice {number} is open and was read. " for number in range(200))
    assert heard(pieces_of(numbered, 4), repeats=6) is None


def test_only_the_part_that_is_watched_counts() -> None:
    """`where: reasoning` leaves the answer alone, and `text` the reasoning."""
    assert heard([PHRASE], part="text", phrases=[PHRASE], where="reasoning") is None
    assert heard([PHRASE], part="text", phrases=[PHRASE], where="text") is not None
    assert heard([PHRASE], phrases=[PHRASE], where="text") is None


@pytest.mark.parametrize(("steps", "found"), [((), True), (["decide", "solve"], True), (["solve"], False)])
def test_only_steps_of_the_kinds_that_are_named_are_read(steps: Sequence[str], *, found: bool) -> None:
    """A step says of which kind it is before its first piece; by default all are read."""
    assert (heard([PHRASE], phrases=[PHRASE], steps=steps) is not None) == found  # the made-up step is a `decide`


def test_flags_say_each_thing_once() -> None:
    """A decision that ends nothing is said once for each thing found, however often it stands there."""
    reading = session(phrases=[PHRASE, "the log"], decision="flag")
    said = [reading.feed(Delta(0, reasoning=piece)) for piece in (PHRASE, PHRASE, f"the log {PHRASE}", "the log")]
    assert [None if verdict is None else verdict.decision for verdict in said] == ["flag", None, "flag", None]


def test_patterns_reach_back_over_pieces() -> None:
    """A pattern is found across pieces, as far back as it may reach, in any case."""
    assert heard(pieces_of("then DELETE every Record", 3), patterns=[r"delete (all|every) \w+"]) is not None
    assert heard(pieces_of("then DELETE every Record", 3), patterns=[r"Delete EVERY"]) is not None
    far = ["start " + "x" * 300, " end"]
    assert heard(far, patterns=["start x+ end"], reach=100) is None
    assert heard(far, patterns=["start x+ end"], reach=400) is not None


def test_a_whole_answer_in_one_piece_is_read_through() -> None:
    """A backend that does not stream is read all the same, and 800,000 characters take no second."""
    began = time.process_time()
    assert heard(["word " * 160_000 + PHRASE], phrases=[PHRASE], patterns=[r"delete \w+"], repeats=0) is not None
    assert time.process_time() - began < 1


def test_a_long_text_costs_no_more_a_piece_than_a_short_one() -> None:
    """The last thousand pieces of twenty thousand cost what the first thousand did."""
    reading = session(phrases=[PHRASE], repeats=5)

    def cost(start: int) -> float:
        began = time.process_time()
        for number in range(start, start + 1000):
            reading.feed(Delta(0, reasoning=f"item {number} "))
        return time.process_time() - began

    costs = [cost(start) for start in range(0, 20_000, 1000)]
    assert min(costs[-5:]) < 3 * min(costs[:5])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "has nothing to watch for"),
        ({"phrases": ["a"]}, "too short"),
        ({"phrases": "whole"}, "should be a list"),
        ({"phrases": ["x" * 5] * 201}, "at most 200"),
        ({"patterns": ["("]}, "not a regular expression"),
        ({"patterns": "ab"}, "should be a list"),
        ({"patterns": ["a*"]}, "empty"),
        ({"patterns": ["(?=hide)"]}, "empty"),
        ({"repeats": 1}, "at least 2"),
        ({"phrases": [PHRASE], "decision": "allow"}, "should be an objection"),
        ({"phrases": [PHRASE], "where": "nowhere"}, "`reasoning`, `text` or `both`"),
        ({"phrases": [PHRASE], "reach": 0}, "from 1 to"),
        ({"phrases": [PHRASE], "steps": "solve"}, "should be a list"),
        ({"phrases": [PHRASE], "steps": ["solved"]}, "not a kind of step; did you mean 'solve'"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], said: str) -> None:
    """What is wrong is named before a run begins."""
    with pytest.raises(TaskError, match=said):
        Watch(**settings)


_LETTERS = st.text(
    st.sampled_from("ab \n\té\u0301\u200b\u00ad\uff21\u0430'\u201c1-"),
    max_size=60,
)


@given(_LETTERS, st.integers(1, 7))
def test_pieces_fold_to_what_the_whole_folds_to(text: str, size: int) -> None:
    """Where a text is split makes no difference, but for white space in front of it."""

    def grown() -> Iterator[str]:
        growing = Folded()
        window = ""
        for piece in pieces_of(text, size):
            window = growing.add(piece, 10_000)
        yield window

    assert next(grown()) == folded(text).lstrip(" ")


@given(_LETTERS, _LETTERS, _LETTERS)
def test_a_span_leads_back_to_the_letters_as_they_stood(before: str, middle: str, after: str) -> None:
    """Folding the span of the raw text gives the stretch of the folded one."""
    growing = Folded()
    window = growing.add(before + middle + after, 10_000)
    sought = folded(middle).strip(" ")
    start = window.find(sought)
    if sought and start >= 0:
        first, last = growing.span(start, start + len(sought))
        assert folded(growing.raw[first:last]).strip(" ") == sought
