"""Estimators, or arms, against a condition that is varied: their means over seeds as a table, and as lines."""

from collections.abc import Iterable, Mapping
from typing import Literal

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.reports import figures
from experiments.reports.stats import Record, distinct, select, t_interval

FLOOR = -20.0  # dB: in means, trends and figures, of a signal too weak to be seen
SCALES = {
    "log": dict(value="log", base=2),
    "logit": dict(value="logit"),
    "linear": dict(value="linear"),
    "even": dict(value="linear"),
}
KINDS: dict[str, figures.Kind] = {  # what the columns of the records are, where they are not just numbers
    "success": "share", "learned": "share", "shown": "share", "shifted": "share", "clipped": "share", "share": "share",
    "expected_cosine": "cosine",
}  # fmt: skip
FEW = 6  # values of the x axis, up to which intervals are drawn as bars


def by_seed(records: list[Record], column: str, **where) -> Float[np.ndarray, " seeds"]:
    """A column of the records where this holds, one for each seed; an SNR of −inf dB is FLOOR.

    Raises: ValueError unless there is exactly one for each.
    """
    some, seeds = select(records, **where), sorted(distinct(records, "seed"))
    if sorted(r["seed"] for r in some) != seeds:
        raise ValueError(
            f"{column} needs one record for each of seeds {seeds} where {where}, but there are {len(some)}."
        )
    found = np.array([select(some, seed=seed)[0][column] for seed in seeds], float)
    return np.maximum(found, FLOOR) if column.endswith("snr") else found


def table(
    records: list[Record], x: str, columns: Mapping[str, str], lines: str = "estimator"
) -> list[Record]:
    """Means over seeds and half of Student's 95% interval; `columns`: of the records, and the format of each."""
    found = []
    for at in distinct(records, x):
        for name in distinct(select(records, **{x: at}), lines):
            cells = {
                column: cell(by_seed(records, column, **{x: at, lines: name}), how)
                for column, how in columns.items()
            }
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
    scale: Literal["log", "logit", "linear", "even"] = "log", title: str = "", same: bool = False,
) -> Figure:  # fmt: skip
    """Draws a panel for each column, a line for each estimator: means over seeds with Student's 95% interval, of those with a number.

    Args: panels: column -> title; label: of the x axis; scale: of the x axis, "even" sets its values at equal distances; same: all
    panels show the same quantity, and have the same limits.
    """
    names, at = distinct(records, lines), sorted(distinct(records, x))
    style = {name: look for name, look in figures.styles(names).items() if name in names}
    drawn, axes = figures.page(1, len(panels), height=2.6)
    shape = "bar" if len(at) <= FEW else "band"
    for panel, (column, what) in zip(axes[0], panels.items(), strict=True):
        there = [
            name
            for name in names
            if any(np.isfinite(r[column]) for r in select(records, **{lines: name}))
        ]
        for i, name in enumerate(there):
            _line(
                panel,
                select(records, **{lines: name}),
                x,
                column,
                at if scale == "even" else [],
                style[name],
                (i, len(there)),
                shape,
            )
        if column.endswith("snr"):
            panel.axhline(FLOOR, color=figures.GREY, linewidth=0.8, linestyle=":")
        panel.set_xscale(**SCALES[scale])
        figures.ticks(
            panel, range(len(at)) if scale == "even" else at, [figures.number(v) for v in at]
        )
        panel.set(title=what, xlabel=label or x.replace("_", " "))
        figures.fit([panel], KINDS.get(column, "number"))
    if same:
        figures.fit(axes[0], KINDS.get(next(iter(panels)), "number"))
    if title:
        drawn.suptitle(title, fontsize=11)
    floor = [
        Line2D(
            [],
            [],
            color=figures.GREY,
            linestyle=":",
            label=f"{FLOOR:g} dB: no signal seen".replace("-", "−"),
        )
    ]
    handles = [*figures.entries(style), *floor * any(column.endswith("snr") for column in panels)]
    return figures.legend(
        drawn, [*handles, figures.interval_legend(len(distinct(records, "seed")), shape)]
    )


def _line(
    panel: Axes,
    own: list[Record],
    x: str,
    column: str,
    even: list,
    look: dict,
    place: tuple[int, int],
    shape: str,
) -> None:
    """One estimator's line; bars of several stand side by side."""
    at = sorted(distinct(own, x))
    each = [by_seed(own, column, **{x: value}) for value in at]
    where, kind = [even.index(value) for value in at] if even else at, KINDS.get(column, "number")
    if shape == "bar":
        figures.bars(panel, where, each, look, kind, place)
    else:
        figures.band(panel, where, each, look, kind)


def same_limits(drawn: Iterable[Figure], panels: Iterable[str]) -> None:
    """Gives each column's panel the same limits in all figures of these panels."""
    for column, same in zip(
        panels, zip(*(figure.axes for figure in drawn), strict=True), strict=True
    ):
        figures.fit(same, KINDS.get(column, "number"))
