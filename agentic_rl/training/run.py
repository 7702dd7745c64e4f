"""The config of a run (task, algorithm, policy, warm start, length), and reading one from disk."""

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

# The fields that may change when a run goes on. Except for more updates, they change no number
# beyond rounding and the dates of evaluations.
MAY_CHANGE = ("updates", "devices", "launcher", "chunk", "eval_every", "checkpoint_every")


@config
class WarmStart:
    """A short supervised phase before the run, so that the policy finds any rewards at all.

    It may be replaced by another run's weights (`checkpoint`).
    """

    updates: Natural = 0  # of behaviour cloning, before the run's own; 0: none
    # Demonstrations, drawn from again and again; 0: fresh ones in every update.
    num_demos: Natural = 0
    noise: Probability = 0.0  # probability that a demonstrated action is random
    learning_rate: Positive = 1e-3  # of the cloning
    checkpoint: str = ""  # the directory of a run to take the weights from; then nothing is cloned

    def __post_init__(self):
        has_rate = self.learning_rate != WarmStart.learning_rate
        clones = self.updates or self.num_demos or self.noise or has_rate
        check(
            not (self.checkpoint and clones),
            "With --warm-start.checkpoint nothing is cloned: leave out the other --warm-start"
            " flags.",
        )

    @property
    def algorithm(self) -> Algorithm:
        """SFT on these demonstrations."""
        return dataclasses.replace(
            algorithms.SFT,
            actor=Expert(self.num_demos, self.noise),
            optimizer=Adam(learning_rate=self.learning_rate),
        )


@checked
class Run:
    """Everything that defines a run.

    The fields from `devices` on change its speed, but its numbers only by rounding.
    """

    task: Any  # the task, or a dictionary of tasks
    algorithm: Algorithm  # who acts, and what credit each action gets
    policy: Policy = Policy()  # the network's size and context
    warm_start: WarmStart = WarmStart()  # a phase of cloning before the run
    updates: Count = 200  # after the warm start; each collects a batch and trains on it
    seeds: Count = 1  # independent runs in one, with seeds `seed`, `seed` + 1, ...
    seed: Seed = 0  # decides initial weights, problems and actions
    eval_every: Count = 20  # updates between evaluations on the test split
    eval_episodes: Count = 256  # in each evaluation, one at each problem
    checkpoint_every: Count = 100  # updates between checkpoints
    # Updates per call to the device; logs, evaluations, checkpoints and Ctrl-C wait for its end.
    chunk: Count = 10
    # 0: all accelerators, or one virtual device per CPU core (as many as share the batch evenly).
    devices: Natural = 0
    launcher: parallel.Launcher = "pmap"  # runs one program on all devices
    # Sequences per forward and backward pass on a device; 0: as many as have 320 tokens on a CPU,
    # and all at once elsewhere.
    micro_batch: Natural = 0
    seeds_at_once: Natural = 0  # 0: one on a CPU, all elsewhere

    def __post_init__(self):
        check(
            self.seed + self.seeds - 1 <= LARGEST_INT,
            f"seed + seeds must be {LARGEST_INT + 1} or less, not {self.seed + self.seeds}.",
        )
        self._check_chunk()
        check(
            self.seeds % (self.seeds_at_once or 1) == 0,
            f"--seeds-at-once ({self.seeds_at_once}) must divide --seeds ({self.seeds}).",
        )

    def _check_chunk(self) -> None:
        counts = {
            "updates": self.updates,
            "warm-start.updates": self.warm_start.updates,
            "eval-every": self.eval_every,
            "checkpoint-every": self.checkpoint_every,
        }
        common = gcd(*counts.values())
        for flag, value in counts.items():
            low = value // self.chunk * self.chunk
            use = f"{low} or {low + self.chunk}" if low else str(self.chunk)
            check(
                value % self.chunk == 0,
                f"--{flag} ({value}) must be a multiple of --chunk ({self.chunk}):"
                f" use {use}, or --chunk {common}.",
            )


def read_run(directory: RunDirectory) -> Run:
    """Returns the run whose config the directory holds.

    Raises: ConfigError if the config is damaged, or of another version of this package.
    """
    # ConfigError is a ValueError; a class may raise the others for odd values.
    errors = ValueError, KeyError, ArithmeticError, RecursionError
    try:
        run = from_json(directory.config)
        task = getattr(run, "task", None)
        tasks = list(task.values()) if isinstance(task, dict) else [task]
        check(
            isinstance(run, Run) and all(hasattr(task, "reset") for task in tasks),
            "this is not the config of a run; put it back from a copy, such as that of another run"
            " with the same flags.",
        )
    except errors as error:
        raise ConfigError(f"In {directory.path / 'config.json'}: {error}") from None
    return run


def load(path: str) -> tuple[Run, learner.State]:
    """Returns the run in a directory, and the state [S, ...] of its newest checkpoint, in numpy.

    Raises: ConfigError if it is no run, or has no sound checkpoint.
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
    """Returns the shapes and dtypes of the run's state [S, ...]."""

    def init(seed):
        return learner.init(run.algorithm, transformer.init(run.policy, jax.random.key(seed)))

    return jax.eval_shape(jax.vmap(init), jnp.arange(run.seeds))
