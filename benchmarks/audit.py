"""What tamper evidence costs: events written with signed heads, traces verified, memory over a gigabyte.

    python benchmarks/audit.py [--events 20000] [--gigabyte]

Each row stands beside its floor in the same, interleaved run: the same bytes hashed and written, or read and hashed,
with nothing else done.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scaffold.interfaces import Surroundings
from scaffold.machinery.recording.recorder import Recorder
from scaffold.testing.tampering import made_up_key
from scaffold.trace.files import SPINE, FileJournal
from scaffold.trace.parts import content_lines
from scaffold.trace.verify import verify_run
from scaffold.vocabulary import events as ev

RUN = "20260101-000000-aaaaaa"
HEAD_EVERY = 100
ROUNDS = 5
BYTES = 1024
WORDS = Path(__file__).read_text(encoding="utf-8").split()  # so that compressing full parts of content has work to do


async def no_sync(_: int) -> None:
    """The disk's own time is not ours to measure: heads are signed of what was handed over."""


async def write(root: Path, events: int) -> float:
    """Write a run of so many events of 1 KiB each, a signed head for every hundred; gives the seconds it took."""
    journal = FileJournal(root, fsync=no_sync)
    claim = await journal.claim(RUN, "benchmark", create=True)
    recorder = Recorder(journal, claim, Surroundings(), signer=made_up_key(1))
    recorder.record(ev.RunStarted(format=ev.FORMAT, run=RUN, scaffold="0", planner="benchmark"), {"task": {}})
    words = random.Random(1).choices(WORDS, k=events + BYTES)
    length = BYTES - 330  # the rest is the event itself, its digest and its hash
    began = time.process_time()
    for number in range(1, events):
        text = " ".join(words[number : number + length // 6])[:length]
        recorder.record(ev.Noted(key=str(number)), {"text": text, "partial": None})
        if number % HEAD_EVERY == 0:
            await recorder.flush(durable=True)
            await recorder.sign()
    recorder.record(ev.Ended(status="solved"), {"answer": 1})
    await recorder.flush(durable=True)
    await recorder.sign()
    seconds = time.process_time() - began
    await journal.release(claim)
    return seconds


def floor_of_writing(folder: Path, to: Path) -> float:
    """Hash the same lines as a chain, and their content, and write them in the same pieces."""
    spine = (folder / SPINE).read_bytes().splitlines(keepends=True)
    content = list(content_lines(folder))
    began, previous = time.process_time(), bytes(32)
    with (to / "spine").open("wb", buffering=0) as one, (to / "content").open("wb", buffering=0) as other:
        for start in range(0, len(spine), HEAD_EVERY):
            for line in spine[start : start + HEAD_EVERY]:
                previous = hashlib.sha256(previous + line).digest()
            for line in content[start : start + HEAD_EVERY]:
                hashlib.sha256(line).digest()
            other.write(b"".join(content[start : start + HEAD_EVERY]))
            one.write(b"".join(spine[start : start + HEAD_EVERY]))
    return time.process_time() - began


def floor_of_verifying(folder: Path) -> float:
    """Read the same lines, and hash each once."""
    began = time.process_time()
    with (folder / SPINE).open("rb") as file:
        for line in file:
            hashlib.sha256(line).digest()
    for line in content_lines(folder):
        hashlib.sha256(line).digest()
    return time.process_time() - began


def verified(folder: Path) -> float:
    """Verify a run with its key; gives the seconds it took."""
    began = time.process_time()
    found = verify_run(folder, key=made_up_key(1).verifier())
    seconds = time.process_time() - began
    if not found.ok:
        raise SystemExit(found.sentence())
    return seconds


def size_of(folder: Path) -> float:
    """Megabytes of spine and content, as they are read: full parts of content lie there compressed."""
    return ((folder / SPINE).stat().st_size + sum(map(len, content_lines(folder)))) / 1e6


def row(name: str, seconds: list[float], floors: list[float], **more: Any) -> None:
    """Print one row: medians, and how often the floor fits into it."""
    took, floor = statistics.median(seconds), statistics.median(floors)
    times = round(took / floor, 2)
    print(
        json.dumps({"name": name, "seconds": round(took, 4), "floor_seconds": round(floor, 4), "times": times, **more})
    )


def write_and_verify(events: int) -> None:
    """The rows of writing and of verifying."""
    writing: list[float] = []
    writing_floor: list[float] = []
    verifying: list[float] = []
    verifying_floor: list[float] = []
    size = 0.0
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as place:
            writing.append(asyncio.run(write(Path(place), events)))
            folder = Path(place, RUN)
            size = size_of(folder)
            writing_floor.append(floor_of_writing(folder, Path(place)))
            verifying.append(verified(folder))
            verifying_floor.append(floor_of_verifying(folder))
    rate = round(events / statistics.median(writing))
    row("write", writing, writing_floor, events=events, events_a_second=rate, bytes_an_event=round(size * 1e6 / events))
    row(
        "verify",
        verifying,
        verifying_floor,
        mb=round(size, 1),
        mb_a_second=round(size / statistics.median(verifying), 1),
    )


def gigabyte(peak_of: str) -> None:
    """Verify a small and a large trace in processes of their own, and compare what memory they took."""
    peaks = {}
    for name, events in (("small", 20_000), ("large", 1_000_000)):
        with tempfile.TemporaryDirectory() as place:
            asyncio.run(write(Path(place), events))
            folder = Path(place, RUN)
            size = size_of(folder)
            done = subprocess.run(  # noqa: S603 - this very file
                [sys.executable, __file__, "--peak", str(folder)], capture_output=True, text=True, check=True
            )
            peaks[name] = {"mb": round(size, 1), **json.loads(done.stdout)}
    print(json.dumps({"name": peak_of, **peaks}))


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--gigabyte", action="store_true", help="verify a gigabyte, and say what memory that took")
    parser.add_argument("--peak", type=Path, help=argparse.SUPPRESS)
    said = parser.parse_args()
    if said.peak:
        seconds = verified(said.peak)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": round(seconds, 1), "peak_mb": round(peak, 1)}))
        return
    write_and_verify(said.events)
    if said.gigabyte:
        gigabyte("verify a gigabyte")


if __name__ == "__main__":
    main()
