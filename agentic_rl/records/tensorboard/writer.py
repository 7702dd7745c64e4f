"""TensorBoard's view of a run: the mean over its seeds, named after the run's directory.

TensorBoard reads every event file below the folder that it is given, follows links, and names what
it finds by its path. It shows every run by default, but with more than 40 runs it shows none of
them in its tabs Scalars, Images and Text. So the seeds have no event files in a run's directory:
the figure of learning curves shows them, and `write_seeds` writes them to a folder of their own.
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

# It would warn of every NaN of a diverged run.
logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)
EVENTS = "events.out.tfevents.*"


class TensorBoard:
    """Event files in a run's directory. Nothing is created before the first entry."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.folder = directory / run_name(directory)
        self._clock = Clock()
        self._opened: SummaryWriter | None = None

    @property
    def _writer(self) -> SummaryWriter:
        self._opened = self._opened or open_writer(self.folder)
        return self._opened

    def add_entry(self, entry: Entry) -> None:
        """Adds the entry's numbers at its step and time, each the mean over the seeds."""
        for tag, value in [*scalars(entry), *self._clock.scalars(entry).items()]:
            self._writer.add_scalar(tag, float(np.mean(value)), entry["step"], entry["time"])

    def add_episodes(self, entry: Entry) -> None:
        """Adds the entry's episodes as one text in fixed-width type."""
        text = "\n\n---\n\n".join(indent(episode, "    ") for episode in entry["episodes"])
        self._writer.add_text("episodes", text, entry["step"], entry["time"])

    def add_summary(self, config: dict[str, Any], entries: Iterable[Entry]) -> None:
        """Adds the learning curves as a figure, and the run's settings to the HParams tab.

        That tab lists the settings of all runs that TensorBoard finds, those that differ first,
        and the newest values of the metrics. If a run also listed its own (`experiment`),
        TensorBoard would show the settings of the first run only.
        """
        self.flush()
        _, start, end = to_summaries(hparams(config), {})
        for summary in (start, end):
            self._writer.file_writer.add_summary(summary)
        entries = list(entries)
        self._writer.add_figure("learning_curves", learning_curves(entries), entries[-1]["step"])

    def rewrite(self, entries: Iterable[Entry], episodes: Iterable[Entry]) -> None:
        """Replaces all event files, and removes the old ones once the new ones are complete."""
        self.close()
        old = list(self.directory.glob(f"*/{EVENTS}"))
        old += self.directory.glob(f"tensorboard/*/{EVENTS}")  # the place until November 2026
        self._clock = Clock()
        for entry in entries:
            self.add_entry(entry)
        for entry in episodes:
            self.add_episodes(entry)
        self.close()
        self._clock = Clock()  # what is added next comes after a pause, which is no update's time
        for file in old:
            file.unlink()
        for folder in [*{file.parent for file in old}, self.directory / "tensorboard"]:
            with suppress(OSError):  # it is not empty, or does not exist
                folder.rmdir()

    def flush(self) -> None:
        """Writes what the writing thread has received.

        Raises: OSError if the disk is full.
        """
        if self._opened:
            self._opened.flush()

    def close(self) -> None:
        """Writes all that was added, and ends the writing thread.

        Raises: OSError if the disk is full.
        """
        opened, self._opened = self._opened, None
        if opened:
            opened.close()


def open_writer(folder: Path) -> SummaryWriter:
    """Returns a writer of a new event file in the folder.

    Its queue is unbounded (0): on a full disk the writing thread dies, and a bounded queue would
    then block for ever. The suffix keeps two writers of one second from sharing a file.
    """
    quieten()
    suffix = f".{time.time_ns()}"
    return SummaryWriter(str(folder), max_queue=0, flush_secs=10, filename_suffix=suffix)


def run_name(directory: Path) -> str:
    """Returns the name of a run in TensorBoard: its directory's, without the time at the end.

    >>> run_name(Path("runs/grpo-key_door-20261130-120000")), run_name(Path("runs/sft"))
    ('grpo-key_door', 'sft')
    """
    return re.sub(r"-\d{8}-\d{6}(-\d+)?$", "", directory.absolute().name) or "run"


def write_seeds(folder: Path, seed: int, entries: Iterable[Entry]) -> None:
    """Writes each seed's curves into a subfolder, replacing those that exist.

    The subfolders are `seed0` and so on, counted from the run's first seed.
    """
    for old in folder.glob(f"seed*/{EVENTS}"):
        old.unlink()
    writers: dict[int, SummaryWriter] = {}
    for entry in entries:
        for tag, values in scalars(entry):
            for i, value in enumerate(values if isinstance(values, list) else [values]):
                if i not in writers:
                    writers[i] = open_writer(folder / f"seed{seed + i}")
                writers[i].add_scalar(tag, value, entry["step"], entry["time"])
    for writer in writers.values():
        writer.close()
