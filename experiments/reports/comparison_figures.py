"""The figures of supervised learning against reinforcement learning: what it comes to, the way there, longer episodes, the table."""

import textwrap
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, Real
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from experiments.reports.display_names import words
from experiments.reports.figures import (
    COLORS,
    GREY,
    STYLE,
    WIDTH,
    band,
    bars,
    entries,
    fit,
    interval_legend,
    legend,
    page,
    styles,
    ticks,
)
from experiments.reports.stats import Record, distinct, select

BUDGETS = {
    "env_steps": "environment steps", "generated_tokens": "tokens generated", "trained_tokens": "tokens trained on",
    "update": "updates", "flops": "FLOPs", "expert_labels": "expert labels (log scale)", "seconds": "wall-clock (s)",
}  # fmt: skip
LIGHT = "#cccccc"  # the other rows, behind one


@matplotlib.rc_context(STYLE)
def final_success(results: list[Record], mode: str = "sampled") -> Figure:
    """Success of each row at the end, at the trained length and at the longest: a panel for each task."""
    results = select(results, mode=mode)
    tasks, rows, ends = (
        distinct(results, "task"),
        distinct(results, "algorithm"),
        (1, max(distinct(results, "horizon"))),
    )
    figure, panels = page(1, len(tasks), height=0.26 * len(rows) + 0.7, sharey=True)
    looks = [dict(color=COLORS[i], marker="os"[i], linestyle="") for i in range(2)]
    for panel, task in zip(panels[0], tasks, strict=True):
        for i, (horizon, look) in enumerate(zip(ends, looks, strict=True)):
            some = select(results, task=task, horizon=horizon)
            each = [np.array([r["success"] for r in select(some, algorithm=row)]) for row in rows]
            bars(panel, range(len(rows)), each, look, "share", (i, 2), across=True)
        panel.set(title=words(task), xlabel=f"success ({mode})", xlim=(-0.03, 1.03))
        panel.set_yticks(range(len(rows)), [words(row) for row in rows])
    panels[0][0].invert_yaxis()
    lengths = ("at the trained length", f"at {ends[1]} times that")
    handles = [
        Line2D([], [], label=label, **look) for label, look in zip(lengths, looks, strict=True)
    ]
    return legend(figure, [*handles, interval_legend(len(distinct(results, "seed")))])


@matplotlib.rc_context(STYLE)
def learning_curves(
    curves: list[Record],
    axes: Sequence[str] = ("env_steps", "generated_tokens", "expert_labels"),
    label: Callable[[str], str] = words,
) -> Figure:
    """Success against each budget (a panel each), a line of panels per task: mean over seeds with Student's 95% band.

    Drawn up to the last update that all seeds of a row have. A row that spends nothing of a budget is one point: where it ended.
    """
    tasks, rows = distinct(curves, "task"), distinct(curves, "algorithm")
    style = styles(rows)
    figure, panels = page(len(tasks), len(axes), height=2.3, sharey=True)
    for line, task in zip(panels, tasks, strict=True):
        for panel, axis in zip(line, axes, strict=True):
            own = select(curves, task=task)
            for i, row in enumerate(distinct(own, "algorithm")):
                _curve(panel, *_mean_curve(select(own, algorithm=row), axis), style[row], i)
            _budget(panel, np.array([r[axis] for r in own]), log=axis == "expert_labels")
            panel.set_xlabel(BUDGETS[axis] if task == tasks[-1] else "")
        line[0].set_ylabel(f"success\n{words(task)}")
    fit(panels.flat, "share")
    names = entries({row: style[row] for row in rows}, label)
    return legend(
        figure, [*names, interval_legend(len(distinct(curves, "seed")), "band")], above=True
    )


def _budget(panel: Axes, budget: Real[np.ndarray, " records"], log: bool) -> None:
    if log:  # demonstrations bought once and labels bought every update differ by orders of magnitude; linear below the first label
        panel.set_xscale(
            "symlog", linthresh=np.min(budget, where=budget > 0, initial=budget.max() or 1)
        )
    else:
        panel.xaxis.set_major_locator(MaxNLocator(3))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))


def _mean_curve(
    curves: list[Record], axis: str
) -> tuple[Float[np.ndarray, " updates"], Float[np.ndarray, "seeds updates"]]:
    seeds = [select(curves, seed=seed) for seed in distinct(curves, "seed")]
    length = min(map(len, seeds))
    x, y = (
        np.array([[r[column] for r in s[:length]] for s in seeds], float)
        for column in (axis, "success")
    )
    return x.mean(axis=0), y


