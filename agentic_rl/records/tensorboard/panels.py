"""A run's learning curves as one figure: a row of panels or more for each group of metrics, success first."""

from collections.abc import Iterable
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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


def learning_curves(rows: Iterable[Entry]) -> Figure:
    """Returns a panel per metric over the updates: the mean over seeds in blue, each seed in grey."""
    groups = by_group(rows)
    heights = [0.35 + 2.2 * ceil(len(curves) / COLUMNS) for curves in groups.values()]
    figure = Figure(figsize=(14, sum(heights, 0.4)), layout="constrained")
    figure.suptitle(KEY, x=0.01, ha="left", fontsize=11)
    parts = (
        figure.subfigures(len(groups), 1, height_ratios=heights, squeeze=False).ravel()
        if groups
        else ()
    )
    for part, (group, curves) in zip(parts, groups.items(), strict=True):
        part.suptitle(TITLES[group], x=0.01, ha="left", fontsize=13, fontweight="bold")
        panels = part.subplots(ceil(len(curves) / COLUMNS), COLUMNS, squeeze=False).ravel()
        for panel, (name, curve) in zip(panels, curves.items(), strict=False):
            draw(panel, name, curve)
        for panel in panels[len(curves) :]:
            panel.axis("off")
    return figure


def by_group(rows: Iterable[Entry]) -> dict[str, dict[str, Curve]]:
    """Returns each group's curves by the metric's name, both in the order of the figure."""
    groups: dict[str, dict[str, Curve]] = {group: {} for group in TITLES}
    clock = Clock()
    for row in rows:
        for tag, value in [*scalars(row), *clock.scalars(row).items()]:
            group, _, name = tag.partition("/")
            if group in groups:
                groups[group].setdefault(name, []).append(
                    (row["step"], value if isinstance(value, list) else [value])
                )
    return {
        group: dict(sorted(curves.items(), key=rank)) for group, curves in groups.items() if curves
    }


def rank(curve: tuple[str, Curve]) -> tuple[int, str]:
    """Returns where a metric stands within its group: the most important first, the others by name."""
    name = curve[0]
    return (FIRST.index(name) if name in FIRST else len(FIRST)), name


def draw(panel: Axes, name: str, curve: Curve) -> None:
    """Draws a metric's curves; a single point is shown as such, and what is not finite is left out."""
    steps, seeds = (
        [step for step, _ in curve],
        list(zip(*(values for _, values in curve), strict=True)),
    )
    dot = {"marker": "o", "ms": 4} if len(curve) == 1 else {}
    for values in seeds if len(seeds) > 1 else ():
        panel.plot(steps, values, color="0.75", lw=0.8, **dot)
    mean = np.mean(seeds, axis=0)
    panel.plot(steps, mean, color="tab:blue", lw=1.8, **dot)
    panel.set_title(f"{name.replace('_', ' ')}: {number(mean[-1])}", fontsize=11)
    if name in SHARES:
        panel.set_ylim(-0.02, 1.02)
    panel.tick_params(labelsize=8)
    panel.grid(color="0.92")
    panel.spines[["top", "right"]].set_visible(False)


def number(x: float) -> str:
    """Returns a number as short as its size allows.

    >>> number(0.57741), number(61440.0), number(9e10), number(float("nan"))
    ('0.577', '61,440', '9e+10', 'nan')
    """
    return f"{x:,.0f}" if 1000 <= abs(x) < 1e9 else f"{x:.3g}"
