"""The true advantage, enumerated where that is possible and else from forks; it says which."""

import time
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.config import ConfigError
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.exact.true_advantage import true_advantage
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import Sampler
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Random
from agentic_rl.rollout.rollout import rollout
from tests.toys import TINY, Walk, compiled, weights

MARKOV = replace(TINY, context="markov")
RETURNS = ChainPit(
    num_turns=2, num_values=2, mode="unseen_recover", recovery_turns=1, reward="per_step_cost"
)
WALK = Walk(num_turns=2, size=4, action_length=2)
markov_or_not = pytest.mark.parametrize(
    "policy_config", [MARKOV, pytest.param(TINY, marks=pytest.mark.slow)], ids=["markov", "history"]
)
FORKS = 256


def params(task, policy_config):
    return weights(policy_config, seed=1, likely=task.spec.choices)


@cache
def played(task, problems=48):
    return compiled(
        lambda: rollout(
            task, Random(), jax.random.key(0), jnp.arange(problems), 1, keep_states=True
        )
    )()


@cache
def truth(task, policy_config, capacity=256, forks=FORKS, problems=48):
    return true_advantage(
        task,
        policy_config,
        params(task, policy_config),
        played(task, problems),
        capacity,
        forks=forks,
    )


@markov_or_not
def test_forks_agree_with_the_enumeration_within_their_own_error(policy_config):
    one, other = truth(RETURNS, policy_config), truth(RETURNS, policy_config, capacity=1)
    exact, forked, error = (np.asarray(x) for x in (one.advantage, other.advantage, other.error))
    z = (forked - exact)[error > 0] / error[error > 0]
    assert len(z) > 60 and 0.6 < np.mean(z**2) < 1.5 and abs(z.mean()) < 4 / np.sqrt(len(z))
    assert np.std(exact) > 5 * error.mean()  # which is small enough to tell advantages apart
    assert (one.error == 0).all()


@markov_or_not
def test_it_says_that_it_is_exact_and_of_how_many_states(policy_config):
    counted = {"markov": "2 states", "history": "64 histories"}[policy_config.context]
    assert (
        truth(RETURNS, policy_config).method == f"exact, by enumeration of up to {counted} a turn"
    )


def test_where_states_are_too_many_it_forks_and_says_why():
    assert (
        truth(RETURNS, MARKOV, capacity=1).method
        == "256 forks from before each turn (there are 2 states a turn, and capacity is 1)"
    )


def test_where_a_policy_with_memory_writes_several_tokens_it_forks():
    method = truth(WALK, TINY, forks=2, problems=2).method
    assert method.startswith("2 forks from before each turn (Walk has actions of 2 tokens: ")


def test_where_a_random_task_lists_no_outcomes_it_forks(monkeypatch):
    monkeypatch.delattr(Walk, "outcomes")
    method = truth.__wrapped__(WALK, TINY, forks=2, problems=2).method
    assert method.startswith(
        "2 forks from before each turn (Walk is random and does not list its outcomes"
    )


def test_forks_give_an_action_s_last_token_all_of_its_turn_s_advantage():
    result, trajectory = truth(WALK, TINY, forks=2, problems=2), jax.device_get(played(WALK, 2))
    before, after, advantage = (np.asarray(x) for x in (*result.value[:2], result.advantage))
    for n, g, t in np.ndindex(trajectory.mask.shape[:3]):
        count = trajectory.mask[n, g, t].sum()
        assert (before[n, g, t, count:] == 0).all() and (after[n, g, t, count:] == 0).all()
        assert (
            len(set(before[n, g, t, :count])) <= 1
            and (advantage[n, g, t, : max(count - 1, 0)] == 0).all()
        )
        if count:
            then = before[n, g, t + 1, 0] if t + 1 < WALK.num_turns else 0.0
            assert after[n, g, t, count - 1] == pytest.approx(trajectory.reward[n, g, t] + then)


def test_episodes_without_states_are_refused():
    with pytest.raises(
        ConfigError, match="^These episodes kept no states: roll them out with keep_states=True.$"
    ):
        true_advantage(RETURNS, MARKOV, params(RETURNS, MARKOV), played(RETURNS)._replace(state=()))


@pytest.mark.slow
def test_a_hundred_thousand_states_are_read_in_a_minute_of_cpu_time():
    """Three keys at 801 turns have 100,125 states. The policy has 135,553 weights.

    (benchmarks/exact.py)
    """
    task, policy_config = KeyDoor(num_keys=3, delay=797), Policy(context="markov")
    weights = transformer.init(policy_config, jax.random.key(0))
    episodes = jax.jit(
        lambda: rollout(
            task,
            Sampler(policy_config, weights),
            jax.random.key(1),
            jnp.arange(1),
            2,
            keep_states=True,
        )
    )()
    start = time.process_time()
    result = true_advantage(task, policy_config, weights, episodes, capacity=125)
    jax.block_until_ready(result.value)
    assert (
        result.method == "exact, by enumeration of up to 125 states a turn"
        and time.process_time() - start < 60
    )
    assert np.isfinite(result.advantage).all()