def _curve(
    panel: Axes,
    x: Float[np.ndarray, " updates"],
    y: Float[np.ndarray, "seeds updates"],
    look: dict,
    place: int,
) -> None:
    """One row's curve; its markers stand elsewhere than those of other places, so that equal curves both show."""
    if np.ptp(x) == 0:
        bars(panel, x[-1:], y.T[-1:], look, "share")
        return
    every = max(1, len(x) // 4)
    band(panel, x, y.T, look, "share", shade=0.08, markevery=(place % every, every))


HORIZON_LEGEND = [
    Line2D([], [], color="black", linewidth=1.2, label="pᵀ: accuracy per decision stays p"),
    Line2D(
        [], [], color=GREY, linewidth=0.8, linestyle="--", label="trained length (p measured here)"
    ),
    Line2D([], [], color=LIGHT, linewidth=0.8, label="the other rows"),
]


@matplotlib.rc_context(STYLE)
def success_against_horizon(results: list[Record], mode: str = "sampled") -> Figure:
    """Success at each length of the task, one panel per row and task: mean over seeds with Student's 95% interval.

    The curve is pᴷ, the success over K key decisions of a seed's constant accuracy p, measured at the trained length; mean over seeds.
    """
    results = select(results, mode=mode)
    tasks, rows = distinct(results, "task"), distinct(results, "algorithm")
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure, panels = page(len(tasks) * lines, columns, height=1.6, sharey=True)
    for i, task in enumerate(tasks):
        for panel, row in zip(panels[i * lines : (i + 1) * lines].flat, rows, strict=False):
            _horizon_panel(panel, select(results, task=task), row, styles(rows)[row])
            panel.set_title(
                words(row) if len(tasks) == 1 else f"{words(task)}: {words(row)}", loc="left", pad=3
            )
        for panel in panels[i * lines : (i + 1) * lines].flat[len(rows) :]:
            panel.set_visible(False)
    panels[0][0].set_ylim(-0.03, 1.03)
    figure.supxlabel("turns in the episode (log scale)")
    figure.supylabel(f"success ({mode})")
    measured = Line2D(
        [], [], color="black", marker="o", linestyle="", label="measured, mean over seeds"
    )
    return legend(
        figure,
        [measured, interval_legend(len(distinct(results, "seed"))), *HORIZON_LEGEND],
        above=True,
    )


def _horizon_panel(panel: Axes, results: list[Record], row: str, style: dict) -> None:
    for other in distinct(results, "algorithm"):
        x, y = _by_turns(select(results, algorithm=other))
        panel.plot(x, y.mean(axis=0), color=LIGHT, linewidth=0.8, zorder=1)
    x, y = _by_turns(select(results, algorithm=row))
    accuracy = np.array([r["per_turn"] for r in select(results, algorithm=row, horizon=1)])
    turns = np.geomspace(x[0], x[-1], 50)
    decisions = np.interp(
        turns, x, [select(results, algorithm=row, num_turns=t)[0]["decisions"] for t in x]
    )
    panel.plot(
        turns, (accuracy[:, None] ** decisions).mean(axis=0), color=style["color"], linewidth=1.2
    )
    bars(panel, x, y.T, style | {"linestyle": "none"}, "share")
    panel.axvline(x[0], color=GREY, linewidth=0.8, linestyle="--", zorder=1)
    panel.set_xscale("log", base=2)
    ticks(panel, x)


def _by_turns(
    results: list[Record],
) -> tuple[Float[np.ndarray, " horizons"], Float[np.ndarray, "seeds horizons"]]:
    turns = sorted(distinct(results, "num_turns"))
    seeds = distinct(results, "seed")
    return np.array(turns, float), np.array(
        [[select(results, seed=s, num_turns=t)[0]["success"] for t in turns] for s in seeds], float
    )


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def algorithm_table(rows: list[Record], shade: Sequence[str] = ("acts", "credit")) -> Figure:
    """The rows of the comparison as a drawn table: a column per key, those where supervised and reinforcement learning differ shaded."""
    lines = [list(rows[0])] + [
        [textwrap.fill(words(value), 16) for value in row.values()] for row in rows
    ]
    heights = [max(cell.count("\n") for cell in line) + 1.5 for line in lines]
    widths = [
        max(len(part) for line in lines for part in line[i].split("\n")) + 2
        for i in range(len(rows[0]))
    ]
    x, y = np.cumsum([0, *widths]), np.cumsum([0, *heights])
    figure = Figure(figsize=(WIDTH, 0.19 * y[-1]))
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, x[-1]), ylim=(y[-1], 0))
    panel.set_axis_off()
    for i, line in enumerate(lines):
        panel.axhline(
            y[i + 1], color="#333333" if i == 0 else LIGHT, linewidth=1.0 if i == 0 else 0.6
        )
        for j, cell in enumerate(line):
            panel.text(
                x[j] + 0.8,
                (y[i] + y[i + 1]) / 2,
                cell,
                va="center",
                weight="bold" if i == 0 or j == 0 else "normal",
                fontsize=9,
            )
    for j, column in enumerate(rows[0]):
        if column in shade:
            panel.axvspan(x[j], x[j + 1], color="#FFF3D6", zorder=0)
    return figure
