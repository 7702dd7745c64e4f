"""The figures of the comparison: success at the end, learning curves, horizons, and a table."""

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
    "env_steps": "environment steps",
    "generated_tokens": "tokens generated",
    "trained_tokens": "tokens trained on",
    "update": "updates",
    "flops": "FLOPs",
    "expert_labels": "expert labels (log scale)",
    "seconds": "wall-clock (s)",
}
LIGHT = "#cccccc"  # the other algorithms, drawn behind the one of the panel


@matplotlib.rc_context(STYLE)
def final_success(results: list[Record], mode: str = "sampled") -> Figure:
    """Draws each algorithm's final success, at the trained length and at the longest.

    There is a panel for each task.
    """
    results = select(results, mode=mode)
    tasks, names = distinct(results, "task"), distinct(results, "algorithm")
    ends = (1, max(distinct(results, "horizon")))
    figure, panels = page(1, len(tasks), height=0.26 * len(names) + 0.7, sharey=True)
    looks = [dict(color=COLORS[i], marker="os"[i], linestyle="") for i in range(2)]
    for panel, task in zip(panels[0], tasks, strict=True):
        for i, (horizon, look) in enumerate(zip(ends, looks, strict=True)):
            own = select(results, task=task, horizon=horizon)
            each = [_column(select(own, algorithm=name), "success") for name in names]
            bars(panel, range(len(names)), each, look, "share", (i, 2), across=True)
        panel.set(title=words(task), xlabel=f"success ({mode})", xlim=(-0.03, 1.03))
        panel.set_yticks(range(len(names)), [words(name) for name in names])
    panels[0][0].invert_yaxis()
    lengths = ("at the trained length", f"at {ends[1]} times that")
    handles = [
        Line2D([], [], label=label, **look) for label, look in zip(lengths, looks, strict=True)
    ]
    return legend(figure, [*handles, interval_legend(len(distinct(results, "seed")))])


def _column(records: list[Record], name: str) -> Real[np.ndarray, " records"]:
    return np.array([record[name] for record in records])


@matplotlib.rc_context(STYLE)
def learning_curves(
    curves: list[Record],
    axes: Sequence[str] = ("env_steps", "generated_tokens", "expert_labels"),
    label: Callable[[str], str] = words,
) -> Figure:
    """Draws success against each budget, means over seeds with Student's 95% band.

    There is a column of panels per budget and a line of panels per task. A curve ends at the last
    update that all its seeds have. An algorithm that spends nothing of a budget is one point,
    where it ended.
    """
    tasks, names = distinct(curves, "task"), distinct(curves, "algorithm")
    style = styles(names)
    figure, panels = page(len(tasks), len(axes), height=2.3, sharey=True)
    for line, task in zip(panels, tasks, strict=True):
        for panel, axis in zip(line, axes, strict=True):
            own = select(curves, task=task)
            for i, name in enumerate(distinct(own, "algorithm")):
                x, y = _mean_curve(select(own, algorithm=name), axis)
                _draw_curve(panel, x, y, style[name], i)
            _scale_budget(panel, _column(own, axis), log=axis == "expert_labels")
            panel.set_xlabel(BUDGETS[axis] if task == tasks[-1] else "")
        line[0].set_ylabel(f"success\n{words(task)}")
    fit(panels.flat, "share")
    handles = entries({name: style[name] for name in names}, label)
    return legend(
        figure, [*handles, interval_legend(len(distinct(curves, "seed")), "band")], above=True
    )


def _scale_budget(panel: Axes, budget: Real[np.ndarray, " records"], log: bool) -> None:
    if log:
        # Demonstrations that are bought once and labels that are bought in every update differ by
        # orders of magnitude. The axis is linear below the first label.
        first = np.min(budget, where=budget > 0, initial=budget.max() or 1)
        panel.set_xscale("symlog", linthresh=first)
    else:
        panel.xaxis.set_major_locator(MaxNLocator(3))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))


def _mean_curve(
    curves: list[Record], axis: str
) -> tuple[Float[np.ndarray, " updates"], Float[np.ndarray, "seeds updates"]]:
    """Returns the budget, a mean over seeds, and the success of each seed."""
    seeds = [select(curves, seed=seed) for seed in distinct(curves, "seed")]
    length = min(map(len, seeds))
    x, y = (
        np.array([_column(own[:length], name) for own in seeds], float)
        for name in (axis, "success")
    )
    return x.mean(axis=0), y


