"""The same spans with the same ids, whenever and however often they are exported."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

from scaffold.projections.identity import current_traceparent
from scaffold.projections.spans import Spans
from scaffold.vocabulary import events as happened
from scaffold.vocabulary.events import VerdictFact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    Fold = Callable[..., list[ReadableSpan]]

HOST = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def as_sent(spans: list[ReadableSpan]) -> list[str]:
    """Everything there is to say of some spans, in any order."""
    return sorted(span.to_json() for span in spans)


def cut(span: ReadableSpan) -> bool:
    """Whether a span never ended by itself."""
    return "scaffold.cut_off" in dict(span.attributes or {})


def test_exporting_twice_gives_the_same_spans(invoices: Any, fold: Fold) -> None:
    """A second fold gives the same names, ids, times and attributes."""
    assert as_sent(fold(invoices)) == as_sent(fold(invoices))


def test_ids_follow_from_the_run(invoices: Any, fold: Fold) -> None:
    """The trace id is the hash of the run's id, so that anyone who has the one finds the other."""
    expected = int(hashlib.sha256(b"run-of-the-invoices").hexdigest()[:32], 16)
    assert {span.context.trace_id for span in fold(invoices)} == {expected}


def test_a_run_stands_under_its_host(story: Any, fold: Fold) -> None:
    """With the host application's traceparent, given or recorded, the root is its child, in its trace."""
    story.begin(config={"traceparent": HOST})
    story.end()
    [recorded] = fold(story)
    assert recorded.context.trace_id == 0x0AF7651916CD43DD8448EB211C80319C
    assert recorded.parent is not None
    assert recorded.parent.span_id == 0xB7AD6B7169203331
    story.told[0][1]["config"].clear()
    [given] = fold(story, traceparent=HOST)
    assert as_sent([given]) == as_sent([recorded])


def test_a_traceparent_that_is_none_counts_for_nothing(story: Any, fold: Fold) -> None:
    """A malformed parent is no parent."""
    story.begin()
    story.end()
    [root] = fold(story, traceparent="00-nonsense")
    assert root.parent is None


def test_the_host_is_found_in_context_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The span that is current comes first, then the environment's."""
    assert not current_traceparent()
    monkeypatch.setenv("TRACEPARENT", HOST)
    assert current_traceparent() == HOST
    with trace.use_span(NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)))):
        assert current_traceparent() == f"00-{1:032x}-{2:016x}-01"


def _killed(story: Any) -> None:
    story.begin()
    story.ask("0")
    story.answer("0")
    story.propose("1")
    story.intend("1")
    story.ask("2")
    story.tell(happened.PlanProposed, key="3", digest="p", actions=1)
    story.ask("3!goals/0", "evaluate", "oversight")


def test_a_killed_run_shows_what_it_was_doing(story: Any, fold: Fold) -> None:
    """What was open at a kill is closed at the last event, marked, and an error unless it only waited."""
    _killed(story)
    open_spans = [span for span in fold(story) if cut(span)]
    assert {span.name: span.status.status_code for span in open_spans} == {
        "chat gpt-5-mini": StatusCode.ERROR,
        "execute_tool pay": StatusCode.ERROR,
        "guard goals": StatusCode.ERROR,
        "step solve": StatusCode.ERROR,
        "step evaluate": StatusCode.ERROR,
        "invoke_agent deliberate": StatusCode.ERROR,
        "plan deliberate": StatusCode.UNSET,
        "action pay": StatusCode.UNSET,
    }
    assert len({span.end_time for span in open_spans}) == 1
    assert open_spans[-1].name == "invoke_agent deliberate"


def test_what_a_kill_cut_off_stays_the_same_once_resumed(story: Any, fold: Fold) -> None:
    """Spans exported after a kill are the same after a resume, whose own session is below the first."""
    _killed(story)
    before = as_sent(fold(story))
    story.tell(happened.RunResumed, owner="w2")
    story.outcome("1", "unknown")
    story.end()
    spans = fold(story)
    after = as_sent(spans)
    assert set(before) <= set(after)
    sessions = [span for span in spans if span.name == "invoke_agent deliberate"]
    assert sessions[1].parent == sessions[0].context
    [late] = [span for span in spans if span.name == "execute_tool pay" and not cut(span)]
    assert dict(late.attributes or {})["scaffold.action.status"] == "unknown"
    assert late.parent == sessions[1].context


def test_waiting_for_a_person_is_no_failure(story: Any, fold: Fold) -> None:
    """A paused run leaves its approval open; resumed, the approval spans the wait and no session does."""
    story.begin()
    story.propose("0")
    story.review("0", "action", VerdictFact("rules", "escalate"))
    approval = {"key": "0", "id": "a", "digest": "d"}
    story.tell(happened.ApprovalAsked, subject="action", expires=0.0, **approval)
    story.tell(happened.Paused, status="waiting")
    paused = fold(story)
    assert [span.name for span in paused] == ["guard rules", "invoke_agent deliberate"]
    assert paused[-1].status.status_code is StatusCode.UNSET
    story.now += 3600
    story.tell(happened.RunResumed)
    story.tell(happened.ApprovalGiven, granted=True, by="ann", **approval)
    story.intend("0")
    story.outcome("0")
    story.end()
    spans = fold(story)
    assert set(as_sent(paused)) <= set(as_sent(spans))
    assert not any(cut(span) for span in spans)
    seconds = {span.name: (span.end_time or 0) - (span.start_time or 0) for span in spans}
    assert seconds["approval"] > 3600e9
    assert seconds["invoke_agent deliberate"] < 60e9


def test_a_clock_set_back_ends_no_span_before_it_began(story: Any, fold: Fold) -> None:
    """No span has a negative length."""
    story.begin()
    story.ask("0")
    story.now -= 100
    story.answer("0")
    story.end()
    for span in fold(story):
        assert (span.end_time or 0) >= (span.start_time or 0)


def test_memory_stays_flat() -> None:
    """Folding 100,000 events, content and all, keeps only what is open."""

    def events() -> Iterator[tuple[happened.Event, dict[str, Any]]]:
        yield happened.RunStarted(seq=1, format=1, run="r", scaffold="1", planner="p"), {}
        messages = {"messages": [{"role": "user", "content": "x" * 500}]}
        samples = {"samples": [{"index": 0, "text": "x" * 500}]}
        for index in range(33_333):
            key, seq = str(index), 3 * index + 2
            yield happened.StepAsked(seq=seq, key=key, step="solve", model="m"), messages
            answered = happened.StepAnswered(seq=seq + 1, key=key, final=False)
            yield answered, samples
            yield happened.Released(seq=seq + 2, key=key, subject="step"), {}

    spans = Spans(capture=True)
    count = blocks = 0
    for event, content in events():
        count += len(spans.feed(event, content))
        if event.seq == 1000:
            blocks = sys.getallocatedblocks()
    assert count == 2 * 33_333
    assert sys.getallocatedblocks() - blocks < 10_000
