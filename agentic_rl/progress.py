"""What a user wants to know while waiting: which phase a run is in, how far it is, how fast, and how well it does."""

import time
from collections import deque
from collections.abc import Callable
from math import nan
from typing import NamedTuple

import numpy as np

CHUNKS = 10  # the newest, over which the speed is measured


class Progress(NamedTuple):
    """How far a run is. A phase without a total does not count its steps."""

    phase: str  # such as "compiling the updates"
    step: int = 0  # updates done in this phase
    total: int = 0
    seconds_left: float = nan  # of this phase, evaluations included; NaN: not known yet
    steps_per_second: float = nan
    tokens_per_second: float = nan  # trained on
    success: float = nan  # mean over seeds in the newest evaluation
    success_at: int = 0  # the update that was evaluated
    saved: bool = False  # all that was done so far can be had from the disk again
    note: str = ""  # a sentence for the user, said once

    @property
    def loses_nothing(self) -> bool:
        """Whether the process may end now without losing an update."""
        return self.saved and not self.total


class Reporter:
    """Tells a callback what changes, and keeps what does not."""

    def __init__(self, on_progress: Callable[[Progress], None]):
        self.on_progress = on_progress
        self.now = Progress("preparing", saved=True)  # nothing was done yet

    def phase(self, name: str, total: int = 0, step: int = 0) -> None:
        """Begins a phase; what was known of success and of the disk stays."""
        self.now = Progress(
            name,
            step,
            total,
            success=self.now.success,
            success_at=self.now.success_at,
            saved=self.now.saved,
        )
        self.on_progress(self.now)

    def tell(self, **changes) -> None:
        """Changes something within the phase."""
        self.now = self.now._replace(**changes)
        self.on_progress(self.now)

    def note(self, sentence: str) -> None:
        """Says a sentence."""
        self.on_progress(self.now._replace(note=sentence))

    def evaluated(self, success: list[float], step: int) -> None:
        """Keeps what the newest evaluation found, for the next event."""
        self.now = self.now._replace(success=float(np.mean(success)), success_at=step)

    def saved(self, saved: bool) -> None:
        """Keeps whether the disk has everything, for the next event."""
        self.now = self.now._replace(saved=saved)


class Pace:
    """Measures how fast a phase goes, and foretells its end."""

    def __init__(self, total: int, every: int = 0, evaluation: float = 0.0):
        """
        Args:
          every: updates between evaluations; 0: there are none.
          evaluation: seconds that one takes, until another is measured.
        """
        self.total, self.every, self.evaluation = total, every, evaluation
        self.since = time.monotonic()
        self.chunks = deque(maxlen=CHUNKS)  # of (seconds, updates, tokens)

    def chunk(
        self, step: int, steps: int, tokens: int, evaluation: float = 0.0
    ) -> dict[str, float]:
        """Returns the speed after another chunk, which ended with an evaluation of so many seconds (0: without)."""
        now = time.monotonic()
        self.chunks.append((now - self.since - evaluation, steps, tokens))
        self.since, self.evaluation = now, evaluation or self.evaluation
        seconds, steps, tokens = (sum(column) for column in zip(*self.chunks))
        evaluations = (
            -(-self.total // self.every) - step // self.every
            if self.every and step < self.total
            else 0
        )
        left = (self.total - step) * seconds / steps + evaluations * self.evaluation
        return {
            "seconds_left": left,
            "steps_per_second": steps / seconds,
            "tokens_per_second": tokens / seconds,
        }
