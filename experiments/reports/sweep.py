"""A sweep: estimators or arms against a condition that is varied, as a table and as lines."""

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

FLOOR = -20.0  # dB: stands for a signal too weak to be seen, in means, trends and figures
SCALES = {
    "log": dict(value="log", base=2),
    "logit": dict(value="logit"),
    "linear": dict(value="linear"),
    "even": dict(value="linear"),
}
# The kind of each column of the records that is not just a number.
KINDS: dict[str, figures.Kind] = {
    **dict.fromkeys(("success", "learned", "shown", "shifted", "clipped", "share"), "share"),
    "expected_cosine": "cosine",
}
FEW = 6  # up to so many values on the x axis, intervals are drawn as bars


def by_seed(records: list[Record], column: str, **where) -> Float[np.ndarray, " seeds"]:
    """Returns a column of the records where this holds, seeds ascending; −inf dB becomes FLOOR.

    Raises: ValueError unless there is exactly one record for each seed.
    """
    own, seeds = select(records, **where), sorted(distinct(records, "seed"))
    if sorted(r["seed"] for r in own) != seeds:
        raise ValueError(
            f"{column} needs one record for each of seeds {seeds} where {where}, "
            f"but there are {len(own)}."
        )
    value = np.array([select(own, seed=seed)[0][column] for seed in seeds], float)
    return np.maximum(value, FLOOR) if column.endswith("snr") else value


def table(
    records: list[Record], x: str, columns: Mapping[str, str], lines: str = "estimator"
) -> list[Record]:
    """Returns means over seeds with half of Student's 95% interval, a line per x and estimator.

    Args:
      columns: the columns of the records to show, and the format of each.
      lines: the column that tells the lines apart.
    """
    table_lines = []
    for at in distinct(records, x):
        for name in distinct(select(records, **{x: at}), lines):
            where = {x: at, lines: name}
            cells = {}
            for column, how in columns.items():
                cells[column.replace("_", " ")] = cell(by_seed(records, column, **where), how)
            table_lines.append(where | cells)
    return table_lines


def cell(value: Float[np.ndarray, " seeds"], how: str) -> str:
    """Returns the mean and half of Student's 95% interval as text, of the seeds with a number.

    >>> cell(np.array([0.1, 0.2, 0.3]), ".2f"), cell(np.array([np.nan]), ".2f")
    ('0.20 ± 0.25', '–')
    >>> cell(np.array([0.1, np.nan]), ".2f")
    '0.10 (1 of 2 seeds)'
    """
    finite = value[~np.isnan(value)]
    if not len(finite):
        return "–"
    mean, low, _ = t_interval(finite)
    half = f" ± {mean - low:{how.lstrip('+')}}" if len(finite) > 1 else ""
    missing = f" ({len(finite)} of {len(value)} seeds)" if len(finite) < len(value) else ""
    return f"{mean:{how}}{half}{missing}"


@matplotlib.rc_context(figures.STYLE)
def figure(
    records: list[Record],
    x: str,
    panels: Mapping[str, str],
    lines: str = "estimator",
    label: str = "",
    scale: Literal["log", "logit", "linear", "even"] = "log",
    title: str = "",
    same: bool = False,
) -> Figure:
    """Draws a panel for each column and a line for each estimator, with 95% intervals.

    Points are means over the seeds that have a number.

    Args:
      panels: the title of each column.
      label: that of the x axis.
      scale: of the x axis; "even" sets its values at equal distances.
      same: all panels show the same quantity, and get the same limits.
    """
    names, at = distinct(records, lines), sorted(distinct(records, x))
    style = {name: look for name, look in figures.styles(names).items() if name in names}
    drawn, axes = figures.page(1, len(panels), height=2.6)
    shape = "bar" if len(at) <= FEW else "band"
    even = at if scale == "even" else []
    for panel, (column, what) in zip(axes[0], panels.items(), strict=True):
        own = {name: select(records, **{lines: name}) for name in names}
        finite = {
            name: some for name, some in own.items() if any(np.isfinite(r[column]) for r in some)
        }
        for i, (name, some) in enumerate(finite.items()):
            _draw_line(panel, some, x, column, even, style[name], (i, len(finite)), shape)
        if column.endswith("snr"):
            panel.axhline(FLOOR, color=figures.GREY, linewidth=0.8, linestyle=":")
        panel.set_xscale(**SCALES[scale])
        ends = range(len(at)) if even else at
        figures.ticks(panel, ends, [figures.number(value) for value in at])
        panel.set(title=what, xlabel=label or x.replace("_", " "))
        figures.fit([panel], KINDS.get(column, "number"))
    if same:
        figures.fit(axes[0], KINDS.get(next(iter(panels)), "number"))
    if title:
        drawn.suptitle(title, fontsize=11)
    handles = figures.entries(style)
    if any(column.endswith("snr") for column in panels):
        floor = f"{FLOOR:g} dB: no signal seen".replace("-", "−")
        handles.append(Line2D([], [], color=figures.GREY, linestyle=":", label=floor))
    seeds = figures.interval_legend(len(distinct(records, "seed")), shape)
    return figures.legend(drawn, [*handles, seeds])


def _draw_line(
    panel: Axes,
    own: list[Record],
    x: str,
    column: str,
    even: list,
    look: dict,
    place: tuple[int, int],
    shape: str,
) -> None:
    """Draws one estimator's line; the bars of several stand side by side."""
    at = sorted(distinct(own, x))
    each = [by_seed(own, column, **{x: value}) for value in at]
    where = [even.index(value) for value in at] if even else at
    kind = KINDS.get(column, "number")
    if shape == "bar":
        figures.bars(panel, where, each, look, kind, place)
    else:
        figures.band(panel, where, each, look, kind)


def same_limits(drawn: Iterable[Figure], panels: Iterable[str]) -> None:
    """Gives each column's panel the same limits in all these figures."""
    by_panel = zip(*(figure.axes for figure in drawn), strict=True)
    for column, same in zip(panels, by_panel, strict=True):
        figures.fit(same, KINDS.get(column, "number"))
