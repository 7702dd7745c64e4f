"""A run's learning curves as one figure: a panel per metric, grouped, with success first."""

from collections.abc import Iterable
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from agentic_rl.records.tensorboard.tags import Clock, Entry, scalars

TITLES = {
    "eval": "Evaluation on unseen problems",
    "train": "Training",
    "credit": "Credit",
    "budget": "Budget spent",
    "time": "Time",
}  # by group, in the order of the figure
FIRST = ("success", "return", "per_turn_accuracy", "loss")  # within a group
SHARES = ("success", "per_turn_accuracy")  # drawn from 0 to 1
COLUMNS = 4
KEY = "Blue: the mean over seeds, its last value in the title. Grey: each seed. Across: updates."
Curve = list[tuple[int, list[int | float]]]  # steps, and the value of each seed


def learning_curves(entries: Iterable[Entry]) -> Figure:
    """Returns a panel per metric over the updates: the mean over seeds in blue, seeds in grey."""
    groups = group_curves(entries)
    heights = [0.35 + 2.2 * ceil(len(curves) / COLUMNS) for curves in groups.values()]
    figure = Figure(figsize=(14, sum(heights, 0.4)), layout="constrained")
    figure.suptitle(KEY, x=0.01, ha="left", fontsize=11)
    if groups:
        parts = figure.subfigures(len(groups), 1, height_ratios=heights, squeeze=False).ravel()
        for part, group in zip(parts, groups, strict=True):
            part.suptitle(TITLES[group], x=0.01, ha="left", fontsize=13, fontweight="bold")
            _plot_group(part, groups[group])
    return figure


def group_curves(entries: Iterable[Entry]) -> dict[str, dict[str, Curve]]:
    """Returns each group's curves by the metric's name, both in the order of the figure."""
    groups: dict[str, dict[str, Curve]] = {group: {} for group in TITLES}
    clock = Clock()
    for entry in entries:
        for tag, value in [*scalars(entry), *clock.scalars(entry).items()]:
            group, _, name = tag.partition("/")
            if group in groups:
                values = value if isinstance(value, list) else [value]
                groups[group].setdefault(name, []).append((entry["step"], values))
    return {
        group: {name: curves[name] for name in sorted(curves, key=_place)}
        for group, curves in groups.items()
        if curves
    }


def _place(metric: str) -> tuple[int, str]:
    """Returns a sorting key within a group: the most important metrics first, then by name."""
    return (FIRST.index(metric) if metric in FIRST else len(FIRST)), metric


def _plot_group(part: SubFigure, curves: dict[str, Curve]) -> None:
    panels = part.subplots(ceil(len(curves) / COLUMNS), COLUMNS, squeeze=False).ravel()
    for panel, name in zip(panels, curves, strict=False):
        plot_curve(panel, name, curves[name])
    for panel in panels[len(curves) :]:
        panel.axis("off")


def plot_curve(panel: Axes, name: str, curve: Curve) -> None:
    """Draws a metric's curves; a single point gets a marker, and non-finite values are left out."""
    steps = [step for step, _ in curve]
    seeds = list(zip(*(values for _, values in curve), strict=True))
    dot = {"marker": "o", "ms": 4} if len(curve) == 1 else {}
    if len(seeds) > 1:
        for values in seeds:
            panel.plot(steps, values, color="0.75", lw=0.8, **dot)
    mean = np.mean(seeds, axis=0)
    panel.plot(steps, mean, color="tab:blue", lw=1.8, **dot)
    panel.set_title(f"{name.replace('_', ' ')}: {format_number(mean[-1])}", fontsize=11)
    if name in SHARES:
        panel.set_ylim(-0.02, 1.02)
    panel.tick_params(labelsize=8)
    panel.grid(color="0.92")
    panel.spines[["top", "right"]].set_visible(False)


def format_number(x: float) -> str:
    """Returns a number as short as its size allows.

    >>> format_number(0.57741), format_number(61440.0), format_number(9e10)
    ('0.577', '61,440', '9e+10')
    """
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e9 else f"{x:.3g}"
