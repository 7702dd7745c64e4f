"""Every algorithm learns, on probe tasks of seconds that isolate one faculty each."""

from dataclasses import replace

import numpy as np
import pytest

from agentic_rl import algorithms
from agentic_rl.algorithms import Algorithm
from agentic_rl.credit.gae import GAE
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.training.run import Run, WarmStart
from agentic_rl.training.train import train
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact

pytestmark = pytest.mark.slow
ALGORITHMS = algorithms.by_name()


def learn(
    task, algorithm: Algorithm, warm_start: WarmStart, updates: int, context: str = "history"
) -> dict[str, float]:
    """Returns the success in the first batch, the last twenty, and on unseen problems.

    Each is a mean over three seeds.
    """
    run = Run(
        task,
        algorithm,
        Policy(width=32, layers=1, heads=2, mlp=64, context=context),
        warm_start,
        updates=updates,
        seeds=3,
        chunk=10,
        eval_every=updates,
        eval_episodes=128,
        checkpoint_every=updates,
        devices=1,
        micro_batch=0,
    )
    entries = train(run).entries
    success = np.mean([entry["success"] for entry in entries[1:]], axis=1)
    return {
        "first": success[0],
        "last": success[-20:].mean(),
        "unseen": np.mean(entries[-1]["eval_success"]),
    }


def sized(algorithm: Algorithm, **changes) -> Algorithm:
    problems = 32 if algorithm.attempts > 1 else 256
    return replace(
        algorithm, **dict(problems=problems, optimizer=Adam(learning_rate=1e-3, warmup=0)) | changes
    )


@pytest.mark.parametrize("name", ["sft", "dagger"])
def test_a_supervised_algorithm_learns_to_add_from_nothing(name):
    algorithm = sized(ALGORITHMS[name], problems=64, optimizer=Adam(learning_rate=3e-3, warmup=0))
    assert (
        learn(RunningSum(num_turns=2, modulus=4), algorithm, WarmStart(), updates=120)["unseen"]
        > 0.9
    )


@pytest.mark.parametrize(
    "name", [name for name, algorithm in ALGORITHMS.items() if algorithm.is_on_policy]
)
def test_reinforcement_takes_a_poor_policy_to_near_perfection(name):
    slow = (
        dict(epochs=2, optimizer=Adam(learning_rate=5e-4, warmup=0))
        if ALGORITHMS[name].attempts == 1
        else {}
    )  # no group to compare with
    start = WarmStart(updates=20, learning_rate=3e-3)
    context = "markov" if isinstance(ALGORITHMS[name].values, Exact) else "history"
    success = learn(
        RunningSum(num_turns=2, modulus=3),
        sized(ALGORITHMS[name], **slow),
        start,
        updates=140 if slow else 120,
        context=context,
    )
    assert success["first"] < 0.65 and success["last"] > 0.85


KEY = dict(
    task=KeyDoor(delay=0, apple_reward=0.0),
    warm_start=WarmStart(updates=20, noise=0.3, learning_rate=2e-3),
)


def carried(lambda_: float, coefficient: float, updates: int) -> float:
    """Success of PPO where the reward comes a turn after the choice that decides it."""
    critic = Critic(coefficient=coefficient, clip=10.0)
    algorithm = sized(
        ALGORITHMS["ppo"], credit=GAE(lambda_), values=critic, epochs=1, entropy_coefficient=0.01
    )
    return learn(algorithm=algorithm, updates=updates, **KEY)["last"]


def test_lambda_one_carries_a_delayed_reward_back_without_a_critic():
    assert carried(1.0, coefficient=0.0, updates=60) > 0.9


def test_lambda_zero_carries_a_delayed_reward_back_by_the_critic_alone():
    assert carried(0.0, coefficient=2.0, updates=160) > 0.9
    assert carried(0.0, coefficient=0.0, updates=160) < 0.5
