"""Plots an evaluation: the runs' outcomes and costs."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaffold.errors import MissingExtra
from scaffold.evaluation.scoring import MARKS

if TYPE_CHECKING:
    from scaffold.evaluation.summary import Summary

# Distinguishable for colour-blind people (Okabe and Ito's palette), and by lightness in print.
_COLOURS = {"right": "#009E73", "wrong": "#D55E00", "unsolved": "#E6E6E6", "stopped": "#56B4E9"}
_LONGEST = 36  # letters of a name on one line


def need_matplotlib() -> None:
    """Check that matplotlib is installed before anything runs.

    Raises:
        MissingExtra: it is not.
    """
    try:
        import matplotlib.figure  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingExtra("drawing plots", "plots") from None


def draw(summaries: dict[str, Summary], folder: Path) -> list[Path]:
    """Draw `outcomes.png` and `cost.png` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / "outcomes.png", folder / "cost.png"]
    for path, drawing in zip(made, (outcomes, cost), strict=True):
        drawing(summaries).savefig(path, dpi=150, bbox_inches="tight")
    return made


def outcomes(summaries: dict[str, Summary]) -> Any:
    """Draw a bar per cell with its runs' outcomes, and the confidence interval of the share of right ones."""
    figure, axes = _figure(len(summaries))
    places = range(len(summaries))
    left = [0.0] * len(summaries)
    for mark in MARKS:
        shares = [100 * each.marks[mark] / max(1, each.runs) for each in summaries.values()]
        axes.barh(places, shares, left=left, color=_COLOURS[mark], edgecolor="white", label=mark, height=0.7)
        left = [before + share for before, share in zip(left, shares, strict=True)]
    for place, each in zip(places, summaries.values(), strict=True):
        low, high = each.rate("right")
        axes.plot([100 * low, 100 * high], [place, place], color="black", linewidth=1.5, marker="|", markersize=8)
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of runs; the black line is the 95 % interval of right ones")
    axes.legend(ncols=len(MARKS), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    _label(axes, summaries)
    return figure


def cost(summaries: dict[str, Summary]) -> Any:
    """Draw a bar per cell with the cost of a run: in dollars if they are known and not all zero, else in tokens."""
    figure, axes = _figure(len(summaries))
    known = all(each.total_usd is not None for each in summaries.values())
    in_usd = known and any(each.total_usd for each in summaries.values())
    kinds = {"model": "work", "oversight": "oversight", **({"actions": "actions"} if in_usd else {})}
    left = [0.0] * len(summaries)
    for (kind, said), colour in zip(kinds.items(), ("#0072B2", "#F0E442", "#CC79A7"), strict=False):
        sums = [(each.usd if in_usd else each.tokens)[kind] or 0 for each in summaries.values()]
        means = [whole / max(1, each.runs) for whole, each in zip(sums, summaries.values(), strict=True)]
        axes.barh(range(len(summaries)), means, left=left, color=colour, edgecolor="white", label=said, height=0.7)
        left = [before + mean for before, mean in zip(left, means, strict=True)]
    axes.set_xlabel("US dollars a run" if in_usd else "tokens a run")
    axes.legend(ncols=len(kinds), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    _label(axes, summaries)
    return figure


def _figure(bars: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # drawn without pyplot, which would look for a screen

    figure = Figure(figsize=(8, 1.4 + 0.4 * max(2, bars)))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _label(axes: Any, summaries: dict[str, Summary]) -> None:
    names = ["\n".join(textwrap.wrap(name, _LONGEST)) for name in summaries]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()  # the first on top, as in the table
