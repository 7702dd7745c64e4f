"""What a waiting user wants to know: the phase of a run, its progress, speed and success."""

import time
from collections import deque
from collections.abc import Callable
from math import nan
from typing import NamedTuple

import numpy as np

CHUNKS = 10  # the newest chunks, over which the speed is measured


class Progress(NamedTuple):
    """A snapshot of a run's progress. A phase without a total does not count its steps."""

    phase: str  # such as "compiling the updates"
    step: int = 0  # updates done in this phase
    total: int = 0
    seconds_left: float = nan  # in this phase, evaluations included; NaN: not known yet
    steps_per_second: float = nan
    tokens_per_second: float = nan  # trained on
    success: float = nan  # mean over seeds in the newest evaluation
    success_at: int = 0  # the update at which it was evaluated
    saved: bool = False  # whether all that was done so far is on disk
    note: str = ""  # a sentence for the user, shown once

    @property
    def loses_nothing(self) -> bool:
        """Whether the process may end now without losing an update."""
        return self.saved and not self.total


class Reporter:
    """Keeps the progress of a run, and passes every change on to a callback."""

    def __init__(self, on_progress: Callable[[Progress], None]):
        self.on_progress = on_progress
        self.now = Progress("preparing", saved=True)  # nothing that could be lost was done yet

    def phase(self, name: str, total: int = 0, step: int = 0) -> None:
        """Begins a phase. The newest success and whether all is saved are carried over."""
        carried = {field: getattr(self.now, field) for field in ("success", "success_at", "saved")}
        self.now = Progress(name, step, total, **carried)
        self.on_progress(self.now)

    def update(self, **changes) -> None:
        """Changes fields within the phase."""
        self.now = self.now._replace(**changes)
        self.on_progress(self.now)

    def note(self, sentence: str) -> None:
        """Shows the user a sentence once."""
        self.on_progress(self.now._replace(note=sentence))

    def evaluated(self, success: list[float], step: int) -> None:
        """Keeps the success of the newest evaluation [S] for the next event."""
        self.now = self.now._replace(success=float(np.mean(success)), success_at=step)

    def saved(self, saved: bool) -> None:
        """Keeps for the next event whether everything is on disk."""
        self.now = self.now._replace(saved=saved)


class Pace:
    """Measures the speed of a phase, and predicts when it ends."""

    def __init__(self, total: int, every: int = 0, evaluation: float = 0.0):
        """Begins to measure, at the first of `total` updates.

        Args:
          every: updates between evaluations; 0: there are none.
          evaluation: seconds that one evaluation takes, until another is measured.
        """
        self.total, self.every, self.evaluation = total, every, evaluation
        self.since = time.monotonic()
        self.chunks = deque(maxlen=CHUNKS)  # of (seconds, updates, tokens)

    def chunk(
        self, step: int, steps: int, tokens: int, evaluation: float = 0.0
    ) -> dict[str, float]:
        """Returns the speed after another chunk of updates, which ends at update `step`.

        Args:
          evaluation: seconds of the evaluation with which the chunk ended; 0: without one.
        """
        now = time.monotonic()
        self.chunks.append((now - self.since - evaluation, steps, tokens))
        self.since, self.evaluation = now, evaluation or self.evaluation
        seconds, steps, tokens = (sum(column) for column in zip(*self.chunks))
        left = (self.total - step) * seconds / steps
        left += self._evaluations_left(step) * self.evaluation
        return {
            "seconds_left": left,
            "steps_per_second": steps / seconds,
            "tokens_per_second": tokens / seconds,
        }

    def _evaluations_left(self, step: int) -> int:
        if not self.every or step >= self.total:
            return 0
        return -(-self.total // self.every) - step // self.every
