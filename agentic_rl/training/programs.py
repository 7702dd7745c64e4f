"""A run's devices, and the programs compiled for them: updates, evaluations and episodes."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from agentic_rl import parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import check
from agentic_rl.policy import layout, transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.rng_streams import INIT
from agentic_rl.rollout.evaluate import evaluator
from agentic_rl.rollout.transcript import episodes
from agentic_rl.training import learner
from agentic_rl.training.loop import RunChunk
from agentic_rl.training.run import Run
from agentic_rl.types import Environment, Task, parts


@lru_cache
def _program(
    setup: learner.Setup, chunk: int, at_once: int, devices: tuple, launcher: parallel.Launcher
) -> parallel.Program:
    """Returns `f(task, algorithm, seed [S], state [S, ...]) -> (state, {metric: [S, chunk]})`."""

    def run_chunk(task, algorithm, seed, state):
        def run_seed(seed_and_state, seed_axis):
            key = jax.random.key(seed_and_state[0])

            def update(state, _):
                return learner.update(setup, task, algorithm, key, state, seed_axis)

            return jax.lax.scan(update, seed_and_state[1], None, length=chunk)

        return parallel.over_seeds(run_seed, (seed, state), at_once)

    return parallel.launch(run_chunk, list(devices), launcher, donate=(3,))


@dataclasses.dataclass
class Programs:
    """The devices of a run, and its programs on them.

    Args:
      announce: called with the name of each phase of work that begins.
    """

    run: Run
    announce: Callable[[str], None] = lambda phase: None

    def __post_init__(self):
        run = self.run
        for part in parts(run.task).values():
            layout.check_length(part.spec)
            run.algorithm.values.check(part, run.policy)
        self.devices = _choose_devices(run)
        self.at_once = run.seeds_at_once or (1 if self.devices[0].platform == "cpu" else run.seeds)
        self.seed = self.place(np.arange(run.seed, run.seed + run.seeds))

    def place(self, tree: Any) -> Any:
        """Returns a copy of every leaf on all devices."""
        return parallel.place(tree, self.devices)

    def program(self, algorithm: Algorithm, total: int) -> parallel.Program:
        """Returns the update program of an algorithm that is run for `total` updates."""
        setup = learner.setup(self.run.policy, algorithm, total, self.run.micro_batch)
        return _program(setup, self.run.chunk, self.at_once, tuple(self.devices), self.run.launcher)

    def prepare(self, program: parallel.Program, what: str, *inputs) -> None:
        """Compiles the program for such inputs, if that was not done, and announces it."""
        if not program.is_compiled(*inputs):
            self.announce(f"compiling {what}")
            program.compile(*inputs)

    def compile_updates(
        self, what: str, algorithm: Algorithm, total: int, state: learner.State
    ) -> None:
        """Compiles the program of `chunk`."""
        program = self.program(algorithm, total)
        self.prepare(program, what, self.run.task, algorithm, self.seed, state)

    def chunk(self, algorithm: Algorithm, total: int) -> RunChunk:
        """Returns a function that runs a chunk of updates.

        It takes the state [S, ...], and returns the new one and the log {metric: [S, chunk]}.
        """
        program = self.program(algorithm, total)

        def run_chunk(state):
            state, log = program(self.run.task, algorithm, self.seed, state)
            return state, {name: np.asarray(x) for name, x in log.items()}

        return run_chunk

    def evaluate(
        self,
        params: Any,
        task: Task | None = None,
        episodes: int = 0,
        attempts: int = 1,
        split: str = "test",
        temperature: float = 1.0,
    ) -> dict[str, np.ndarray]:
        """Returns {metric: [S]} of weights [S, ...] on the run's task, or on another layout of it.

        For a mixture it returns each task's metrics under "task/metric", and their means.

        Args:
          episodes: the number of problems of each task; 0: the run's `eval_episodes`.

        Raises: ConfigError if an episode is too long, or the devices cannot share the problems
          evenly.
        """
        task = task or self.run.task
        if isinstance(task, dict):
            logs = {
                name: self.evaluate(params, part, episodes, attempts, split, temperature)
                for name, part in parts(task).items()
            }
            return learner.mean_and_each(logs)
        program, inputs = self._evaluation(params, task, episodes, attempts, split, temperature)
        self.announce("evaluating")
        return {name: np.asarray(x) for name, x in program(*inputs).items()}

    def compile_evaluation(self, params: Any) -> None:
        """Compiles the evaluation on the run's task."""
        for part in parts(self.run.task).values():
            self._evaluation(params, part)

    def _evaluation(
        self,
        params: Any,
        task: Environment,
        episodes: int = 0,
        attempts: int = 1,
        split: str = "test",
        temperature: float = 1.0,
    ) -> tuple[parallel.Program, tuple]:
        """Returns the compiled program and its inputs."""
        episodes, count = episodes or self.run.eval_episodes, len(self.devices)
        layout.check_length(task.spec)
        check(
            episodes % count == 0,
            f"{episodes} problems cannot be shared evenly by {count} devices; ask for a multiple"
            f" of {count}.",
        )
        where = tuple(self.devices), self.run.launcher, self.at_once
        program = evaluator(self.run.policy, episodes, attempts, split, *where)
        inputs = task, self.seed, params, np.float32(temperature)
        self.prepare(program, "the evaluation", *inputs)
        return program, inputs

    def episodes(self, params: Any) -> list[str]:
        """Returns the first seed's episodes at three unseen problems of each task, as text."""
        first = jax.tree.map(lambda x: jax.device_get(x)[0], params)
        return episodes(self.run.task, Sampler(self.run.policy, first), self.run.seed)

    def fresh_params(self) -> Any:
        """Returns the initial weights of every seed, [S, ...]."""

        @jax.jit
        def init(seed):
            key = jax.random.fold_in(jax.random.key(seed), INIT)
            return transformer.init(self.run.policy, key)

        seeds = range(self.run.seed, self.run.seed + self.run.seeds)
        params = [jax.device_get(init(seed)) for seed in seeds]
        return self.place(jax.tree.map(lambda *x: np.stack(x), *params))

    def init(self, algorithm: Algorithm, params: Any, drawn: int = 0) -> learner.State:
        """Returns the state of every seed before the first update."""
        state = jax.vmap(lambda p: learner.init(algorithm, p, drawn))(params)
        return self.place(jax.device_get(state))


