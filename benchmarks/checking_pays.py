"""Does checking plans pay? Total cost of a suite of tasks with costly actions, with and without plan checks.

    python benchmarks/checking_pays.py                      # one JSON line for each cell, and where it breaks even
    python benchmarks/checking_pays.py --plot checking.png

It runs `scaffold eval benchmarks/checking/suite.yaml`: 120 orders, for each share of bad plans and each way to check. A
bad plan that nobody refuses is carried out, found out, and done again. The models are made up and say so
(`checking/shop.py`), so that the share of bad plans and the judge's errors are known. Runs are the same at any price of
an action, so totals at other prices follow from the counts of one evaluation.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent / "checking"
ENTRY_POINTS = """[scaffold.backends]
checking_plans = shop:planning
checking_judge = shop:judging
"""
PRICE = 0.01  # as the suite's actions declare
PRICES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # US dollars for one action


class Cell(NamedTuple):
    """What an order cost, on average, in one cell.

    Attributes:
        thinking: US dollars for the planner's model.
        checking: US dollars for the judge.
        actions: how many were performed.
        right: share of orders delivered.
    """

    thinking: float
    checking: float
    actions: float
    right: float

    def total(self, price: float) -> float:
        """US dollars an order, an action costing so much."""
        return self.thinking + self.checking + self.actions * price


def evaluate(folder: Path, results: Path) -> dict[str, dict[float, Cell]]:
    """Run the suite by the command itself; cells by monitors, then by share of bad plans."""
    _plug_in(folder)
    from scaffold.cli import main
    from scaffold.evaluation.summary import Summary, scored_rows

    arguments = ["eval", str(HERE / "suite.yaml"), "--results", str(results), "--runs", str(folder / "runs"), "--json"]
    with contextlib.redirect_stdout(sys.stderr):
        status = main(arguments)
    assert status == 0, f"scaffold eval ended with status {status}"
    summaries: dict[tuple[str, float], Summary] = {}
    for row in scored_rows(results):
        share = float(row["cell"]["backends"].removesuffix(" %")) / 100
        summaries.setdefault((row["cell"]["monitors"], share), Summary()).add(row)
    cells: dict[str, dict[float, Cell]] = {}
    for (monitors, share), summary in sorted(summaries.items()):
        cells.setdefault(monitors, {})[share] = _cell(summary)
    return cells


def _plug_in(folder: Path) -> None:
    """Make the benchmark's own models known, as a stranger's distribution would."""
    info = folder / "checking-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: checking\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    sys.path[:0] = [str(folder), str(HERE)]


def _cell(summary: Any) -> Cell:
    runs = summary.runs
    performed = summary.usd["actions"] / PRICE
    return Cell(
        summary.usd["model"] / runs, summary.usd["oversight"] / runs, performed / runs, summary.marks["right"] / runs
    )


def break_even(unread: dict[float, Cell], checked: dict[float, Cell], price: float) -> float | None:
    """The share of bad plans from which on checking is cheaper, between the shares that were run; None if at none."""
    shares = sorted(unread)
    saved = [unread[share].total(price) - checked[share].total(price) for share in shares]
    if saved[0] >= 0:
        return shares[0]
    for place in range(1, len(shares)):
        if saved[place] >= 0:
            before, after = saved[place - 1], saved[place]
            return shares[place - 1] + (shares[place] - shares[place - 1]) * -before / (after - before)
    return None


def rows(cells: dict[str, dict[float, Cell]]) -> list[dict[str, Any]]:
    """One row for each cell, then one for each way to check and price, of where it breaks even."""
    said: list[dict[str, Any]] = []
    for monitors, shares in cells.items():
        for share, cell in shares.items():
            unread = cells["unread"][share].total(PRICE)
            said.append(
                {
                    "checked_by": monitors,
                    "bad_plans": share,
                    "usd_thinking": round(cell.thinking, 5),
                    "usd_checking": round(cell.checking, 5),
                    "actions": round(cell.actions, 3),
                    "usd_total": round(cell.total(PRICE), 5),
                    "ratio_to_unread": round(cell.total(PRICE) / unread, 3),
                    "delivered": cell.right,
                }
            )
    for monitors in [each for each in cells if each != "unread"]:
        for price in PRICES:
            even = break_even(cells["unread"], cells[monitors], price)
            even = None if even is None else round(even, 4)
            said.append({"checked_by": monitors, "usd_an_action": price, "breaks_even_at": even})
    return said


_STYLES = {
    "unread": ("#000000", "o", "no check"),
    "rules": ("#009E73", "s", "rules"),
    "judge": ("#D55E00", "^", "judge"),
}


def draw(cells: dict[str, dict[float, Cell]], path: Path) -> None:
    """Total cost against the share of bad plans, and where checking breaks even against the price of an action."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4))
    left, right = figure.subplots(1, 2)
    styles = {
        "unread": ("#000000", "o", "no check"),
        "rules": ("#009E73", "s", "rules"),
        "judge": ("#D55E00", "^", "judge"),
    }
    for monitors, (colour, marker, label) in styles.items():
        shares = sorted(cells[monitors])
        totals = [100 * cells[monitors][share].total(PRICE) for share in shares]
        left.plot([100 * share for share in shares], totals, color=colour, marker=marker, label=label)
        if monitors != "unread":
            found = {price: break_even(cells["unread"], cells[monitors], price) for price in PRICES}
            known = {price: share for price, share in found.items() if share is not None}
            right.plot(list(known), [100 * share for share in known.values()], color=colour, marker=marker, label=label)
    left.set(xlabel="bad plans, %", ylabel="US cents an order", title=f"an action costs {100 * PRICE:g} cent")
    left.set_ylim(bottom=0)
    right.set(xlabel="an action costs, US dollars", ylabel="bad plans, %", title="above its line, checking pays")
    right.set_xscale("log")
    right.set_xticks(PRICES, [f"{price:g}" for price in PRICES])
    right.set_ylim(bottom=-0.5)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    """Run, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells = evaluate(folder, folder / "results.jsonl")
        for row in rows(cells):
            print(json.dumps(row))
        if said.plot is not None:
            draw(cells, said.plot)


if __name__ == "__main__":
    main()
