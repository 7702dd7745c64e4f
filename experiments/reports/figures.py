"""The shared parts of figures: one style, 95% intervals, axes, legends and files.

A figure is drawn from records alone by a function that returns a matplotlib `Figure`; nothing
global is changed. A name keeps its colour, marker and line style wherever the records list the
names in the same order. Colours are those of Okabe and Ito (2008) without yellow, which vanishes on
white, plus wine and brown, which red- and green-blind eyes tell apart from the others. The warm
start is black and dotted.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from jaxtyping import Float, Real
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import ScaledTranslation

from agentic_rl.records import atomic_files
from experiments.reports.display_names import words
from experiments.reports.stats import t_interval

# The kind of a quantity decides its interval and its axis.
Kind = Literal["number", "share", "cosine", "ratio"]
Ends = Float[np.ndarray, " points"]

WIDTH = 6.5  # inches: a page's text width
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "legend.fontsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.markersize": 5,
    "svg.hashsalt": "agentic_rl",  # the same figure gives the same bytes
}
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#664400")
GREY = "#888888"  # for what was not measured: reference lines, predictions
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)))
BOUNDS = {"share": (0.0, 1.0), "cosine": (-1.0, 1.0)}
SHADE = 0.15  # opacity of a band
STEP = 5  # points between the bars of two names at the same x


def styles(names: Sequence[str]) -> dict[str, dict]:
    """Returns the colour, marker and line style of each name, distinct for the first 8 beside
    `warm_start`.
    """
    looks = {}
    for i, name in enumerate(n for n in names if n != "warm_start"):
        looks[name] = {
            "color": COLORS[i % 8],
            "marker": MARKERS[i % 9],
            "linestyle": LINES[(i + i // 8) % 4],
        }
    return looks | {"warm_start": {"color": "black", "marker": "*", "linestyle": ":"}}


def page(lines: int, columns: int, height: float, **how: Any) -> tuple[Figure, np.ndarray]:
    """Returns a new figure and its panels [lines, columns], each `height` inches high.

    A legend that is added later makes the figure higher.
    """
    figure = Figure(figsize=(WIDTH, height * lines), layout="constrained")
    return figure, figure.subplots(lines, columns, squeeze=False, **how)


# Intervals


def interval(
    each: Sequence[Real[np.ndarray, " seeds"]], kind: Kind = "number"
) -> tuple[Ends, Ends, Ends]:
    """Returns the mean over seeds at each point, and the ends of Student's 95% interval.

    Seeds without a number are left out. The interval of a share or a cosine is cut at the bounds of
    the quantity, so it still covers at least 95%. That of a ratio is computed from logarithms, so
    it is positive and the mean is geometric.
    """
    points = [_interval_at(np.asarray(seeds, float), kind) for seeds in each]
    ends = np.array(points).reshape(-1, 3).T
    return tuple(np.clip(ends, *BOUNDS[kind]) if kind in BOUNDS else ends)


def _interval_at(seeds: Float[np.ndarray, " seeds"], kind: Kind) -> tuple[float, float, float]:
    finite = seeds[np.isfinite(seeds)]
    if not len(finite):
        return np.nan, np.nan, np.nan
    return tuple(np.exp(t_interval(np.log(finite))) if kind == "ratio" else t_interval(finite))


def band(
    panel: Axes,
    at: Sequence[float],
    each: Sequence[Real[np.ndarray, " seeds"]],
    look: Mapping,
    kind: Kind = "number",
    shade: float = SHADE,
    **how,
) -> None:
    """Draws the mean over seeds as a line, and its 95% interval as a band."""
    mean, low, high = interval(each, kind)
    panel.plot(at, mean, **look, **how)
    panel.fill_between(at, low, high, color=look["color"], alpha=shade, linewidth=0)


def bars(
    panel: Axes,
    at: Sequence[float],
    each: Sequence[Real[np.ndarray, " seeds"]],
    look: Mapping,
    kind: Kind = "number",
    place: tuple[int, int] = (0, 1),
    across: bool = False,
) -> None:
    """Draws the mean over seeds as a line, and its 95% interval as a bar at each point.

    Args:
      place: (i, n) if this is the i-th of n names at the same points. Each name is moved aside by a
        few points on the paper, so that none hides another.
      across: the quantity is on the x axis, and `at` on the y axis.
    """
    mean, low, high = interval(each, kind)
    ends = np.maximum([mean - low, high - mean], 0.0)
    aside = (place[0] - (place[1] - 1) / 2) * STEP / 72
    moved = panel.transData + ScaledTranslation(
        0 if across else aside, -aside if across else 0, panel.figure.dpi_scale_trans
    )
    data = dict(x=mean, y=at, xerr=ends) if across else dict(x=at, y=mean, yerr=ends)
    _make_room(panel, place[1] * STEP / 2 + 4, across)
    for artist in panel.errorbar(**data, capsize=2, elinewidth=1, **look).get_children():
        artist.set_transform(moved)  # afterwards, because limits follow from the data's places


def _make_room(panel: Axes, points: float, across: bool) -> None:
    """Widens the margins of the axis along which bars are moved, so that none leaves the panel."""
    grid = panel.get_subplotspec().get_gridspec()
    inches = (
        panel.figure.get_figheight() / grid.nrows
        if across
        else panel.figure.get_figwidth() / grid.ncols
    )
    share = min(points / 72 / (0.75 * inches), 0.3)
    panel.margins(**{"y" if across else "x": share / (1 - 2 * share)})


# Axes


def fit(panels: Iterable[Axes], kind: Kind = "number") -> None:
    """Gives panels that show the same quantity the same y limits.

    Limits of a share or a cosine stay within its bounds. A share is shown from 0 to 1 if the
    measurements fill half of that.
    """
    panels = list(panels)
    low, high = (end(panel.get_ylim()[i] for panel in panels) for i, end in enumerate((min, max)))
    if kind in BOUNDS:
        least, most = BOUNDS[kind]
        margin = 0.03 * (most - least)
        wide = kind == "share" and high - low > (most - least) / 2
        low, high = (
            (least - margin, most + margin)
            if wide
            else (max(low, least - margin), min(high, most + margin))
        )
    for panel in panels:
        panel.set_ylim(low, high)


def log_scale(panel: Axes, which: Literal["x", "y"] = "y") -> None:
    """Makes an axis logarithmic, with a tick at each power of ten, in plain numbers."""
    panel.set(**{f"{which}scale": "log"})
    axis = {"x": panel.xaxis, "y": panel.yaxis}[which]
    axis.set_major_locator(LogLocator(10))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def ticks(panel: Axes, at: Sequence[float], labels: Sequence[str] = ()) -> None:
    """Sets the ticks of the x axis, and no others."""
    panel.set_xticks(at, labels or [number(x) for x in at])
    panel.minorticks_off()


def number(x: float) -> str:
    """Returns a number as a tick's label, without the zero before the point.

    >>> number(0.05), number(0), number(16)
    ('.05', '0', '16')
    """
    return f"{x:g}".lstrip("0") or "0"


# Legends


def entries(looks: Mapping[str, Mapping], label=words) -> list[Line2D]:
    """Returns a legend's entries for these names, in words."""
    return [Line2D([], [], label=label(name), **look) for name, look in looks.items()]


