"""Counts the parts of a long command (cells, studies), and estimates when all of them are done."""

import os
import time
from math import isnan, nan

# The environment variable in which a command tells a command that it starts which part that is.
OUTER_POSITION = "AGENTIC_RL_WITHIN"
MEASURED = 1.0  # seconds; a part that takes less has only read what was there already


class PartCounter:
    """Counts the parts that have begun, and keeps how long the finished ones took."""

    def __init__(self, part_name: str, total: int, number: int = 0):
        """Begins to count, before the first part.

        Args:
          part_name: what a part is called, such as "cell".
          total: number of parts.
          number: number of parts that were finished before this command began.
        """
        self.part_name, self.total, self.number = part_name, total, number
        self.start, self.durations = time.monotonic(), []

    def begin(self) -> None:
        """Ends the part under way, if there is one, and begins the next."""
        self.end()
        self.number += 1
        self.start = time.monotonic()

    def end(self) -> None:
        """Records how long the part under way took."""
        seconds = time.monotonic() - self.start
        if self.number > 0 and seconds >= MEASURED:
            self.durations.append(seconds)
        self.start = time.monotonic()

    @property
    def position(self) -> str:
        """Which part is under way, such as "cell 2 of 9", after that of the command around it."""
        position = f"{self.part_name} {self.number} of {self.total}"
        outer = os.environ.get(OUTER_POSITION)
        return f"{outer}, {position}" if outer else position

    def seconds_left(self, part_left: float = nan) -> float:
        """Returns an estimate of the seconds until all parts are done; NaN if nothing is known.

        Args:
          part_left: seconds until the part under way is done, if that is known.
        """
        parts_left = self.total - self.number
        elapsed = time.monotonic() - self.start
        if not self.durations:
            return part_left + (part_left + elapsed) * parts_left
        mean = sum(self.durations) / len(self.durations)
        this_part = max(mean - elapsed, 0) if isnan(part_left) else part_left
        return this_part + mean * parts_left
