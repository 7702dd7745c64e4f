"""A whole run: warm start, then chunks of updates, each followed by logging, evaluation, a checkpoint and a word on progress."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from agentic_rl import learner
from agentic_rl.config import ConfigError, check
from agentic_rl.machine import Machine
from agentic_rl.records import RunDirectory
from agentic_rl.run import Run, load, template

BUDGET = ("env_steps", "generated_tokens", "trained_tokens", "expert_labels", "flops")


class Progress(NamedTuple):
    """What a user wants to see while waiting."""

    phase: str  # "warm start" or the algorithm's part of the run
    step: int  # updates done in this phase
    total: int
    seconds: float  # spent in this phase by this process
    steps_per_second: float
    tokens_per_second: float  # trained on
    success: float  # mean over seeds, the newest known


class Pace:
    """Measures how fast a phase goes; the first chunk does not count if there are others, because it waits for the compiler."""

    def __init__(self, phase: str, total: int, step: int, spent: dict):
        self.phase, self.total, self.begun = phase, total, time.monotonic()
        self.since, self.later = (self.begun, step, sum(spent["trained_tokens"])), None

    def progress(self, step: int, spent: dict, success: float) -> Progress:
        """How far the phase is."""
        now = (time.monotonic(), step, sum(spent["trained_tokens"]))
        seconds, steps, tokens = (b - a for a, b in zip(self.later or self.since, now))
        self.later = self.later or now
        return Progress(self.phase, step, self.total, now[0] - self.begun, steps / seconds, tokens / seconds, success)


class Result(NamedTuple):
    """What a finished (or stopped) run leaves in memory."""

    state: learner.State  # leading axis: seeds
    rows: list[dict[str, Any]]  # one per update, as in metrics.jsonl
    finished: bool


class Diverged(ConfigError):
    """A loss or gradient that is not finite, said in one sentence."""


class Spent(dict):
    """The budgets so far, each a list over seeds of exact integers (FLOPs: floats)."""

    @staticmethod
    def nothing(seeds: int) -> "Spent":
        """Zeros."""
        return Spent({name: [0] * seeds for name in BUDGET})

    def add(self, log: dict[str, np.ndarray], index: int) -> None:
        """Adds what update `index` of a chunk cost."""
        for name in BUDGET:
            number = float if name == "flops" else int
            self[name] = [total + number(x) for total, x in zip(self[name], log[name][:, index])]


def check_finite(log: dict[str, np.ndarray], step: int, seed: int, advice: str) -> None:
    """Nothing, if losses and gradients of a chunk that began at `step` are finite.

    Raises: Diverged with the step, the metric and the seed.
    """
    for name in ("loss", "gradient_norm"):
        for s, i in np.argwhere(~np.isfinite(log[name]))[:1]:
            raise Diverged(f"{name} became {log[name][s, i]} at update {step + i + 1} (seed {seed + s}); {advice}")


def warm_start(run: Run, machine: Machine, on_progress: Callable[[Progress], None]) -> tuple[Any, int, Spent]:
    """The weights that the run starts from, how many problems were drawn for them, and what they cost."""
    spent = Spent.nothing(run.seeds)
    if run.warm_start.checkpoint:
        return load_start(run, machine)
    params, algorithm = machine.fresh_params(), run.warm_start.algorithm
    if not run.warm_start.updates:
        return params, 0, spent
    program = machine.program(algorithm, run.warm_start.updates)
    state, pace = machine.init(algorithm, params), Pace("warm start", run.warm_start.updates, 0, spent)
    for step in range(0, run.warm_start.updates, run.chunk):
        state, log = program(run.task, algorithm, machine.seed, state)
        log = {k: np.asarray(v) for k, v in log.items()}
        check_finite(log, step, run.seed, "lower --warm-start.learning-rate.")
        for i in range(run.chunk):
            spent.add(log, i)
        on_progress(pace.progress(step + run.chunk, spent, float("nan")))
    return state.params, int(state.drawn[0]), spent


def load_start(run: Run, machine: Machine) -> tuple[Any, int, Spent]:
    """The weights of the run that the warm start names, how many problems they have seen, and what they cost.

    Raises: ConfigError as `load` does, or if they do not fit the run.
    """
    path = run.warm_start.checkpoint
    other, state = load(path)
    check(other.policy == run.policy, f"{path} trained another network ({other.policy}); give the same --policy flags.")
    check(other.seeds >= run.seeds, f"{path} has {other.seeds} seeds and the run wants {run.seeds}; ask for at most {other.seeds}.")
    check(other.seed == run.seed, f"{path} began with seed {other.seed} and the run with {run.seed}; give --seed {other.seed}.")
    params = jax.tree.map(lambda x: x[: run.seeds], state.params)
    last = RunDirectory.open(path).row(int(state.step[0]))  # the log may be ahead
    return machine.place(params), int(state.drawn[0]), Spent({name: last[name][: run.seeds] for name in BUDGET})


def train(
    run: Run,
    directory: RunDirectory | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    begin: tuple[Any, int, Spent] | None = None,
    evaluates: bool = True,
) -> Result:
    """Runs (or continues) `run`, and keeps its records in `directory` if there is one.

    Args:
      begin: the outcome of `warm_start`, if another run shares it.
      evaluates: if not, no row holds an evaluation.
    """
    machine = Machine(run)
    program = machine.program(run.algorithm, run.updates)
    score = partial(_evaluate, machine) if evaluates else lambda state: {}
    step, state, spent, rows = _resume(run, machine, directory) or _start(run, machine, directory, begin, on_progress, score)
    pace = Pace("train", run.updates, step, spent)
    saved = step if directory else None
    success = rows[-1].get("eval_success", [float("nan")])
    stopping = should_stop()
    while step < run.updates and not stopping:
        state, log = program(run.task, run.algorithm, machine.seed, state)
        log = {k: np.asarray(v) for k, v in log.items()}
        check_finite(log, step, run.seed, _advice(directory, saved))
        new = []
        for i in range(run.chunk):
            spent.add(log, i)
            new.append({"step": step + i + 1} | {k: v[:, i].tolist() for k, v in log.items()} | spent)
        step += run.chunk
        if step % run.eval_every == 0 or step == run.updates:
            new[-1] |= score(state)
            success = new[-1].get("eval_success", success)
        rows += new
        stopping = should_stop()  # asked once a chunk: were it asked again, a signal between the two would end the run unsaved
        save = directory and (step % run.checkpoint_every == 0 or step == run.updates or stopping)
        _keep(directory, new, step, state if save else None)
        saved = step if save else saved
        on_progress(pace.progress(step, spent, float(np.mean(success))))
    return Result(state, rows, step >= run.updates)


def _evaluate(machine: Machine, state: learner.State) -> dict[str, list[float]]:
    log = machine.evaluate(state.params)
    return {f"eval_{name}": x.tolist() for name, x in log.items() if x.ndim == 1}


def _advice(directory: RunDirectory | None, saved: int | None) -> str:
    good = "no checkpoint was kept" if saved is None else f"the last good checkpoint is {directory.path}/checkpoints/{saved}"
    return f"{good}. Lower the learning rate or --algorithm.optimizer.max-grad-norm."


def _keep(directory: RunDirectory | None, rows: list[dict], step: int, state: learner.State | None) -> None:
    """Rows to the log, and the state, if any, to a checkpoint."""
    if directory is None:
        return
    for row in rows:
        directory.log(row)
    if state is not None:
        directory.save(step, state)


def _start(run: Run, machine: Machine, directory: RunDirectory | None, begin, on_progress, score):
    """Step, state, budgets and rows before the first update, behind the warm start; the first evaluation is kept."""
    params, drawn, spent = begin or warm_start(run, machine, on_progress)
    state, spent = machine.init(run.algorithm, params, drawn), Spent(spent)
    rows = [{"step": 0, **spent, **score(state)}]
    _keep(directory, rows, 0, state)
    return 0, state, spent, rows


def _resume(run: Run, machine: Machine, directory: RunDirectory | None):
    """Step, state, budgets and rows of the newest checkpoint; None if there is none."""
    restored = directory.resume(template(run)) if directory else None
    if restored is None:
        return None
    step, state = restored
    rows = directory.metrics
    return step, machine.place(state), Spent({name: rows[-1][name] for name in BUDGET}), rows
