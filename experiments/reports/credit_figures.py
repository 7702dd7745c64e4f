"""The figures of the credit bench: heat maps of all estimators, and one episode by tokens."""

import json
import re

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.reports.display_names import words
from experiments.reports.figures import STYLE, WIDTH
from experiments.reports.stats import Record, distinct, select

PANELS = {  # column: title, least and largest value of the colours
    "pearson": ("correlation with the true advantage", -1, 1),
    "expected_cosine": ("cosine of a batch's gradient with the true one", -1, 1),
    "snr": ("signal to noise of the gradient, dB", -20, 20),
    "snr_env": ("the same at RLOO's environment steps, dB", -20, 20),
}


def places(records: list[Record]) -> list[tuple[str, float]]:
    """Returns every pair of a task and a level, in order of first appearance."""
    return list(dict.fromkeys((r["task"], r["level"]) for r in records))


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def heat_maps(records: list[Record]) -> Figure:
    """Draws a heat map for each of PANELS: estimators against tasks and levels."""
    names, columns = distinct(records, "estimator"), places(records)
    first = {place: select(records, task=place[0], level=place[1])[0] for place in columns}
    success = [f"{record['success']:.2f}".lstrip("0") for record in first.values()]
    colours = matplotlib.colormaps["RdBu"].with_extremes(bad="#cccccc")
    figure = Figure(figsize=(WIDTH * 1.6, 0.22 * len(names) * 2 + 2.2), layout="constrained")
    axes = figure.subplots(2, 2, sharey=True).flat
    for panel, (column, (title, low, high)) in zip(axes, PANELS.items(), strict=True):
        value = _grid(records, names, columns, column)
        shown = np.clip(value, low, high)
        image = panel.imshow(shown, cmap=colours, vmin=low, vmax=high, aspect="auto")
        for (i, j), x in np.ndenumerate(value):
            _write_cell(panel, i, j, _cell(x, high), is_dark=abs(x) > 0.7 * high)
        panel.set_title(title)
        panel.set_yticks(range(len(names)), map(words, names))
        panel.set_xticks(range(len(columns)), success)
        _name_tasks(panel, [task for task, _ in columns])
        figure.colorbar(image, ax=panel, shrink=0.6)
    figure.supxlabel("success of the policy, and task")
    return figure


def _grid(
    records: list[Record], names: list[str], columns: list[tuple[str, float]], column: str
) -> Float[np.ndarray, "estimators places"]:
    """Returns a column of the records by estimator, and by task and level."""
    value = []
    for name in names:
        own = select(records, estimator=name)
        value.append([select(own, task=task, level=level)[0][column] for task, level in columns])
    return np.array(value)


def _write_cell(panel: Axes, i: int, j: int, text: str, is_dark: bool) -> None:
    """Writes a number on a field of a heat map."""
    color = "white" if is_dark else "black"
    panel.text(j, i, text, ha="center", va="center", fontsize=8, color=color)


def _cell(x: float, most: float) -> str:
    """Returns the number in a cell as text.

    >>> _cell(-0.07, 1), _cell(1.0, 1), _cell(-np.inf, 20), _cell(np.nan, 1)
    ('−.07', '1.00', '−∞', '–')
    """
    if np.isnan(x):
        return "–"
    text = format(x, ".0f" if most > 1 else ".2f").replace("inf", "∞").replace("-", "−")
    return "0" if text == "−0" else re.sub(r"^(−?)0\.", r"\1.", text)


def _name_tasks(panel: Axes, tasks: list[str]) -> None:
    """Writes each task's name below its columns, and draws a line between two tasks."""
    for task in distinct([{"task": task} for task in tasks], "task"):
        at = [i for i, name in enumerate(tasks) if name == task]
        below = panel.get_xaxis_transform()
        panel.text(np.mean(at), -0.06, words(task), transform=below, ha="center", va="top")
        panel.axvline(at[0] - 0.5, color="black", linewidth=1.5)


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def episode(records: list[Record]) -> Figure:
    """Draws the credits of a failed episode's tokens, a line per estimator, below the truth."""
    lines = {"true advantage": json.loads(records[0]["truth"])}
    lines |= {r["estimator"]: json.loads(r["credit"]) for r in records}
    value, written = np.array(list(lines.values())), json.loads(records[0]["tokens"])
    scaled = value / np.maximum(np.abs(value).max(1, keepdims=True), 1e-9)
    figure = Figure(figsize=(WIDTH * 1.5, 0.25 * len(lines) + 2.2), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(scaled, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (i, j), x in np.ndenumerate(value):
        text = f"{x:+.2f}".replace("-", "−") if abs(x) >= 0.005 else "0"
        _write_cell(panel, i, j, text, is_dark=abs(scaled[i, j]) > 0.7)
    panel.axhline(0.5, color="black", linewidth=1.5)
    panel.set_yticks(range(len(lines)), map(words, lines))
    panel.set_xticks(
        range(len(written)), written, rotation=50, ha="right", rotation_mode="anchor", fontsize=8
    )
    policy = f"by a policy that succeeds in {records[0]['success']:.0%}"
    panel.set_title(
        f"One episode of {words(records[0]['task'])}, {policy}: the credit of each token"
    )
    figure.colorbar(image, ax=panel, shrink=0.6, label="share of the line's largest")
    return figure
