"""The weights that a run starts from: fresh ones, a warm start's, or those of another run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from agentic_rl.budgets import Budget
from agentic_rl.config import ConfigError, check
from agentic_rl.progress import Pace, Reporter
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training import learner
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, load, template


class Start(NamedTuple):
    """What a run begins with."""

    params: Any  # [S, ...]
    drawn: int  # problems that were drawn for them
    spent: Budget  # what they cost


class Diverged(ConfigError):
    """A loss or gradient that is not finite, said in one sentence."""


def check_finite(log: dict[str, np.ndarray], step: int, seed: int, advice: str) -> None:
    """Returns if losses and gradients of a chunk that began at `step` are finite.

    Raises: Diverged with the step, the metric and the seed.
    """
    for name in ("loss", "gradient_norm"):
        for s, i in np.argwhere(~np.isfinite(log[name]))[:1]:
            raise Diverged(
                f"{name} became {log[name][s, i]} at update {step + i + 1} (seed {seed + s}); {advice}"
            )


def start(
    run: Run,
    machine: Programs,
    report: Reporter,
    should_stop: Callable[[], bool],
    directory: RunDirectory | None = None,
) -> Start | None:
    """Returns what the run starts from; None if it was stopped before that, with its state in the directory if there is one."""
    if run.warm_start.checkpoint:
        return load_start(run, machine)
    if not run.warm_start.updates:
        return Start(machine.fresh_params(), 0, Budget.zero(run.seeds))
    return warm_start(run, machine, report, should_stop, directory)


def warm_start(
    run: Run,
    machine: Programs,
    report: Reporter,
    should_stop: Callable[[], bool] = lambda: False,
    directory: RunDirectory | None = None,
) -> Start | None:
    """Returns what cloning makes of fresh weights, from its newest checkpoint on if there is one; None if it was stopped."""
    algorithm, total = run.warm_start.algorithm, run.warm_start.updates
    step, state, spent = _restored(run, machine, directory) or (0, None, Budget.zero(run.seeds))
    state = machine.init(algorithm, machine.fresh_params()) if state is None else state
    if step < total:
        machine.compile_updates("the warm start", algorithm, total, state)
    if should_stop():
        return None
    report.phase("warm start", total, step)
    pace, stopping, chunks = Pace(total), False, machine.chunks(algorithm, total, state, step)
    for step, state, log in chunks:
        report.saved(False)
        check_finite(log, step - run.chunk, run.seed, "lower --warm-start.learning-rate.")
        before = sum(spent["trained_tokens"])
        for i in range(run.chunk):
            spent.add(log, i)
        report.update(
            step=step, **pace.chunk(step, run.chunk, sum(spent["trained_tokens"]) - before)
        )
        stopping = should_stop()
        if directory and (stopping or step == total or step % run.checkpoint_every == 0):
            directory.warm_start.save(step, {"state": state, "spent": spent.to_arrays()})
        if stopping:
            break
    if directory:
        directory.warm_start.wait()
        report.saved(True)
    return None if stopping else Start(state.params, int(state.drawn[0]), spent)


def _restored(
    run: Run, machine: Programs, directory: RunDirectory | None
) -> tuple[int, learner.State, Budget] | None:
    """Returns step, state and budgets of the newest checkpoint of the warm start; None if there is none."""
    like = {
        "state": template(replace(run, algorithm=run.warm_start.algorithm)),
        "spent": Budget.zero(run.seeds).to_arrays(),
    }
    found = directory.warm_start.restore(like) if directory else None
    if found is None:
        return None
    directory.warm_start.set_aside(found[0])
    return found[0], machine.place(found[1]["state"]), Budget.from_arrays(found[1]["spent"])


def load_start(run: Run, machine: Programs) -> Start:
    """Returns the weights of the run that the warm start names, how many problems they have seen, and what they cost.

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
        f"{path} has {other.seeds} seeds and the run wants {run.seeds}; ask for at most {other.seeds}.",
    )
    check(
        other.seed == run.seed,
        f"{path} began with seed {other.seed} and the run with {run.seed}; give --seed {other.seed}.",
    )
    params = jax.tree.map(lambda x: x[: run.seeds], state.params)
    last = RunDirectory.open(path).entry(int(state.step[0]))  # the log may be ahead
    budget = Budget.from_entry(last, run.seeds)
    return Start(machine.place(params), int(state.drawn[0]), budget)
