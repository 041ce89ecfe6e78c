"""How long the command takes to start, and how large an installation is.

    python benchmarks/start.py             # here; the ratio is to a bare `python -c pass`, interleaved
    python benchmarks/start.py --fresh     # as its users have it: installed into a new environment, which is weighed

One JSON line each: medians over interleaved runs, in milliseconds of wall time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
TASK = """
prompt: Say ok
planner: direct
backends: {default: {use: scripted, replies: ok}}
"""


def milliseconds(command: list[str], folder: str) -> float:
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)  # noqa: S603 - our own commands
    return (time.perf_counter() - started) * 1e3


def measure(rounds: int, python: Path) -> None:
    """Time each start beside a bare interpreter, in the environment of that one."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "task.yaml").write_text(TASK)
        Path(folder, "bare.yaml").write_text(TASK + "monitors: []\n")
        command = str(python.parent / "scaffold")
        commands = {
            "bare python": [str(python), "-c", "pass"],
            "import scaffold": [str(python), "-c", "import scaffold"],
            "scaffold --help": [command, "--help"],
            "scaffold solve, no monitors": [command, "solve", "bare.yaml"],
            "scaffold solve": [command, "solve", "task.yaml"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds + 1):
            for name, words in commands.items():
                times[name].append(milliseconds(words, folder))
        bare = statistics.median(times["bare python"][1:])
        for name, taken in times.items():
            median = statistics.median(taken[1:])
            print(
                json.dumps({"start": name, "milliseconds": round(median), "ratio": round(median / bare, 1)}), flush=True
            )


def weigh(folder: Path) -> Path:
    """Install the base there, say what it weighs, bytecode and all, without pip itself, and give its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    before = _size(folder)
    subprocess.run([python, "-m", "pip", "install", "-q", "--compile", str(HERE)], check=True)  # noqa: S603 - as above
    listed = subprocess.run(  # noqa: S603 - as above
        [python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True
    ).stdout
    names = {each["name"] for each in json.loads(listed)}
    line = {
        "installed_megabytes": round((_size(folder) - before) / 1e6, 1),
        "packages": len(names),
        "heavy": sorted(names & {"numpy", "torch"}),
    }
    print(json.dumps(line), flush=True)
    return python


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--fresh", action="store_true")
    chosen = parser.parse_args()
    if chosen.fresh:
        with tempfile.TemporaryDirectory() as new:
            measure(chosen.rounds, weigh(Path(new)))
    else:
        measure(chosen.rounds, Path(sys.executable))
