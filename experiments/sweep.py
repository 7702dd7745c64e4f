"""Estimators, or arms, against a condition that is varied: their means over seeds as a table, and as lines."""

from collections.abc import Mapping
from typing import Literal

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments import figures
from experiments.statistics import Record, distinct, select, t_interval

FLOOR = -20.0  # dB: in means, trends and figures, of a signal too weak to be seen
SCALES = {"log": dict(value="log", base=2), "logit": dict(value="logit"), "linear": dict(value="linear")}


def by_seed(records: list[Record], column: str, **where) -> Float[np.ndarray, " seeds"]:
    """A column of the records where this holds, one for each seed; an SNR of −inf dB is FLOOR.

    Raises: ValueError unless there is exactly one for each.
    """
    some, seeds = select(records, **where), sorted(distinct(records, "seed"))
    if sorted(r["seed"] for r in some) != seeds:
        raise ValueError(f"{column} needs one record for each of seeds {seeds} where {where}, but there are {len(some)}.")
    found = np.array([select(some, seed=seed)[0][column] for seed in seeds], float)
    return np.maximum(found, FLOOR) if column.endswith("snr") else found


def table(records: list[Record], x: str, columns: Mapping[str, str], lines: str = "estimator") -> list[Record]:
    """Means over seeds and half of Student's 95% interval; `columns`: of the records, and the format of each."""
    found = []
    for at in distinct(records, x):
        for name in distinct(select(records, **{x: at}), lines):
            cells = {column: cell(by_seed(records, column, **{x: at, lines: name}), how) for column, how in columns.items()}
            found.append({x: at, lines: name} | {k.replace("_", " "): v for k, v in cells.items()})
    return found


def cell(value: Float[np.ndarray, " seeds"], how: str) -> str:
    """The mean and half of Student's 95% interval as text, of the seeds that have a number.

    >>> cell(np.array([0.1, 0.2, 0.3]), ".2f"), cell(np.array([0.1, np.nan]), ".2f"), cell(np.array([np.nan]), ".2f")
    ('0.20 ± 0.25', '0.10 (1 of 2 seeds)', '–')
    """
    there = value[~np.isnan(value)]
    if not len(there):
        return "–"
    (mean, low, _), missing = t_interval(there), len(value) - len(there)
    said = f"{mean:{how}} ± {mean - low:{how.lstrip('+')}}" if len(there) > 1 else f"{mean:{how}}"
    return said + f" ({len(there)} of {len(value)} seeds)" * (missing > 0)


@matplotlib.rc_context(figures.STYLE)
def figure(
    records: list[Record], x: str, panels: Mapping[str, str], lines: str = "estimator", label: str = "",
    scale: Literal["log", "logit", "linear"] = "log", title: str = "",
) -> Figure:  # fmt: skip
    """A panel for each column, a line for each estimator: means over seeds with Student's 95% band; of those that have a number.

    Args: panels: column -> title; label: of the x axis.
    """
    names, style = distinct(records, lines), figures.styles(distinct(records, lines))
    columns = max(1, min(len(names), 4, 80 // (max(len(str(name)) for name in names) + 7)))  # of the legend
    drawn = Figure(figsize=(figures.WIDTH, 2.7 + 0.25 * max(2, -(-len(names) // columns))), layout="constrained")
    for panel, (column, what) in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name in names:
            at = sorted(distinct(select(records, **{lines: name}), x))
            value = [by_seed(records, column, **{x: v, lines: name}) for v in at]
            mean, low, high = np.array([t_interval(y[np.isfinite(y)]) if np.isfinite(y).any() else [np.nan] * 3 for y in value]).T
            panel.plot(at, mean, label=name, **style[name])
            panel.fill_between(at, low, high, color=style[name]["color"], alpha=0.15, linewidth=0)
        if column.endswith("snr"):
            panel.axhline(FLOOR, color=figures.GREY, linewidth=0.8, linestyle=":")
        panel.set_xscale(**SCALES[scale])
        panel.set_xticks(sorted(distinct(records, x)), [f"{v:g}".lstrip("0") or "0" for v in sorted(distinct(records, x))], fontsize=8)
        panel.minorticks_off()
        panel.set_title(what)
        panel.set_xlabel(label or x.replace("_", " "))
    if title:
        drawn.suptitle(title, fontsize=11)
    handles = [Line2D([], [], label=name, **style[name]) for name in names]
    drawn.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, handlelength=3)
    return drawn
