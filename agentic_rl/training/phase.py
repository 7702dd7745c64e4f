"""A phase of a run: updates with one algorithm. Each chunk is checked for NaN, charged and logged.

A run has at most two: its warm start, and its own training.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agentic_rl.algorithms import Algorithm
from agentic_rl.budgets import Budget
from agentic_rl.config import ConfigError
from agentic_rl.progress import Pace, Reporter
from agentic_rl.records.log import Entry
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training import learner
from agentic_rl.training.loop import Log, run_chunks
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run


class Diverged(ConfigError):
    """A loss or gradient that is not finite, in one sentence."""


class Point(NamedTuple):
    """How far a phase has come."""

    step: int  # updates done
    state: learner.State
    budget: Budget


@dataclass
class Phase:
    """The updates of a phase. Subclasses say what is evaluated, what is kept, and where."""

    run: Run
    programs: Programs
    report: Reporter
    directory: RunDirectory | None
    name: str  # in the report of progress
    algorithm: Algorithm
    total: int  # updates

    def update(self, point: Point, should_stop: Callable[[], bool]) -> tuple[Point, bool]:
        """Runs updates up to `total`, or up to the chunk after which `should_stop` says so.

        Returns the point that was reached, and whether the phase was stopped there.
        """
        chunk, pace, is_stopped = self.run.chunk, self.start_pace(), False
        self.report.phase(self.name, self.total, point.step)

        def finish_chunk(step: int, state: learner.State, log: Log) -> bool:
            nonlocal point, is_stopped
            self.report.saved(False)
            check_finite(log, step - chunk, self.run.seed, self.advise())
            entries, tokens = charge(log, step - chunk, point.budget)
            point = Point(step, state, point.budget)
            seconds = self.evaluate_if_due(point, entries[-1])
            # Asked once a chunk: a signal between two questions would end the run unsaved.
            is_stopped = should_stop()
            is_saved = self.keep(point, entries, is_stopped)
            progress = {"step": step, "total": self.total, "saved": is_saved}
            speed = pace.chunk(step, chunk, tokens, seconds)
            self.report.update(phase=self.name, **progress, **speed)
            self.comment(entries)
            return is_stopped

        steps = range(point.step + chunk, self.total + chunk, chunk)
        run_chunks(
            self.programs.chunk(self.algorithm, self.total), point.state, steps, finish_chunk
        )
        return point, is_stopped

    def start_pace(self) -> Pace:
        """Returns a measure of the phase's speed."""
        return Pace(self.total)

    def advise(self) -> str:
        """Returns what to do if the phase diverges."""
        raise NotImplementedError

    def evaluate_if_due(self, point: Point, entry: Entry) -> float:
        """Adds an evaluation to the entry of an update, and returns the seconds that it took."""
        return 0.0

    def keep(self, point: Point, entries: list[Entry], is_stopped: bool) -> bool:
        """Logs the entries and, if it is time, saves the state. Returns whether it saved."""
        raise NotImplementedError

    def comment(self, entries: list[Entry]) -> None:
        """Tells the user what is remarkable about the entries."""


def check_finite(log: Log, step: int, seed: int, advice: str) -> None:
    """Checks that losses and gradients are finite in a chunk that began at update `step`.

    Raises: Diverged with the metric, the update and the seed.
    """
    for name in ("loss", "gradient_norm"):
        for s, i in np.argwhere(~np.isfinite(log[name]))[:1]:
            place = f"update {step + i + 1} (seed {seed + s})"
            raise Diverged(f"{name} became {log[name][s, i]} at {place}; {advice}")


def charge(log: Log, step: int, budget: Budget) -> tuple[list[Entry], int]:
    """Returns an entry for each update of a chunk that began at `step`, and the tokens trained on.

    It adds the costs to `budget`. The tokens are summed over seeds.
    """
    before, entries = sum(budget["trained_tokens"]), []
    for i in range(log["loss"].shape[1]):
        budget.add(log, i)
        metrics = {name: x[:, i].tolist() for name, x in log.items()}
        entries.append({"step": step + i + 1} | metrics | budget)
    return entries, sum(budget["trained_tokens"]) - before
