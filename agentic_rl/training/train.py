"""A whole run: warm start, then chunks of updates, each followed by logging, evaluation, a checkpoint and a word on progress."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from agentic_rl.budgets import BUDGET as BUDGET
from agentic_rl.budgets import Budget
from agentic_rl.progress import Pace, Progress, Reporter
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training import learner
from agentic_rl.training.initial_weights import Diverged as Diverged
from agentic_rl.training.initial_weights import Start, check_finite, start
from agentic_rl.training.initial_weights import load_start as load_start
from agentic_rl.training.programs import Programs
from agentic_rl.training.result import Entry, Result, RunLog
from agentic_rl.training.run import Run, template
from agentic_rl.training.stalls import Stalls


class Point(NamedTuple):
    """Where a run is."""

    step: int
    state: learner.State
    spent: Budget


def train(
    run: Run,
    directory: RunDirectory | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    begin: tuple[Any, int, Budget] | None = None,
    evaluates: bool = True,
) -> Result:
    """Runs (or continues) `run`, and keeps its records in `directory` if there is one.

    Args:
      should_stop: asked after each chunk of the warm start and of the run.
      begin: weights, problems drawn and budgets to start from, in place of the run's own warm start.
      evaluates: if not, no row holds an evaluation.
    """
    report, log = Reporter(on_progress), RunLog(directory)
    report.phase("preparing")
    training = Training(run, Programs(run, report.phase), report, log, directory, evaluates)
    point = training.resume() or training.begin(begin and Start(*begin), should_stop)
    if point and point.step == 0:
        training.show_episodes(point.state, 0)
    state = training.go_on(point, should_stop) if point else None
    finished = log.last.get("step", 0) >= run.updates
    if finished:
        training.show_episodes(state, run.updates)
    return Result(state, log, finished)


@dataclass
class Training:
    """A run under way: where it computes, and to whom it tells what."""

    run: Run
    machine: Programs
    report: Reporter
    log: RunLog
    directory: RunDirectory | None
    evaluates: bool
    evaluation_seconds: float = 0.0  # that the newest one took

    def resume(self) -> Point | None:
        """Returns where the newest checkpoint was kept; None if there is none."""
        restored = self.directory.resume(template(self.run)) if self.directory else None
        if restored is None:
            return None
        self.log.read()
        if self.log.evaluated:
            self.report.evaluated(self.log.evaluated["eval_success"], self.log.evaluated["step"])
        budget = Budget.from_entry(self.log.last, self.run.seeds)
        return Point(restored[0], self.machine.place(restored[1]), budget)

    def begin(self, begin: Start | None, should_stop: Callable[[], bool]) -> Point | None:
        """Returns where the first update begins, behind the warm start, evaluated and kept; None if the warm start was stopped."""
        begin = begin or start(self.run, self.machine, self.report, should_stop, self.directory)
        if begin is None:
            return None
        state, spent = (
            self.machine.init(self.run.algorithm, begin.params, begin.drawn),
            Budget(begin.spent),
        )
        self.log.add({"step": 0, **spent, **self.evaluate(state, 0)})
        if self.directory:
            self.directory.save(0, state)
            self.directory.wait()
        return Point(0, state, spent)

    def go_on(self, point: Point, should_stop: Callable[[], bool]) -> learner.State:
        """Returns the state after the last update, or after the chunk in which the run was told to stop."""
        (step, state, spent), run = point, self.run
        self.report.saved(self.directory is not None)
        if step >= run.updates or should_stop():
            return state
        self.compile(state)
        if should_stop():
            return state
        saved, stopping, stalls = step if self.directory else None, False, Stalls(run.algorithm)
        self.report.phase("training", run.updates, step)
        pace = Pace(run.updates, run.eval_every * self.evaluates, self.evaluation_seconds)
        chunks = self.machine.chunks(run.algorithm, run.updates, state, step)
        for step, state, chunk in chunks:
            self.report.saved(False)
            check_finite(chunk, step - run.chunk, run.seed, self.advice(saved))
            rows, tokens = _rows(chunk, step - run.chunk, spent)
            is_evaluated = self.evaluates and (step % run.eval_every == 0 or step == run.updates)
            rows[-1] |= self.evaluate(state, step) if is_evaluated else {}
            stopping = should_stop()  # asked once a chunk: were it asked again, a signal between the two would end the run unsaved
            if self.keep(rows, step, state, stopping):
                saved = step
            self.report.update(
                phase="training", step=step, total=run.updates, saved=saved == step,
                **pace.chunk(step, run.chunk, tokens, self.evaluation_seconds * is_evaluated),
            )  # fmt: skip
            for sentence in stalls.look(rows):
                self.report.note(sentence)
            if stopping:
                break
        self.wait()
        return state

    def compile(self, state: learner.State) -> None:
        """Compiles all that `go_on` runs, at a time when nothing would be lost."""
        self.machine.compile_updates("the updates", self.run.algorithm, self.run.updates, state)
        if self.evaluates:
            self.machine.compile_evaluation(state.params)

    def evaluate(self, state: learner.State, step: int) -> Entry:
        """Returns an evaluation's part of a row."""
        if not self.evaluates:
            return {}
        self.machine.compile_evaluation(state.params)
        begun = time.monotonic()
        log = self.machine.evaluate(state.params)
        self.evaluation_seconds = time.monotonic() - begun
        self.report.evaluated(log["success"].tolist(), step)
        return {f"eval_{name}": x.tolist() for name, x in log.items() if x.ndim == 1}

    def show_episodes(self, state: learner.State, step: int) -> None:
        """Keeps episodes of the first seed's policy, as text, when the disk has all else; nothing without a directory."""
        if self.directory:
            self.report.phase("rendering episodes")
            self.directory.log_episodes(step, self.machine.episodes(state.params))

    def keep(self, rows: list[Entry], step: int, state: learner.State, stopping: bool) -> bool:
        """Logs the rows and, if it is time, saves the state. Returns whether it did."""
        for row in rows:
            self.log.add(row)
        is_due = step % self.run.checkpoint_every == 0 or step == self.run.updates or stopping
        if self.directory and is_due:
            self.directory.save(step, state)
        return self.directory is not None and is_due

    def wait(self) -> None:
        """Returns when the last checkpoint is on disk."""
        if self.directory:
            self.report.saved(False)
            self.report.phase("saving")
            self.directory.wait()
            self.report.saved(True)

    def advice(self, saved: int | None) -> str:
        """Returns what to do about a run that diverged."""
        good = (
            "no checkpoint was kept"
            if saved is None
            else f"the last good checkpoint is {self.directory.path}/checkpoints/{saved}"
        )
        return f"{good}. Lower the learning rate or --algorithm.optimizer.max-grad-norm."


def _rows(chunk: dict[str, np.ndarray], step: int, spent: Budget) -> tuple[list[Entry], int]:
    """Returns the rows of a chunk of updates behind `step`, and the tokens trained on; adds its cost to `spent`."""
    before, rows = sum(spent["trained_tokens"]), []
    for i in range(len(next(iter(chunk.values()))[0])):
        spent.add(chunk, i)
        rows.append(
            {"step": step + i + 1} | {k: v[:, i].tolist() for k, v in chunk.items()} | spent
        )
    return rows, sum(spent["trained_tokens"]) - before
