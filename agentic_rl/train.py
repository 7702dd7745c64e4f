"""A whole run: warm start, then chunks of updates, each followed by logging, evaluation, a checkpoint and a word on progress."""

import dataclasses
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import algorithms, layout, learner, parallel, policy
from agentic_rl.acting import Expert
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import ConfigError, check, config, from_json
from agentic_rl.evaluate import evaluator
from agentic_rl.optimizer import Adam
from agentic_rl.policy import Policy
from agentic_rl.records import RunDirectory

BUDGET = ("env_steps", "generated_tokens", "trained_tokens", "expert_labels", "flops")


@config
class WarmStart:
    """A short supervised phase before the run (or another run's weights), so that rewards are found at all."""

    updates: int = 0  # of behaviour cloning, before the run's own; 0: none
    num_demos: int = 0  # demonstrations, drawn from again and again; 0: fresh ones in every update
    noise: float = 0.0  # probability that a demonstrated action is random
    learning_rate: float = 1e-3  # of the cloning
    checkpoint: str = ""  # the directory of a run to take the weights from; then nothing is cloned

    def __post_init__(self):
        check(self.updates >= 0, f"--warm-start.updates must be 0 (none) or more, not {self.updates}.")

    @property
    def algorithm(self) -> Algorithm:
        """The SFT row with these demonstrations."""
        return dataclasses.replace(
            algorithms.SFT, actor=Expert(self.num_demos, self.noise), optimizer=Adam(learning_rate=self.learning_rate)
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that defines a run. What is below `devices` changes its speed, never its numbers beyond rounding."""

    task: Any
    algorithm: Algorithm
    policy: Policy = Policy()
    warm_start: WarmStart = WarmStart()
    updates: int = 200  # after the warm start; each collects a batch and trains on it
    seeds: int = 1  # independent runs in one, with seeds `seed`, `seed` + 1, ...
    seed: int = 0  # of initial weights, problems and actions
    eval_every: int = 20  # updates between evaluations on the test split
    eval_episodes: int = 256  # in each evaluation, one at each problem
    checkpoint_every: int = 100  # updates between checkpoints
    chunk: int = 10  # updates per call to the device; between calls come logs, evaluations, checkpoints and Ctrl-C
    devices: int = 0  # 0: all accelerators, or one virtual device per CPU core (fewer if they cannot share the batch evenly)
    launcher: parallel.Launcher = "pmap"  # what runs one program on all devices
    micro_batch: int = 16  # sequences per forward and backward pass on a device; 0: all at once
    seeds_at_once: int = 0  # 0: one on a CPU, all elsewhere

    def __post_init__(self):
        for name in ("updates", "seeds", "eval_every", "eval_episodes", "checkpoint_every", "chunk"):
            check(getattr(self, name) >= 1, f"--{name.replace('_', '-')} must be 1 or more, not {getattr(self, name)}.")
        for name in ("devices", "micro_batch", "seeds_at_once"):
            check(getattr(self, name) >= 0, f"--{name.replace('_', '-')} must be 0 or more, not {getattr(self, name)}.")
        counts = {"updates": self.updates, "warm-start.updates": self.warm_start.updates}
        for name, value in (counts | {"eval-every": self.eval_every, "checkpoint-every": self.checkpoint_every}).items():
            low = value // self.chunk * self.chunk
            use = f"{low} or {low + self.chunk}" if low else str(self.chunk)
            check(
                value % self.chunk == 0, f"--{name} ({value}) must be a multiple of --chunk ({self.chunk}): use {use}, or another --chunk."
            )
        check(self.seeds % (self.seeds_at_once or 1) == 0, f"--seeds-at-once ({self.seeds_at_once}) must divide --seeds ({self.seeds}).")


class Progress(NamedTuple):
    """What a user wants to see while waiting."""

    phase: str  # "warm start" or the algorithm's part of the run
    step: int  # updates done in this phase
    total: int
    seconds: float  # spent in this phase by this process
    steps_per_second: float
    tokens_per_second: float  # trained on
    success: float  # mean over seeds, the newest known


class Result(NamedTuple):
    """What a finished (or stopped) run leaves in memory."""

    state: learner.State  # leading axis: seeds
    rows: list[dict[str, Any]]  # one per update, as in metrics.jsonl
    finished: bool


class Diverged(ConfigError):
    """A loss or gradient that is not finite, said in one sentence."""


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
    setup, program = machine.program(algorithm, run.warm_start.updates)
    state, clock = machine.init(setup, algorithm, params), time.monotonic()
    for step in range(0, run.warm_start.updates, run.chunk):
        state, log = program(run.task, algorithm, machine.seed, state)
        log = {k: np.asarray(v) for k, v in log.items()}
        check_finite(log, step, run.seed, "lower --warm-start.learning-rate.")
        for i in range(run.chunk):
            spent.add(log, i)
        on_progress(_progress("warm start", step + run.chunk, 0, run.warm_start.updates, clock, spent, float("nan")))
    return state.params, run.warm_start.updates * algorithm.problems, spent


def _progress(
    phase: str, step: int, start: int, total: int, clock: float, spent: Spent, success: float, tokens_before: int = 0
) -> Progress:
    seconds = time.monotonic() - clock
    tokens = sum(spent["trained_tokens"]) - tokens_before
    return Progress(phase, step, total, seconds, (step - start) / seconds, tokens / seconds, success)


def load(path: str) -> tuple[Run, learner.State]:
    """The run of a directory, and the state [S, ...] of its newest checkpoint, as numpy arrays.

    Raises: ConfigError if it is no run, holds no checkpoint, or a damaged one.
    """
    directory = RunDirectory.open(path)
    run = from_json(directory.config)
    restored = directory.restore(_template(run))
    check(restored is not None, f"{path} holds no checkpoint yet; train it first, or name another run.")
    return run, restored[1]


def _template(run: Run) -> learner.State:
    """Shapes and dtypes of the run's state."""
    setup = learner.setup(run.policy, run.algorithm, run.updates, run.micro_batch)

    def init(seed):
        return learner.init(setup, run.algorithm, policy.init(run.policy, jax.random.key(seed)))

    return jax.eval_shape(jax.vmap(init), jnp.arange(run.seeds))


def load_start(run: Run, machine: "Machine") -> tuple[Any, int, "Spent"]:
    """The weights of the run that the warm start names, how many problems they have seen, and what they cost.

    Raises: ConfigError as `load` does, or if they do not fit the run.
    """
    path = run.warm_start.checkpoint
    other, state = load(path)
    check(other.policy == run.policy, f"{path} trained another network ({other.policy}); give the same --policy flags.")
    check(other.seeds >= run.seeds, f"{path} has {other.seeds} seeds and the run wants {run.seeds}; ask for at most {other.seeds}.")
    params = jax.tree.map(lambda x: x[: run.seeds], state.params)
    last = RunDirectory.open(path).metrics[-1]
    return machine.place(params), int(state.drawn[0]), Spent({name: last[name][: run.seeds] for name in BUDGET})


def train(
    run: Run,
    directory: RunDirectory | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    begin: tuple[Any, int, Spent] | None = None,
) -> Result:
    """Runs (or continues) `run`, and keeps its records in `directory` if there is one.

    Args: begin: the outcome of `warm_start`, if another run shares it.
    """
    machine = Machine(run)
    setup, program = machine.program(run.algorithm, run.updates)
    step, state, spent, rows = _resume(run, machine, directory)
    if state is None:
        params, drawn, spent = begin or warm_start(run, machine, on_progress)
        state, spent = machine.init(setup, run.algorithm, params, drawn), Spent(spent)
        rows = [{"step": 0, **spent, **_evaluate(machine, state)}]
        _keep(directory, rows, 0, state)
    clock, start, tokens = time.monotonic(), step, sum(spent["trained_tokens"])
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
            new[-1] |= _evaluate(machine, state)
            success = new[-1]["eval_success"]
        rows += new
        stopping = should_stop()  # asked once a chunk: were it asked again, a signal between the two would end the run unsaved
        save = directory and (step % run.checkpoint_every == 0 or step == run.updates or stopping)
        _keep(directory, new, step, state if save else None)
        saved = step if save else saved
        on_progress(_progress("train", step, start, run.updates, clock, spent, float(np.mean(success)), tokens))
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


def _resume(run: Run, machine: Machine, directory: RunDirectory | None):
    """Step, state, budgets and rows of the newest checkpoint; or a state of None."""
    restored = directory.resume(_template(run)) if directory else None
    if restored is None:
        return 0, None, Spent.nothing(run.seeds), []
    step, state = restored
    rows = directory.metrics
    return step, machine.place(state), Spent({name: rows[-1][name] for name in BUDGET}), rows