def _draw_curve(
    panel: Axes,
    x: Float[np.ndarray, " updates"],
    y: Float[np.ndarray, "seeds updates"],
    look: dict,
    place: int,
) -> None:
    """Draws one curve; its markers stand where those of other places do not, so all show."""
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
    Line2D([], [], color=LIGHT, linewidth=0.8, label="the other algorithms"),
]


@matplotlib.rc_context(STYLE)
def success_against_horizon(results: list[Record], mode: str = "sampled") -> Figure:
    """Draws success at each length of the task, one panel per algorithm and task.

    Points are means over seeds with Student's 95% interval. The curve is pᴷ: the success over K key
    decisions if a seed's accuracy p, measured at the trained length, stayed the same.
    """
    results = select(results, mode=mode)
    tasks, names = distinct(results, "task"), distinct(results, "algorithm")
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, panels = page(len(tasks) * lines, columns, height=1.6, sharey=True)
    for i, task in enumerate(tasks):
        own = panels[i * lines : (i + 1) * lines].flat
        for panel, name in zip(own, names, strict=False):
            _draw_horizons(panel, select(results, task=task), name, styles(names)[name])
            title = words(name) if len(tasks) == 1 else f"{words(task)}: {words(name)}"
            panel.set_title(title, loc="left", pad=3)
        for panel in panels[i * lines : (i + 1) * lines].flat[len(names) :]:
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


def _draw_horizons(panel: Axes, results: list[Record], name: str, style: dict) -> None:
    for other in distinct(results, "algorithm"):
        x, y = _by_turns(select(results, algorithm=other))
        panel.plot(x, y.mean(axis=0), color=LIGHT, linewidth=0.8, zorder=1)
    own = select(results, algorithm=name)
    x, y = _by_turns(own)
    accuracy = _column(select(own, horizon=1), "per_turn")
    turns = np.geomspace(x[0], x[-1], 50)
    decisions = np.interp(turns, x, [select(own, num_turns=t)[0]["decisions"] for t in x])
    foretold = (accuracy[:, None] ** decisions).mean(axis=0)
    panel.plot(turns, foretold, color=style["color"], linewidth=1.2)
    bars(panel, x, y.T, style | {"linestyle": "none"}, "share")
    panel.axvline(x[0], color=GREY, linewidth=0.8, linestyle="--", zorder=1)
    panel.set_xscale("log", base=2)
    ticks(panel, x)


def _by_turns(
    results: list[Record],
) -> tuple[Float[np.ndarray, " horizons"], Float[np.ndarray, "seeds horizons"]]:
    """Returns the lengths in turns, and the success of each seed at each length."""
    turns, success = sorted(distinct(results, "num_turns")), []
    for seed in distinct(results, "seed"):
        own = select(results, seed=seed)
        success.append([select(own, num_turns=t)[0]["success"] for t in turns])
    return np.array(turns, float), np.array(success, float)


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def algorithm_table(algorithms: list[Record], shade: Sequence[str] = ("acts", "credit")) -> Figure:
    """Draws the compared algorithms as a table with a column per key.

    The columns in which supervised and reinforcement learning differ are shaded.
    """
    header = list(algorithms[0])
    lines = [header]
    for algorithm in algorithms:
        lines.append([textwrap.fill(words(value), 16) for value in algorithm.values()])
    heights = [max(cell.count("\n") for cell in line) + 1.5 for line in lines]
    widths = [
        max(len(part) for line in lines for part in line[i].split("\n")) + 2
        for i in range(len(header))
    ]
    x, y = np.cumsum([0, *widths]), np.cumsum([0, *heights])
    figure = Figure(figsize=(WIDTH, 0.19 * y[-1]))
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, x[-1]), ylim=(y[-1], 0))
    panel.set_axis_off()
    for i, line in enumerate(lines):
        below = dict(color=LIGHT, linewidth=0.6) if i else dict(color="#333333", linewidth=1.0)
        panel.axhline(y[i + 1], **below)
        for j, cell in enumerate(line):
            weight = "bold" if i == 0 or j == 0 else "normal"
            middle = (y[i] + y[i + 1]) / 2
            panel.text(x[j] + 0.8, middle, cell, va="center", weight=weight, fontsize=9)
    for j, column in enumerate(header):
        if column in shade:
            panel.axvspan(x[j], x[j + 1], color="#FFF3D6", zorder=0)
    return figure
