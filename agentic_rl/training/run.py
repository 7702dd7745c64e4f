"""What defines a run: task, algorithm, policy, warm start, length; and what is left of one on disk."""

import dataclasses
from math import gcd
from typing import Any

import jax
import jax.numpy as jnp

from agentic_rl import algorithms, parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import ConfigError, check, checked, config, from_json
from agentic_rl.config.ranges import LARGEST_INT, Count, Natural, Positive, Probability, Seed
from agentic_rl.optimizer import Adam
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.rollout.actors import Expert
from agentic_rl.training import learner

# Fields that may change while a run goes on: more updates, and what changes no number beyond rounding and the dates of evaluations.
MAY_CHANGE = ("updates", "devices", "launcher", "chunk", "eval_every", "checkpoint_every")


@config
class WarmStart:
    """A short supervised phase before the run (or another run's weights), so that rewards are found at all."""

    updates: Natural = 0  # of behaviour cloning, before the run's own; 0: none
    num_demos: Natural = (
        0  # demonstrations, drawn from again and again; 0: fresh ones in every update
    )
    noise: Probability = 0.0  # probability that a demonstrated action is random
    learning_rate: Positive = 1e-3  # of the cloning
    checkpoint: str = ""  # the directory of a run to take the weights from; then nothing is cloned

    def __post_init__(self):
        clones = (
            self.updates
            or self.num_demos
            or self.noise
            or self.learning_rate != WarmStart.learning_rate
        )
        check(
            not (self.checkpoint and clones),
            "With --warm-start.checkpoint nothing is cloned: leave out the other --warm-start flags.",
        )

    @property
    def algorithm(self) -> Algorithm:
        """The SFT row with these demonstrations."""
        return dataclasses.replace(
            algorithms.SFT,
            actor=Expert(self.num_demos, self.noise),
            optimizer=Adam(learning_rate=self.learning_rate),
        )


@checked
class Run:
    """Everything that defines a run. What is below `devices` changes its speed, never its numbers beyond rounding."""

    task: Any
    algorithm: Algorithm
    policy: Policy = Policy()
    warm_start: WarmStart = WarmStart()
    updates: Count = 200  # after the warm start; each collects a batch and trains on it
    seeds: Count = 1  # independent runs in one, with seeds `seed`, `seed` + 1, ...
    seed: Seed = 0  # of initial weights, problems and actions
    eval_every: Count = 20  # updates between evaluations on the test split
    eval_episodes: Count = 256  # in each evaluation, one at each problem
    checkpoint_every: Count = 100  # updates between checkpoints
    chunk: Count = 10  # updates per call to the device; between calls come logs, evaluations, checkpoints and Ctrl-C
    devices: Natural = 0  # 0: all accelerators, or one virtual device per CPU core (fewer if they cannot share the batch evenly)
    launcher: parallel.Launcher = "pmap"  # what runs one program on all devices
    micro_batch: Natural = 16  # sequences per forward and backward pass on a device; 0: all at once
    seeds_at_once: Natural = 0  # 0: one on a CPU, all elsewhere

    def __post_init__(self):
        check(
            self.seed + self.seeds - 1 <= LARGEST_INT,
            f"seed + seeds must be {LARGEST_INT + 1} or less, not {self.seed + self.seeds}.",
        )
        counts = {"updates": self.updates, "warm-start.updates": self.warm_start.updates}
        counts |= {"eval-every": self.eval_every, "checkpoint-every": self.checkpoint_every}
        common = gcd(*counts.values())
        for name, value in counts.items():
            low = value // self.chunk * self.chunk
            use = f"{low} or {low + self.chunk}" if low else str(self.chunk)
            check(
                value % self.chunk == 0,
                f"--{name} ({value}) must be a multiple of --chunk ({self.chunk}):"
                f" use {use}, or --chunk {common}.",
            )
        check(
            self.seeds % (self.seeds_at_once or 1) == 0,
            f"--seeds-at-once ({self.seeds_at_once}) must divide --seeds ({self.seeds}).",
        )


def read_run(directory: RunDirectory) -> Run:
    """Returns the run whose config the directory holds.

    Raises: ConfigError if the config is damaged, or of another version of this package.
    """
    file = directory.path / "config.json"
    try:
        run = from_json(directory.config)
        tasks = (
            run.task.values()
            if isinstance(getattr(run, "task", None), dict)
            else [getattr(run, "task", None)]
        )
        is_run = isinstance(run, Run) and all(hasattr(task, "reset") for task in tasks)
        check(
            is_run,
            "this is not the config of a run; put it back from a copy, such as that of another run with the same flags.",
        )
    except (
        ValueError,
        KeyError,
        ArithmeticError,
        RecursionError,
    ) as error:  # ConfigError, and what classes say of odd values
        raise ConfigError(f"In {file}: {error}") from None
    return run


def load(path: str) -> tuple[Run, learner.State]:
    """The run of a directory, and the state [S, ...] of its newest checkpoint, as numpy arrays.

    Raises: ConfigError if it is no run, holds no checkpoint, or a damaged one.
    """
    directory = RunDirectory.open(path)
    run = read_run(directory)
    restored = directory.restore(template(run))
    check(
        restored is not None,
        f"{path} holds no checkpoint yet; train it first, or name another run.",
    )
    return run, restored[1]


def template(run: Run) -> learner.State:
    """Shapes and dtypes of the run's state."""

    def init(seed):
        return learner.init(run.algorithm, transformer.init(run.policy, jax.random.key(seed)))

    return jax.eval_shape(jax.vmap(init), jnp.arange(run.seeds))
