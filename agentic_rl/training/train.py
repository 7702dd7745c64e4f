"""A whole run: its warm start, then its training, with its log, evaluations and checkpoints."""

import time
from collections.abc import Callable
from typing import Any

from agentic_rl.budgets import BUDGET as BUDGET
from agentic_rl.budgets import Budget
from agentic_rl.progress import Pace, Progress, Reporter
from agentic_rl.records.log import Entry
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training import learner
from agentic_rl.training.initial_weights import InitialWeights, initial_weights
from agentic_rl.training.phase import Phase, Point
from agentic_rl.training.programs import Programs
from agentic_rl.training.result import Result, RunLog
from agentic_rl.training.run import Run, template
from agentic_rl.training.stalls import Stalls


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
      should_stop: asked after each chunk of updates, in the warm start too.
      begin: the `InitialWeights` to start from, in place of the run's own warm start.
      evaluates: whether the policy is evaluated at all.
    """
    report, log = Reporter(on_progress), RunLog(directory)
    report.phase("preparing")
    training = Training(run, Programs(run, report.phase), report, log, directory, evaluates)
    point = training.resume()
    if point is None:
        initial = begin and InitialWeights(*begin)
        point = training.begin(initial, should_stop)
    if point is None:
        return Result(None, log, finished=False)
    if point.step == 0:
        training.show_episodes(point)
    point = training.go_on(point, should_stop)
    finished = log.last.get("step", 0) >= run.updates
    if finished:
        training.show_episodes(point)
    return Result(point.state, log, finished)


class Training(Phase):
    """The training of a run, after its warm start."""

    def __init__(
        self,
        run: Run,
        programs: Programs,
        report: Reporter,
        log: RunLog,
        directory: RunDirectory | None,
        evaluates: bool,
    ):
        super().__init__(run, programs, report, directory, "training", run.algorithm, run.updates)
        self.log, self.evaluates = log, evaluates
        self.evaluation_seconds = 0.0  # that the newest one took
        self.saved_step: int | None = None  # of the newest checkpoint
        self.stalls = Stalls(run.algorithm)

    def resume(self) -> Point | None:
        """Returns the point of the newest checkpoint; None if there is none."""
        restored = self.directory.resume(template(self.run)) if self.directory else None
        if restored is None:
            return None
        step, state = restored
        self.log.read()
        if evaluated := self.log.evaluated:
            self.report.evaluated(evaluated["eval_success"], evaluated["step"])
        budget = Budget.from_entry(self.log.last, self.run.seeds)
        return Point(step, self.programs.place(state), budget)

    def begin(
        self, initial: InitialWeights | None, should_stop: Callable[[], bool]
    ) -> Point | None:
        """Returns the point before the first update, evaluated and saved.

        It is None if the warm start was stopped.
        """
        if initial is None:
            initial = initial_weights(
                self.run, self.programs, self.report, should_stop, self.directory
            )
        if initial is None:
            return None
        state = self.programs.init(self.run.algorithm, initial.params, initial.drawn)
        budget = Budget(initial.budget)
        self.log.add({"step": 0, **budget, **self.evaluate(state, 0)})
        if self.directory:
            self.directory.save(0, state)
            self.directory.wait()
        return Point(0, state, budget)

    def go_on(self, point: Point, should_stop: Callable[[], bool]) -> Point:
        """Returns the point after the last update, or after the chunk in which it was stopped."""
        self.report.saved(self.directory is not None)
        if point.step >= self.total or should_stop():
            return point
        self.compile(point.state)
        if should_stop():
            return point
        self.saved_step = point.step if self.directory else None
        point, _ = self.update(point, should_stop)
        self.wait()
        return point

    def compile(self, state: learner.State) -> None:
        """Compiles all that `update` runs, at a time when nothing would be lost."""
        self.programs.compile_updates("the updates", self.algorithm, self.total, state)
        if self.evaluates:
            self.programs.compile_evaluation(state.params)

    def start_pace(self) -> Pace:
        """Returns a measure of speed that takes the evaluations into account."""
        every = self.run.eval_every if self.evaluates else 0
        return Pace(self.total, every, self.evaluation_seconds)

    def evaluate_if_due(self, point: Point, entry: Entry) -> float:
        """Adds an evaluation to the entry if it is time, and returns the seconds that it took."""
        is_due = point.step % self.run.eval_every == 0 or point.step == self.total
        if not (self.evaluates and is_due):
            return 0.0
        entry |= self.evaluate(point.state, point.step)
        return self.evaluation_seconds

    def evaluate(self, state: learner.State, step: int) -> Entry:
        """Returns an evaluation's part of a log entry."""
        if not self.evaluates:
            return {}
        self.programs.compile_evaluation(state.params)
        begun = time.monotonic()
        log = self.programs.evaluate(state.params)
        self.evaluation_seconds = time.monotonic() - begun
        self.report.evaluated(log["success"].tolist(), step)
        return {f"eval_{name}": x.tolist() for name, x in log.items() if x.ndim == 1}

    def keep(self, point: Point, entries: list[Entry], is_stopped: bool) -> bool:
        """Logs the entries and, if it is time, saves the state. Returns whether it saved."""
        for entry in entries:
            self.log.add(entry)
        is_due = point.step % self.run.checkpoint_every == 0 or point.step == self.total
        if self.directory is None or not (is_due or is_stopped):
            return False
        self.directory.save(point.step, point.state)
        self.saved_step = point.step
        return True

    def comment(self, entries: list[Entry]) -> None:
        """Tells the user if the run learns nothing."""
        for sentence in self.stalls.look(entries):
            self.report.note(sentence)

    def show_episodes(self, point: Point) -> None:
        """Logs some episodes of the first seed's policy as text, if the run has a directory.

        All else is on disk by then.
        """
        if self.directory:
            self.report.phase("rendering episodes")
            texts = self.programs.episodes(point.state.params)
            self.directory.log_episodes(point.step, texts)

    def wait(self) -> None:
        """Returns once the last checkpoint is on disk."""
        if self.directory:
            self.report.saved(False)
            self.report.phase("saving")
            self.directory.wait()
            self.report.saved(True)

    def advise(self) -> str:
        """Returns what to do if the run diverges."""
        good = "no checkpoint was kept"
        if self.saved_step is not None:
            folder = f"{self.directory.path}/checkpoints/{self.saved_step}"
            good = f"the last good checkpoint is {folder}"
        return f"{good}. Lower the learning rate or --algorithm.optimizer.max-grad-norm."