def _choose_devices(run: Run) -> list[jax.Device]:
    """Returns as many devices as the run asks for, or the most that share its batches evenly."""
    available, shared = parallel.choose(run.devices), _shared(run)
    numbers = range(1, len(available) + 1)
    most = max(n for n in numbers if all(count % n == 0 for count in shared.values()))
    devices = available if run.devices else available[:most]
    for what, count in shared.items():
        check(
            count % len(devices) == 0,
            f"{what} ({count}) must be a multiple of the {len(devices)} devices; change that or"
            " --devices.",
        )
    return devices


def _shared(run: Run) -> dict[str, int]:
    """Returns the numbers that the devices share evenly, by the flags that set them."""
    algorithm, problems, count = run.algorithm, "--algorithm.problems", len(parts(run.task))
    check(
        algorithm.problems % count == 0,
        f"{problems} ({algorithm.problems}) must be a multiple of the {count} tasks of the"
        " mixture.",
    )
    each = f" / {count} tasks" * (count > 1)
    episodes = algorithm.problems // count * algorithm.attempts
    minibatches = algorithm.minibatches
    check(
        episodes % minibatches == 0,
        f"the {episodes} episodes of each task in an update must be a multiple of"
        f" --algorithm.minibatches ({minibatches}).",
    )
    minibatch = f"{problems}{each} x --algorithm.attempts / --algorithm.minibatches"
    shared = {
        problems + each: algorithm.problems // count,
        "--eval-episodes": run.eval_episodes,
        minibatch: episodes // minibatches,
    }
    if run.warm_start.updates:
        shared["the warm start's batch"] = run.warm_start.algorithm.problems // count
    return shared