def interval_legend(seeds: int, shape: Literal["band", "bar"] = "bar", mean: str = "") -> Artist:
    """Returns the legend's entry that explains the bands or bars of a figure."""
    label = f"{mean}95% interval over {seeds} seeds"
    if shape == "band":
        return Patch(facecolor=GREY, alpha=2 * SHADE, linewidth=0, label=label)
    mark = dict(marker="|", markersize=11, markeredgewidth=1.5, linestyle="")
    return Line2D([], [], color=GREY, label=label, **mark)


def legend(figure: Figure, handles: Sequence[Artist], above: bool = False) -> Figure:
    """Adds a legend below or above the panels, in as many columns as fit the figure's width.

    The figure gets higher by the legend's lines.
    """
    widths = [_entry_width(handle.get_label()) for handle in handles]
    most = figure.get_figwidth() - 0.2
    fitting = [n for n in range(1, len(handles) + 1) if _width(widths, n) <= most]
    columns = max(fitting, default=1)
    figure.set_figheight(figure.get_figheight() + 0.21 * -(-len(handles) // columns) + 0.1)
    where = f"outside {'upper' if above else 'lower'} center"
    figure.legend(
        handles=handles,
        loc=where,
        ncols=columns,
        frameon=False,
        handlelength=2.6,
        columnspacing=1.2,
    )
    return figure


def _entry_width(label: str) -> float:
    """Returns the width of a legend's entry in inches, its handle included."""
    text = TextPath((0, 0), label, size=STYLE["legend.fontsize"])
    return text.get_extents().width / 72 + 0.65


def _width(widths: Sequence[float], columns: int) -> float:
    """Returns the width of entries in so many columns, which are filled one after the other."""
    return sum(max(column) for column in np.array_split(widths, columns))


# Files


@matplotlib.rc_context(STYLE)
def to_bytes(figure: Figure, kind: str = "png", dpi: int = 200) -> bytes:
    """Returns the figure as the bytes of a `png` or `svg` file; equal figures give equal bytes."""
    metadata = {"png": {"Software": None}, "svg": {"Date": None}}[kind]
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Writes the figure as `path`.png and `path`.svg, and creates the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for kind in ("png", "svg"):
        atomic_files.write(path.with_suffix(f".{kind}"), to_bytes(figure, kind))
