"""TensorBoard's view of a run's rows: one chart per metric, with a line for the mean and one per seed.

Each line is a TensorBoard run (`mean`, `seed0`, `seed1`, ...); texts, the hyperparameters and the figure are in `mean`.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from math import ceil
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)  # it warns of every NaN of a diverged run

Row = dict[str, Any]


class TensorBoard:
    """Event files in a folder. Nothing is created before the first row."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def _writer(self, line: str) -> SummaryWriter:
        if line not in self._writers:
            # The queue is unbounded (0): on a full disk the writing thread dies, and a bounded one would then block for ever.
            # The suffix keeps two writers of one second from sharing a file.
            suffix = f".{time.time_ns()}"
            self._writers[line] = SummaryWriter(str(self.folder / line), max_queue=0, flush_secs=10, filename_suffix=suffix)
        return self._writers[line]

    def add_row(self, row: Row) -> None:
        """Adds the row's numbers at its step and time."""
        for line, tag, value in lines(row):
            self._writer(line).add_scalar(tag, value, row["step"], row["time"])

    def add_episodes(self, row: Row) -> None:
        """Adds the row's episodes as one text, in fixed-width type."""
        text = "\n\n---\n\n".join(indent(episode, "    ") for episode in row["episodes"])
        self._writer("mean").add_text("episodes", text, row["step"], row["time"])

    def add_summary(self, knobs: dict[str, Any], rows: list[Row]) -> None:
        """Adds the learning curves as a figure, and `knobs` to the HParams tab beside the last row's means."""
        self.flush()
        mean = self._writer("mean")
        metrics = {tag: value for line, tag, value in lines(rows[-1]) if line == "mean"}
        for summary in hparams({k: v if isinstance(v, bool | int | float) else str(v) for k, v in knobs.items()}, metrics):
            mean.file_writer.add_summary(summary)
        mean.add_figure("learning_curves", learning_curves(rows), rows[-1]["step"])

    def rewrite(self, rows: Iterable[Row], episodes: Iterable[Row]) -> None:
        """Replaces all event files by new ones of these rows; the old ones go only when the new ones are complete."""
        self.close()
        old = list(self.folder.rglob("events.out.tfevents.*"))
        for row in rows:
            self.add_row(row)
        for row in episodes:
            self.add_episodes(row)
        self.close()
        for file in old:
            file.unlink()

    def flush(self) -> None:
        """Passes on what the writing threads have taken up; raises OSError if the disk is full."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Writes all that was added, and ends the writing threads; raises OSError if the disk is full."""
        while self._writers:
            self._writers.popitem()[1].close()


def lines(row: Row) -> Iterator[tuple[str, str, float]]:
    """(line, metric, value) for each number of a row: the mean, and each seed's where there are several.

    >>> list(lines({"step": 1, "time": 0.0, "loss": 0.5, "success": [0.0, 1.0]}))
    [('mean', 'loss', 0.5), ('mean', 'success', 0.5), ('seed0', 'success', 0.0), ('seed1', 'success', 1.0)]
    """
    for tag, value in row.items():
        if tag in ("step", "time"):
            continue
        yield "mean", tag, float(np.mean(value))
        if isinstance(value, list) and len(value) > 1:
            yield from ((f"seed{i}", tag, v) for i, v in enumerate(value))


def learning_curves(rows: list[Row]) -> Figure:
    """One panel per metric over the steps: the mean in black, each seed in grey."""
    points: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        for line, tag, value in lines(row):
            points.setdefault(tag, {}).setdefault(line, []).append((row["step"], value))
    height = ceil(len(points) / 4)
    figure = Figure(figsize=(12, 2.5 * height), layout="constrained")
    panels = figure.subplots(height, 4, squeeze=False).ravel()
    for panel, (tag, curves) in zip(panels, points.items(), strict=False):
        panel.set_title(tag, fontsize=9)
        for line, curve in curves.items():
            panel.plot(*zip(*curve, strict=True), **({"color": "black", "zorder": 3} if line == "mean" else {"color": "0.7", "lw": 0.8}))
    for panel in panels[len(points) :]:
        panel.axis("off")
    return figure
