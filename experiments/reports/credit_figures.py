"""What the bench for credits shows: heat maps of all estimators, and one episode token by token."""

import json
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from experiments.reports.display_names import words
from experiments.reports.figures import STYLE, WIDTH
from experiments.reports.stats import Record, distinct, select

PANELS = {
    "pearson": ("correlation with the true advantage", -1, 1), "expected_cosine": ("cosine of a batch's gradient with the true one", -1, 1),
    "snr": ("signal to noise of the gradient, dB", -20, 20), "snr_env": ("the same at RLOO's environment steps, dB", -20, 20),
}  # fmt: skip


def places(records: list[Record]) -> list[tuple[str, float]]:
    """Every task and level."""
    return list(dict.fromkeys((r["task"], r["level"]) for r in records))


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def heat_maps(records: list[Record]) -> Figure:
    """A panel for each of PANELS: estimators against tasks and levels."""
    names, columns = distinct(records, "estimator"), places(records)
    figure = Figure(figsize=(WIDTH * 1.6, 0.22 * len(names) * 2 + 2.2), layout="constrained")
    for panel, (column, (title, low, high)) in zip(
        figure.subplots(2, 2, sharey=True).flat, PANELS.items(), strict=True
    ):
        value = np.array(
            [
                [select(records, task=t, level=at, estimator=n)[0][column] for t, at in columns]
                for n in names
            ]
        )
        colours = matplotlib.colormaps["RdBu"].with_extremes(bad="#cccccc")
        image = panel.imshow(
            np.clip(value, low, high), cmap=colours, vmin=low, vmax=high, aspect="auto"
        )
        for (i, j), x in np.ndenumerate(value):
            panel.text(
                j,
                i,
                _cell(x, high),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if abs(x) > 0.7 * high else "black",
            )
        panel.set_title(title)
        panel.set_yticks(range(len(names)), map(words, names))
        panel.set_xticks(
            range(len(columns)),
            [
                f"{select(records, task=t, level=at)[0]['success']:.2f}".lstrip("0")
                for t, at in columns
            ],
        )
        _name_tasks(panel, [task for task, _ in columns])
        figure.colorbar(image, ax=panel, shrink=0.6)
    figure.supxlabel("success of the policy, and task")
    return figure


def _cell(x: float, most: float) -> str:
    """The number in a cell.

    >>> _cell(-0.07, 1), _cell(1.0, 1), _cell(-np.inf, 20), _cell(np.nan, 1)
    ('−.07', '1.00', '−∞', '–')
    """
    if np.isnan(x):
        return "–"
    text = format(x, ".0f" if most > 1 else ".2f").replace("inf", "∞").replace("-", "−")
    return "0" if text == "−0" else re.sub(r"^(−?)0\.", r"\1.", text)


def _name_tasks(panel: Any, tasks: list[str]) -> None:
    """Each task's name below its columns, and a line between two tasks."""
    for task in distinct([{"task": task} for task in tasks], "task"):
        at = [i for i, name in enumerate(tasks) if name == task]
        panel.text(
            np.mean(at),
            -0.06,
            words(task),
            transform=panel.get_xaxis_transform(),
            ha="center",
            va="top",
        )
        panel.axvline(at[0] - 0.5, color="black", linewidth=1.5)


@matplotlib.rc_context(STYLE | {"axes.grid": False})
def episode(records: list[Record]) -> Figure:
    """The tokens of an episode that failed, coloured by each estimator's credit, below the truth."""
    rows = {"true advantage": json.loads(records[0]["truth"])} | {
        r["estimator"]: json.loads(r["credit"]) for r in records
    }
    value, written = np.array(list(rows.values())), json.loads(records[0]["tokens"])
    scaled = value / np.maximum(np.abs(value).max(1, keepdims=True), 1e-9)
    figure = Figure(figsize=(WIDTH * 1.5, 0.25 * len(rows) + 2.2), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(scaled, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (i, j), x in np.ndenumerate(value):
        text = f"{x:+.2f}".replace("-", "−") if abs(x) >= 0.005 else "0"
        panel.text(
            j,
            i,
            text,
            ha="center",
            va="center",
            fontsize=8,
            color="white" if abs(scaled[i, j]) > 0.7 else "black",
        )
    panel.axhline(0.5, color="black", linewidth=1.5)
    panel.set_yticks(range(len(rows)), map(words, rows))
    panel.set_xticks(
        range(len(written)), written, rotation=50, ha="right", rotation_mode="anchor", fontsize=8
    )
    policy = f"by a policy that succeeds in {records[0]['success']:.0%}"
    panel.set_title(
        f"One episode of {words(records[0]['task'])}, {policy}: the credit of each token"
    )
    figure.colorbar(image, ax=panel, shrink=0.6, label="share of the row's largest")
    return figure
