"""A run's devices, and its compiled programs on them."""

import dataclasses
from functools import lru_cache

import jax
import numpy as np

from agentic_rl import layout, learner, parallel, policy
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import check
from agentic_rl.evaluate import evaluator
from agentic_rl.run import Run


@lru_cache
def _program(setup: learner.Setup, chunk: int, at_once: int, devices: tuple, launcher: parallel.Launcher):
    """A compiled `f(task, algorithm, seed [S], state [S, ...]) -> (state, {metric: [S, chunk]})`."""

    def f(task, algorithm, seed, state):
        def one(seed_and_state, seed_axis):
            key = jax.random.key(seed_and_state[0])
            update = lambda state, _: learner.update(setup, task, algorithm, key, state, seed_axis)  # noqa: E731
            return jax.lax.scan(update, seed_and_state[1], None, length=chunk)

        return parallel.over_seeds(one, (seed, state), at_once)

    return parallel.launch(f, list(devices), launcher, donate=(3,))


@dataclasses.dataclass
class Machine:
    """The devices of a run, and its programs on them."""

    run: Run

    def __post_init__(self):
        run, found, counts = self.run, parallel.choose(self.run.devices), _shared(self.run)
        layout.check_length(run.task.spec)
        most = max(n for n in range(1, len(found) + 1) if all(count % n == 0 for count in counts.values()))
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

    def program(self, algorithm: Algorithm, total: int):
        """The update program of an algorithm that is run for `total` updates, and its set-up."""
        setup = learner.setup(self.run.policy, algorithm, total, self.run.micro_batch)
        return setup, _program(setup, self.run.chunk, self.at_once, tuple(self.devices), self.run.launcher)

    def evaluate(self, params, task=None, episodes: int = 0, attempts: int = 1, split="test", temperature: float = 1.0):
        """{metric: [S]} of the weights `params` [S, ...] on the run's task (or another layout of it), over `episodes` problems.

        Raises: ConfigError if an episode is too long, or the devices cannot share the problems evenly.
        """
        episodes, count = episodes or self.run.eval_episodes, len(self.devices)
        layout.check_length((task or self.run.task).spec)
        check(episodes % count == 0, f"{episodes} problems cannot be shared evenly by {count} devices; ask for a multiple of {count}.")
        f = evaluator(self.run.policy, episodes, attempts, split, tuple(self.devices), self.run.launcher, self.at_once)
        return {k: np.asarray(v) for k, v in f(task or self.run.task, self.seed, params, np.float32(temperature)).items()}

    def fresh_params(self):
        """Initial weights of every seed."""
        seeds = range(self.run.seed, self.run.seed + self.run.seeds)
        init = jax.jit(lambda s: policy.init(self.run.policy, jax.random.fold_in(jax.random.key(s), learner.INIT)))
        return self.place(jax.tree.map(lambda *x: np.stack(x), *[jax.device_get(init(s)) for s in seeds]))

    def init(self, setup, algorithm: Algorithm, params, drawn: int = 0) -> learner.State:
        """The state of every seed before the first update."""
        state = jax.vmap(lambda p: learner.init(setup, algorithm, p, drawn))(params)
        return self.place(jax.device_get(state))


def _shared(run: Run) -> dict[str, int]:
    """What the devices share evenly, by the flags that say how much it is."""
    row, problems = run.algorithm, "--algorithm.problems"
    minibatch = {f"{problems} x --algorithm.attempts / --algorithm.minibatches": row.problems * row.attempts // row.minibatches}
    warm = {"the warm start's batch": run.warm_start.algorithm.problems} if run.warm_start.updates else {}
    return {problems: row.problems, "--eval-episodes": run.eval_episodes} | minibatch | warm
