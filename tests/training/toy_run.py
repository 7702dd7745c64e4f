"""A whole run of a tiny policy, with and without a directory, which the tests of runs share."""

from dataclasses import replace

import chex
import jax

from agentic_rl import algorithms
from agentic_rl.config import to_json
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import Run, WarmStart, load
from agentic_rl.training.train import train

ALGORITHM = replace(
    algorithms.GRPO,
    problems=4,
    attempts=4,
    minibatches=2,
    epochs=1,
    optimizer=Adam(learning_rate=1e-2, warmup=0),
)
RUN = Run(
    RunningSum(num_turns=2, modulus=2, reward="per_turn"),
    ALGORITHM,
    Policy(width=8, layers=1, heads=2, mlp=8),
    WarmStart(updates=2, num_demos=300),
    updates=8,
    chunk=2,
    eval_every=4,
    eval_episodes=8,
    checkpoint_every=4,
    devices=2,
    micro_batch=0,
    seeds=2,
    seed=3,
    seeds_at_once=1,
)
LONG_START = replace(RUN, warm_start=replace(RUN.warm_start, updates=4))


def create(path, run=RUN) -> RunDirectory:
    return RunDirectory.create(path, to_json(run))


def train_in(path, run=RUN, **options):
    with create(path, run) as directory:
        return train(run, directory, **options)


def without_clocks(path) -> list[dict]:
    """Returns the entries of a run's log, without the time at which each was written."""
    return [
        {k: v for k, v in entry.items() if k not in ("time", "seconds")}
        for entry in RunDirectory.open(path).metrics
    ]


def assert_same_run(path, result, whole):
    """Checks that a run has the same state as the whole one, to the bit, and the same log."""
    chex.assert_trees_all_equal(jax.device_get(result.state), jax.device_get(whole[1].state))
    assert without_clocks(path) == without_clocks(whole[0])
    chex.assert_trees_all_equal(load(str(path))[1], jax.device_get(whole[1].state))
