"""A run's devices, and its compiled programs on them."""

import dataclasses
from collections.abc import Callable, Iterator
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
from agentic_rl.training.run import Run
from agentic_rl.types import parts


@lru_cache
def _program(
    setup: learner.Setup, chunk: int, at_once: int, devices: tuple, launcher: parallel.Launcher
):
    """A compiled `f(task, algorithm, seed [S], state [S, ...]) -> (state, {metric: [S, chunk]})`."""

    def f(task, algorithm, seed, state):
        def one(seed_and_state, seed_axis):
            key = jax.random.key(seed_and_state[0])
            update = lambda state, _: learner.update(setup, task, algorithm, key, state, seed_axis)  # noqa: E731
            return jax.lax.scan(update, seed_and_state[1], None, length=chunk)

        return parallel.over_seeds(one, (seed, state), at_once)

    return parallel.launch(f, list(devices), launcher, donate=(3,))


@dataclasses.dataclass
class Programs:
    """The devices of a run, and its programs on them."""

    run: Run
    announce: Callable[[str], None] = lambda phase: None  # told what the machine begins to do

    def __post_init__(self):
        run, found, counts = self.run, parallel.choose(self.run.devices), _shared(self.run)
        for part in parts(run.task).values():
            layout.check_length(part.spec)
            run.algorithm.values.check(part, run.policy)
        most = max(
            n for n in range(1, len(found) + 1) if all(count % n == 0 for count in counts.values())
        )
        self.devices = found if run.devices else found[:most]
        self.at_once = run.seeds_at_once or (1 if self.devices[0].platform == "cpu" else run.seeds)
        for what, count in counts.items():
            check(
                count % len(self.devices) == 0,
                f"{what} ({count}) must be a multiple of the {len(self.devices)} devices; change that or --devices.",
            )
        self.seed = self.place(np.arange(run.seed, run.seed + run.seeds))

    def place(self, tree):
        """Every leaf on all devices."""
        return parallel.place(tree, self.devices)

    def program(self, algorithm: Algorithm, total: int) -> parallel.Program:
        """The update program of an algorithm that is run for `total` updates."""
        setup = learner.setup(self.run.policy, algorithm, total, self.run.micro_batch)
        return _program(setup, self.run.chunk, self.at_once, tuple(self.devices), self.run.launcher)

    def ready(self, program: parallel.Program, what: str, *inputs) -> None:
        """Compiles the program for such inputs, if it is not, and announces that."""
        if not program.is_compiled(*inputs):
            self.announce(f"compiling {what}")
            program.compile(*inputs)

    def compile_updates(
        self, what: str, algorithm: Algorithm, total: int, state: learner.State
    ) -> None:
        """Compiles what `chunks` runs."""
        self.ready(self.program(algorithm, total), what, self.run.task, algorithm, self.seed, state)

    def chunks(
        self, algorithm: Algorithm, total: int, state: learner.State, step: int
    ) -> Iterator[tuple[int, learner.State, dict[str, np.ndarray]]]:
        """Yields the step, the state and the log {metric: [S, chunk]} after each chunk of updates, up to `total`."""
        program = self.program(algorithm, total)
        while step < total:
            state, log = program(self.run.task, algorithm, self.seed, state)
            step += self.run.chunk
            yield step, state, {name: np.asarray(x) for name, x in log.items()}

    def evaluate(
        self,
        params,
        task=None,
        episodes: int = 0,
        attempts: int = 1,
        split="test",
        temperature: float = 1.0,
    ):
        """{metric: [S]} of the weights `params` [S, ...] on the run's task (or another layout of it), over `episodes` problems.

        Of a mixture: over as many of each of its tasks, "task/metric" and the means.

        Raises: ConfigError if an episode is too long, or the devices cannot share the problems evenly.
        """
        task = task or self.run.task
        if isinstance(task, dict):
            logs = {
                name: self.evaluate(params, part, episodes, attempts, split, temperature)
                for name, part in parts(task).items()
            }
            return learner.mean_and_each(logs)
        f, inputs = self._evaluation(params, task, episodes, attempts, split, temperature)
        self.announce("evaluating")
        return {k: np.asarray(v) for k, v in f(*inputs).items()}

    def compile_evaluation(self, params) -> None:
        """Compiles what `evaluate` runs on the run's task."""
        for part in parts(self.run.task).values():
            self._evaluation(params, part)

    def _evaluation(
        self,
        params,
        task,
        episodes: int = 0,
        attempts: int = 1,
        split="test",
        temperature: float = 1.0,
    ) -> tuple[Any, tuple]:
        """The compiled program, and its inputs."""
        episodes, count = episodes or self.run.eval_episodes, len(self.devices)
        layout.check_length(task.spec)
        check(
            episodes % count == 0,
            f"{episodes} problems cannot be shared evenly by {count} devices; ask for a multiple of {count}.",
        )
        f = evaluator(
            self.run.policy,
            episodes,
            attempts,
            split,
            tuple(self.devices),
            self.run.launcher,
            self.at_once,
        )
        inputs = task, self.seed, params, np.float32(temperature)
        self.ready(f, "the evaluation", *inputs)
        return f, inputs

    def episodes(self, params) -> list[str]:
        """Returns episodes of the first seed's policy on unseen problems, of each task three, as text."""
        first = jax.tree.map(lambda x: jax.device_get(x)[0], params)
        return episodes(self.run.task, Sampler(self.run.policy, first), self.run.seed)

    def fresh_params(self):
        """Initial weights of every seed."""
        seeds = range(self.run.seed, self.run.seed + self.run.seeds)
        init = jax.jit(
            lambda s: transformer.init(self.run.policy, jax.random.fold_in(jax.random.key(s), INIT))
        )
        return self.place(
            jax.tree.map(lambda *x: np.stack(x), *[jax.device_get(init(s)) for s in seeds])
        )

    def init(self, algorithm: Algorithm, params, drawn: int = 0) -> learner.State:
        """The state of every seed before the first update."""
        state = jax.vmap(lambda p: learner.init(algorithm, p, drawn))(params)
        return self.place(jax.device_get(state))


def _shared(run: Run) -> dict[str, int]:
    """What the devices share evenly, by the flags that say how much it is."""
    row, problems, count = run.algorithm, "--algorithm.problems", len(parts(run.task))
    check(
        row.problems % count == 0,
        f"{problems} ({row.problems}) must be a multiple of the {count} tasks of the mixture.",
    )
    each = f" / {count} tasks" * (count > 1)
    episodes = row.problems // count * row.attempts
    sentence = f"the {episodes} episodes of each task in an update must be a multiple of --algorithm.minibatches ({row.minibatches})."
    check(episodes % row.minibatches == 0, sentence)
    minibatch = {
        f"{problems}{each} x --algorithm.attempts / --algorithm.minibatches": episodes
        // row.minibatches
    }
    warm = (
        {"the warm start's batch": run.warm_start.algorithm.problems // count}
        if run.warm_start.updates
        else {}
    )
    return (
        {problems + each: row.problems // count, "--eval-episodes": run.eval_episodes}
        | minibatch
        | warm
    )
