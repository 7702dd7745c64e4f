"""Figures drawn from records alone, each a function that returns a matplotlib `Figure`; nothing global is changed.

A row keeps its colour, marker and line style wherever the records name the rows in the same order. Colours are Okabe and Ito's
(2008) without yellow, which vanishes on white, plus wine and brown, which red- and green-blind eyes tell apart
from the others; the warm start is black and dotted.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

from agentic_rl import atomic
from experiments.statistics import Record, distinct, select, t_interval

WIDTH = 6.5  # inches: a page's text width
STYLE = {
    "font.size": 10, "axes.titlesize": 10, "legend.fontsize": 9.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.markersize": 5,
    "svg.hashsalt": "agentic_rl",
}  # fmt: skip
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#664400")
GREY = "#888888"  # of what was not measured: axes, predictions
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)))
BUDGETS = {
    "env_steps": "environment steps", "generated_tokens": "tokens generated", "trained_tokens": "tokens trained on",
    "update": "updates", "flops": "FLOPs", "expert_labels": "expert labels (log scale)", "seconds": "wall-clock (s)",
}  # fmt: skip

HORIZON_LEGEND = [
    Line2D([], [], color="black", marker="o", linestyle="none", label="measured, 95% interval"),
    Line2D([], [], color="black", linewidth=1.2, label="pᵀ: accuracy per decision stays p"),
    Line2D([], [], color=GREY, linewidth=0.8, linestyle="--", label="trained length (p measured here)"),
    Line2D([], [], color="#cccccc", linewidth=0.8, label="the other rows"),
]


def styles(rows: Sequence[str]) -> dict[str, dict]:
    """The colour, marker and line style of each row, distinct for the first 8 rows beside `warm_start`."""
    found = {}
    for i, row in enumerate(r for r in rows if r != "warm_start"):
        found[row] = {"color": COLORS[i % 8], "marker": MARKERS[i % 9], "linestyle": LINES[(i + i // 8) % 4]}
    return found | {"warm_start": {"color": "black", "marker": "*", "linestyle": ":"}}


@matplotlib.rc_context(STYLE)
def learning_curves(curves: list[Record], axes: Sequence[str] = ("env_steps", "generated_tokens", "expert_labels")) -> Figure:
    """Success against each budget (a panel each), a line of panels per task: mean over seeds with Student's 95% band.

    Drawn up to the last update that all seeds of a row have. A row that spends nothing of a budget is one point: where it ended.
    """
    tasks, style = distinct(curves, "task"), styles(distinct(curves, "row"))
    figure, panels = _panels(len(tasks), len(axes), height=2.3)
    for line, task in zip(panels, tasks, strict=True):
        for panel, axis in zip(line, axes, strict=True):
            for row in distinct(select(curves, task=task), "row"):
                _curve(panel, *_mean_curve(select(curves, task=task, row=row), axis), label=row, **style[row])
            _scale(panel, np.array([r[axis] for r in curves]), log=axis == "expert_labels")
            panel.set_xlabel(BUDGETS[axis] if task == tasks[-1] else "")
        line[0].set_ylabel(f"success\n{task}")
    return _legend_above(figure, [Line2D([], [], label=row, **style[row]) for row in distinct(curves, "row")])


def _scale(panel: Axes, budget: Real[np.ndarray, " records"], log: bool) -> None:
    if log:  # demonstrations bought once and labels bought every update differ by orders of magnitude; linear below the first label
        panel.set_xscale("symlog", linthresh=np.min(budget, where=budget > 0, initial=budget.max() or 1))
    else:
        panel.xaxis.set_major_locator(MaxNLocator(3))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))


def _mean_curve(curves: list[Record], axis: str) -> tuple[Float[np.ndarray, " updates"], Float[np.ndarray, "seeds updates"]]:
    seeds = [select(curves, seed=seed) for seed in distinct(curves, "seed")]
    length = min(map(len, seeds))
    x, y = (np.array([[r[column] for r in s[:length]] for s in seeds], float) for column in (axis, "success"))
    return x.mean(axis=0), y


def _curve(panel: Axes, x: Float[np.ndarray, " updates"], y: Float[np.ndarray, "seeds updates"], **style) -> None:
    mean, low, high = t_interval(y)
    if np.ptp(x) == 0:
        panel.errorbar(x[-1:], mean[-1:], [mean[-1:] - low[-1:], high[-1:] - mean[-1:]], **style)
        return
    panel.plot(x, mean, markevery=max(1, len(x) // 5), **style)
    panel.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)


@matplotlib.rc_context(STYLE)
def success_against_horizon(results: list[Record], mode: str = "sampled") -> Figure:
    """Success at each length of the task, one panel per row and task: mean over seeds with Student's 95% interval.

    The curve is pᴷ, the success over K key decisions of a seed's constant accuracy p, measured at the trained length; mean over seeds.
    """
    results = select(results, mode=mode)
    tasks, rows = distinct(results, "task"), distinct(results, "row")
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure, panels = _panels(len(tasks) * lines, columns, height=1.8)
    for i, task in enumerate(tasks):
        for panel, row in zip(panels[i * lines : (i + 1) * lines].flat, rows, strict=False):
            _horizon_panel(panel, select(results, task=task), row, styles(rows)[row])
            panel.set_title(row if len(tasks) == 1 else f"{task}: {row}", loc="left", pad=3)
        for panel in panels[i * lines : (i + 1) * lines].flat[len(rows) :]:
            panel.set_visible(False)
    figure.supxlabel("turns in the episode (log scale)")
    figure.supylabel(f"success ({mode})")
    return _legend_above(figure, HORIZON_LEGEND, columns=2)


def _horizon_panel(panel: Axes, results: list[Record], row: str, style: dict) -> None:
    for other in distinct(results, "row"):
        x, y = _by_turns(select(results, row=other))
        panel.plot(x, y.mean(axis=0), color="#cccccc", linewidth=0.8, zorder=1)
    x, y = _by_turns(select(results, row=row))
    mean, low, high = t_interval(y)
    accuracy = np.array([r["per_turn"] for r in select(results, row=row, horizon=1)])
    turns = np.geomspace(x[0], x[-1], 50)
    decisions = np.interp(turns, x, [select(results, row=row, num_turns=t)[0]["decisions"] for t in x])
    panel.plot(turns, (accuracy[:, None] ** decisions).mean(axis=0), color=style["color"], linewidth=1.2)
    panel.errorbar(x, mean, [mean - low, high - mean], **style | {"linestyle": "none"}, capsize=2.5)
    panel.axvline(x[0], color=GREY, linewidth=0.8, linestyle="--", zorder=1)
    panel.set_xscale("log", base=2)
    panel.set_xticks(x, [f"{turn:g}" for turn in x])
    panel.xaxis.set_minor_locator(NullLocator())


def _by_turns(results: list[Record]) -> tuple[Float[np.ndarray, " horizons"], Float[np.ndarray, "seeds horizons"]]:
    turns = sorted(distinct(results, "num_turns"))
    seeds = distinct(results, "seed")
    return np.array(turns, float), np.array([[select(results, seed=s, num_turns=t)[0]["success"] for t in turns] for s in seeds], float)


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def algorithm_table(rows: list[Record], shade: Sequence[str] = ("acts", "credit")) -> Figure:
    """The rows of the comparison as a drawn table: a column per key, those where supervised and reinforcement learning differ shaded."""
    lines = [list(rows[0])] + [[textwrap.fill(str(value), 14) for value in row.values()] for row in rows]
    heights = [max(cell.count("\n") for cell in line) + 1.5 for line in lines]
    widths = [max(len(part) for line in lines for part in line[i].split("\n")) + 2 for i in range(len(rows[0]))]
    x, y = np.cumsum([0, *widths]), np.cumsum([0, *heights])
    figure = Figure(figsize=(WIDTH, 0.19 * y[-1]))
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, x[-1]), ylim=(y[-1], 0))
    panel.set_axis_off()
    for i, line in enumerate(lines):
        panel.axhline(y[i + 1], color="#333333" if i == 0 else "#cccccc", linewidth=1.0 if i == 0 else 0.6)
        for j, cell in enumerate(line):
            panel.text(x[j] + 0.8, (y[i] + y[i + 1]) / 2, cell, va="center", weight="bold" if i == 0 or j == 0 else "normal", fontsize=9)
    for j, column in enumerate(rows[0]):
        if column in shade:
            panel.axvspan(x[j], x[j + 1], color="#FFF3D6", zorder=0)
    return figure


def _panels(lines: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(WIDTH, height * lines + 0.6), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
    panels[0][0].set_ylim(-0.03, 1.03)
    return figure, panels


def _legend_above(figure: Figure, handles: list[Line2D], columns: int = 4) -> Figure:
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), columns), frameon=False, handlelength=3)
    return figure


@matplotlib.rc_context(STYLE)
def drawn(figure: Figure, kind: str = "png", dpi: int = 200) -> bytes:
    """The figure as the bytes of a `png` or `svg` file; the same figure gives the same bytes. `dpi`: dots per inch of a png."""
    metadata = {"png": {"Software": None}, "svg": {"Date": None}}[kind]
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Writes `path` twice, with the endings .png and .svg; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        atomic.write(path.with_suffix(f".{kind}"), drawn(figure, kind))
