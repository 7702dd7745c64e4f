"""The weights that a run starts from: fresh ones, a warm start's, or those of another run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax

from agentic_rl.budgets import Budget
from agentic_rl.config import check
from agentic_rl.progress import Reporter
from agentic_rl.records.log import Entry
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.phase import Phase, Point
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, load, template


class InitialWeights(NamedTuple):
    """The weights with which a run begins, and what they have cost."""

    params: Any  # [S, ...]
    drawn: int  # problems that they have seen, which are not drawn again
    budget: Budget


def initial_weights(
    run: Run,
    programs: Programs,
    report: Reporter,
    should_stop: Callable[[], bool],
    directory: RunDirectory | None = None,
) -> InitialWeights | None:
    """Returns the weights that the run starts from; None if its warm start was stopped.

    The state of a stopped warm start is in the directory, if there is one.
    """
    if run.warm_start.checkpoint:
        return load_weights(run, programs)
    if not run.warm_start.updates:
        return InitialWeights(programs.fresh_params(), 0, Budget.zero(run.seeds))
    return warm_start(run, programs, report, should_stop, directory)


def warm_start(
    run: Run,
    programs: Programs,
    report: Reporter,
    should_stop: Callable[[], bool] = lambda: False,
    directory: RunDirectory | None = None,
) -> InitialWeights | None:
    """Returns the weights that cloning makes of fresh ones; None if it was stopped.

    It goes on from its newest checkpoint, if there is one.
    """
    algorithm, total = run.warm_start.algorithm, run.warm_start.updates
    phase = WarmStartPhase(run, programs, report, directory, "warm start", algorithm, total)
    point = phase.resume() or phase.begin()
    if point.step < total:
        programs.compile_updates("the warm start", algorithm, total, point.state)
    if should_stop():
        return None
    point, is_stopped = phase.update(point, should_stop)
    if directory:
        directory.warm_start.wait()
        report.saved(True)
    if is_stopped:
        return None
    return InitialWeights(point.state.params, int(point.state.drawn[0]), point.budget)


class WarmStartPhase(Phase):
    """Behaviour cloning before a run, with checkpoints of its own."""

    def begin(self) -> Point:
        """Returns the point before the first update, with fresh weights."""
        state = self.programs.init(self.algorithm, self.programs.fresh_params())
        return Point(0, state, Budget.zero(self.run.seeds))

    def resume(self) -> Point | None:
        """Returns the point of the newest checkpoint; None if there is none."""
        like = {
            "state": template(replace(self.run, algorithm=self.algorithm)),
            "spent": Budget.zero(self.run.seeds).to_arrays(),
        }
        restored = self.directory.warm_start.restore(like) if self.directory else None
        if restored is None:
            return None
        step, tree = restored
        self.directory.warm_start.set_aside(step)
        budget = Budget.from_arrays(tree["spent"])
        return Point(step, self.programs.place(tree["state"]), budget)

    def advise(self) -> str:
        """Returns what to do if cloning diverges."""
        return "lower --warm-start.learning-rate."

    def keep(self, point: Point, entries: list[Entry], is_stopped: bool) -> bool:
        """Saves the state if it is time, and returns whether it did; cloning has no log."""
        is_due = point.step == self.total or point.step % self.run.checkpoint_every == 0
        if self.directory is None or not (is_due or is_stopped):
            return False
        tree = {"state": point.state, "spent": point.budget.to_arrays()}
        self.directory.warm_start.save(point.step, tree)
        return True


def load_weights(run: Run, programs: Programs) -> InitialWeights:
    """Returns the weights of the run that the warm start names.

    Raises: ConfigError as `load` does, or if they do not fit the run.
    """
    path = run.warm_start.checkpoint
    other, state = load(path)
    check(
        other.policy == run.policy,
        f"{path} trained another network ({other.policy}); give the same --policy flags.",
    )
    check(
        other.seeds >= run.seeds,
        f"{path} has {other.seeds} seeds and the run wants {run.seeds}; ask for at most"
        f" {other.seeds}.",
    )
    check(
        other.seed == run.seed,
        f"{path} began with seed {other.seed} and the run with {run.seed}; give --seed"
        f" {other.seed}.",
    )
    params = jax.tree.map(lambda x: x[: run.seeds], state.params)
    entry = RunDirectory.open(path).entry(int(state.step[0]))  # the log may be ahead
    budget = Budget.from_entry(entry, run.seeds)
    return InitialWeights(programs.place(params), int(state.drawn[0]), budget)
