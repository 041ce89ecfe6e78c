"""A million steps without an error: the Tower of Hanoi of 20 disks, decided move by move by a tiny recurrent model.

    python benchmarks/million.py                # 20 disks, 1,048,575 moves; killed once in the middle, and resumed
    python benchmarks/million.py --disks 12     # 4,095 moves, to try it out
    python benchmarks/million.py --plot million.png

The command `scaffold solve examples/hanoi/task.yaml` is run as a user would run it, with the trace on. Half way it is
killed (SIGKILL) and taken up again by `scaffold resume`. In the end an independent player reads the moves from the
trace and plays them by the rules. One JSON line says how it went; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from pictures import picture

HERE = Path(__file__).resolve().parents[1]
EXAMPLE = HERE / "examples" / "hanoi"
COMMAND = str(Path(sys.executable).parent / "scaffold")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watched:
    """A process as it goes: seconds since its start, bytes of its trace, megabytes resident."""

    seconds: list[float] = field(default_factory=list)
    trace: list[int] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)

    def look(self, process: int, run: Path | None, started: float) -> None:
        """Take one reading."""
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        if not pages:
            raise ProcessLookupError(process)
        self.seconds.append(round(time.monotonic() - started, 1))
        self.trace.append(_size(run) if run else 0)
        self.resident.append(round(pages * _PAGE / 1e6, 1))


def _size(run: Path) -> int:
    """Bytes of all files of a run; of what is compressed and removed meanwhile, one form."""
    size = 0
    for file in run.iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def _run_in(runs: Path) -> Path | None:
    return next((path.parent for path in runs.glob("*/trace.jsonl")), None)


def _steps(run: Path) -> int:
    """How many events the trace has, from its last whole line."""
    with (run / "trace.jsonl").open("rb") as trace:
        trace.seek(max(0, trace.seek(0, os.SEEK_END) - 4096))
        lines = trace.read().split(b"\n")
    return int(json.loads(lines[-2])["seq"]) // 2 if len(lines) > 1 and lines[-2].startswith(b"{") else 0


def go(words: list[str], runs: Path, *, until: int | None, every_s: float) -> tuple[str, float, Watched]:
    """Run the command; kill it once the trace holds `until` steps.

    Returns:
        What it printed, its wall time in seconds, and how it went meanwhile.
    """
    watched, started = Watched(), time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603 - ours
    while process.poll() is None:
        time.sleep(every_s)
        run = _run_in(runs)
        try:
            watched.look(process.pid, run, started)
        except (FileNotFoundError, ProcessLookupError, IndexError):
            break  # it has just ended
        steps = _steps(run) if run else 0
        print(
            f"\r{steps:,} steps, {watched.resident[-1]:.0f} MB, {watched.seconds[-1]:,.0f} s  ", end="", file=sys.stderr
        )
        if until is not None and steps >= until:
            process.send_signal(signal.SIGKILL)
            break
    said = process.communicate()[0]
    seconds = time.monotonic() - started
    print(file=sys.stderr)
    return said, seconds, watched


def replay_seconds(before: int, watched: Watched) -> float:
    """How long the resumed process read before it wrote on."""
    grown = (at for at, size in zip(watched.seconds, watched.trace, strict=True) if size > before)
    return next(grown, watched.seconds[-1])


def main() -> None:
    """Solve, kill, resume, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the run is kept; a temporary folder if none")
    parser.add_argument("--plot", type=picture, help="a picture of the memory and the trace over time")
    chosen = parser.parse_args()
    moves = 2**chosen.disks - 1
    with tempfile.TemporaryDirectory() as scratch:
        runs = (chosen.folder or Path(scratch)).resolve()
        every_s = 0.2 if chosen.disks < 16 else 2.0
        task = [COMMAND, "solve", str(EXAMPLE / "task.yaml"), "--input", f"disks={chosen.disks}"]
        where = ["--runs", str(runs), "--json"]
        _, first, begun = go([*task, "--seed", str(chosen.seed), *where], runs, until=moves // 2, every_s=every_s)
        run = _run_in(runs)
        if run is None:
            sys.exit("the run has left no trace: run the command by hand to see why")
        killed_at, before = _steps(run), _size(run)
        said, second, gone_on = go([COMMAND, "resume", run.name, *where], runs, until=None, every_s=every_s)
        outcome = json.loads(said)
        checked = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, str(EXAMPLE / "check.py"), str(run)], check=False, capture_output=True, text=True
        )
        if chosen.plot:
            draw(begun, gone_on, chosen.plot)
        replay = replay_seconds(before, gone_on)
        line = {
            "million": chosen.disks,
            "moves": moves,
            "status": outcome["status"],
            "answer": outcome["answer"],
            "errors": 0 if checked.returncode == 0 else checked.stderr.strip(),
            "checked": checked.stdout.strip(),
            "minutes": round((first + second) / 60, 1),
            "steps_a_second": round(moves / (first + second - replay)),
            "killed_at_step": killed_at,
            "replay_seconds": round(replay, 1),
            "replay_microseconds_a_step": round(replay / max(1, killed_at) * 1e6, 1),
            "trace_bytes_a_step": {
                "at the kill": round(before / max(1, killed_at)),
                "at the end": round(_size(run) / moves),
            },
            "tokens_a_step": round(sum(outcome["usage"]["model"][each] for each in ("input", "output")) / moves, 1),
            "resident_megabytes": {
                "after a tenth": begun.resident[len(begun.resident) // 10],
                "at the kill": begun.resident[-1],
                "most while resumed": max(gone_on.resident),
                "at the end": gone_on.resident[-1],
            },
        }
        print(json.dumps(line))
        sys.exit(checked.returncode)


def draw(begun: Watched, gone_on: Watched, picture: Path) -> None:
    """Draw memory and trace over time, before the kill and after it."""
    from matplotlib.figure import Figure

    shift = begun.seconds[-1]
    minutes = [at / 60 for at in begun.seconds] + [(shift + at) / 60 for at in gone_on.seconds]
    figure = Figure(figsize=(7, 4), layout="constrained")
    memory = figure.subplots()
    memory.plot(minutes, begun.resident + gone_on.resident, color="tab:blue", label="resident memory, MB")
    memory.axvline(shift / 60, color="tab:red", linestyle=":", label="killed and resumed")
    memory.set(xlabel="minutes", ylabel="resident memory, MB", ylim=(0, None))
    trace = memory.twinx()
    trace.plot(minutes, [size / 1e9 for size in begun.trace + gone_on.trace], color="tab:gray", label="trace, GB")
    trace.set(ylabel="trace, GB", ylim=(0, None))
    memory.legend(handles=[*memory.get_lines(), *trace.get_lines()], loc="center right")
    memory.set_title("A march, killed half way and resumed: the trace grows, the memory does not")
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    main()
