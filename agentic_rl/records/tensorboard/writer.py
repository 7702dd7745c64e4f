"""TensorBoard's view of a run: the mean over its seeds in one TensorBoard run, called after the run's directory.

TensorBoard reads every event file below the folder that it is given, follows links, and names what it finds by its path. Nothing in
such a folder is off by default, and with more than 40 runs all are off in its tabs Scalars, Images and Text. So the seeds have no event
files there: the figure shows them, and `write_seeds` writes their curves to a folder of their own.
"""

import logging
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from textwrap import indent
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams as to_summaries

from agentic_rl.records.background_errors import quieten
from agentic_rl.records.tensorboard.hparams import hparams
from agentic_rl.records.tensorboard.panels import learning_curves
from agentic_rl.records.tensorboard.tags import Clock, Entry, scalars

logging.getLogger("tensorboardX.x2num").setLevel(
    logging.ERROR
)  # it warns of every NaN of a diverged run
EVENTS = "events.out.tfevents.*"


class TensorBoard:
    """Event files in a run's directory. Nothing is created before the first row."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.folder = directory / name(directory)
        self._clock = Clock()
        self._opened: SummaryWriter | None = None

    @property
    def _writer(self) -> SummaryWriter:
        self._opened = self._opened or writer(self.folder)
        return self._opened

    def add_entry(self, row: Entry) -> None:
        """Adds the row's numbers at its step and time, each the mean over the seeds."""
        for tag, value in scalars(row):
            self._writer.add_scalar(tag, float(np.mean(value)), row["step"], row["time"])
        for tag, value in self._clock.scalars(row).items():
            self._writer.add_scalar(tag, value, row["step"], row["time"])

    def add_episodes(self, row: Entry) -> None:
        """Adds the row's episodes as one text, in fixed-width type."""
        text = "\n\n---\n\n".join(indent(episode, "    ") for episode in row["episodes"])
        self._writer.add_text("episodes", text, row["step"], row["time"])

    def add_summary(self, config: dict[str, Any], rows: Iterable[Entry]) -> None:
        """Adds the learning curves as a figure, and the run's settings to the HParams tab.

        TensorBoard lists there the settings of all runs that it finds, those that differ first, and the newest values of the metrics.
        Were a run to list its own (`experiment`), TensorBoard would show the settings of the first run only.
        """
        self.flush()
        _, start, end = to_summaries(hparams(config), {})
        for summary in (start, end):
            self._writer.file_writer.add_summary(summary)
        rows = list(rows)
        self._writer.add_figure("learning_curves", learning_curves(rows), rows[-1]["step"])

    def rewrite(self, rows: Iterable[Entry], episodes: Iterable[Entry]) -> None:
        """Replaces all event files by new ones of these rows; the old ones go only when the new ones are complete."""
        self.close()
        old = [
            *self.directory.glob(f"*/{EVENTS}"),
            *self.directory.glob(f"tensorboard/*/{EVENTS}"),
        ]  # there until November 2026
        self._clock = Clock()
        for row in rows:
            self.add_entry(row)
        for row in episodes:
            self.add_episodes(row)
        self.close()
        for file in old:
            file.unlink()
        for folder in [*{file.parent for file in old}, self.directory / "tensorboard"]:
            with suppress(OSError):  # it is not empty, or not there
                folder.rmdir()

    def flush(self) -> None:
        """Passes on what the writing thread has taken up; raises OSError if the disk is full."""
        if self._opened:
            self._opened.flush()

    def close(self) -> None:
        """Writes all that was added, and ends the writing thread; raises OSError if the disk is full."""
        opened, self._opened = self._opened, None
        if opened:
            opened.close()


def writer(folder: Path) -> SummaryWriter:
    """Returns a writer of a new event file in the folder.

    Its queue is unbounded (0): on a full disk the writing thread dies, and a bounded one would then block for ever. The suffix keeps
    two writers of one second from sharing a file.
    """
    quieten()
    return SummaryWriter(
        str(folder), max_queue=0, flush_secs=10, filename_suffix=f".{time.time_ns()}"
    )


def name(directory: Path) -> str:
    """Returns what TensorBoard calls a run: its directory's name, without the time at the end.

    >>> name(Path("runs/grpo-running_sum-20261130-120000")), name(Path("runs/running_sum/sft_fresh"))
    ('grpo-running_sum', 'sft_fresh')
    """
    return re.sub(r"-\d{8}-\d{6}(-\d+)?$", "", directory.absolute().name) or "run"


def write_seeds(folder: Path, seed: int, rows: Iterable[Entry]) -> None:
    """Writes each seed's curves into a subfolder, `seed0` and so on, counted from the run's first seed; it replaces those there."""
    for old in folder.glob(f"seed*/{EVENTS}"):
        old.unlink()
    writers: list[SummaryWriter] = []
    for row in rows:
        for tag, values in scalars(row):
            values = values if isinstance(values, list) else [values]
            writers += [
                writer(folder / f"seed{seed + i}") for i in range(len(writers), len(values))
            ]
            for i, value in enumerate(values):
                writers[i].add_scalar(tag, value, row["step"], row["time"])
    for each in writers:
        each.close()
