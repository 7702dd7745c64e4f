"""Where a command of many parts is (rows, cells, studies), and how long all of it still takes."""

import os
import time
from math import nan

WITHIN = "AGENTIC_RL_WITHIN"  # the environment variable in which a command tells another where that is in it
MEASURED = 1.0  # seconds: a part that takes less was there before


class Whole:
    """Counts the parts that are done, and how long they took."""

    def __init__(self, what: str, total: int, number: int = 0):
        """
        Args:
          what: such as "row".
          number: parts that were there before.
        """
        self.what, self.total, self.number = what, total, number
        self.since, self.took = time.monotonic(), []

    def next(self) -> None:
        """Ends a part, if one was begun, and begins another."""
        self.end()
        self.number, self.since = self.number + 1, time.monotonic()

    def end(self) -> None:
        """Notes how long the part took."""
        seconds = time.monotonic() - self.since
        self.took += [seconds] * (seconds >= MEASURED and self.number > 0)
        self.since = time.monotonic()

    @property
    def place(self) -> str:
        """Which part it is, also of the command that runs this one."""
        around = os.environ.get(WITHIN)
        return f"{around}, " * bool(around) + f"{self.what} {self.number} of {self.total}"

    def seconds_left(self, here: float = nan) -> float:
        """Returns how long all that is left may take; NaN if no part was measured yet.

        Args:
          here: what the part under way still takes, if that is known.
        """
        spent = time.monotonic() - self.since
        if not self.took:
            return here + (here + spent) * (self.total - self.number)
        mean = sum(self.took) / len(self.took)
        return (max(mean - spent, 0) if here != here else here) + mean * (self.total - self.number)
