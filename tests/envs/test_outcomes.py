"""The outcomes that a task lists for an action are those that its steps have."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.envs.frozen_lake import FrozenLake
from agentic_rl.envs.graph_nav import GraphNav
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.envs.micro import NoisyVerifier
from agentic_rl.exact.state_graph import identify, is_random, outcomes
from tests.envs.episodes import WRONG, compiled, pad_after_end, play_together
from tests.envs.variants import every_small_task
from tests.toys import Walk

RANDOM = [
    GraphNav(num_nodes=6, num_turns=5, slip=0.3),
    FrozenLake(size=3, num_turns=5, hole=0.4, slip=0.4),
    KeyDoor(delay=8, apple_noise=0.5),
    NoisyVerifier(true_positive=0.8, false_positive=0.3),
    Walk(),
]


class Distribution(NamedTuple):
    """What an action leads to: for each outcome its probability and its kind; the mean reward."""

    chance: Any
    done: Any
    success: Any
    identity: Any
    reward: Any


def distribution(task, state, action):
    chance, later, step = outcomes(task, state, action)
    identity = identify(jax.vmap(task.anchor)(later), step.observation)
    return Distribution(chance, step.done, step.success, identity, (chance * step.reward).sum())


def sample_outcome(task, key, state, action):
    later, step = task.step(key, state, action)
    identity = identify(task.anchor(later), step.observation)
    return Distribution((), step.done, step.success, identity, step.reward)


@every_small_task
def test_at_the_tested_settings_steps_draw_no_random_numbers(task):
    assert not is_random(task)


@every_small_task
def test_states_of_one_problem_that_are_identified_alike_have_the_same_outcomes(task):
    """It tries 32 actions, and expects the outcomes in the same order too."""
    turns, random = play_together(task), np.random.default_rng(2)
    action = random.choice(task.spec.choices, (32, task.spec.action_length))
    action = pad_after_end(jnp.asarray(action, jnp.int32), task.spec.end)

    def look(state, observation):
        each = jax.vmap(lambda a: distribution(task, state, a))(action)
        return identify(task.anchor(state), observation), each

    look_at_all = compiled(jax.vmap(jax.vmap(look)))
    identity, result = jax.device_get(look_at_all(turns.state, turns.observation))
    _, first, which = np.unique(
        identity[turns.alive], axis=0, return_index=True, return_inverse=True
    )
    assert len(first) < len(which), "no state was met again"
    for x in jax.tree.leaves(result):
        np.testing.assert_allclose(x[turns.alive], x[turns.alive][first][which.ravel()], atol=1e-6)


@pytest.mark.parametrize("task", RANDOM, ids=lambda task: type(task).__name__)
def test_the_outcomes_that_a_random_task_lists_are_those_of_many_steps(task):
    """Frequencies and mean rewards are within five standard errors at the states of an episode."""
    num_draws, random = 2048, np.random.default_rng(3)
    choices = (*task.spec.choices, WRONG)
    action = jnp.asarray(random.choice(choices, (8, task.spec.action_length)), jnp.int32)
    state = jax.tree.map(lambda x: x[5], play_together(task).state)

    def look(state, action):
        keys = jax.random.split(jax.random.key(0), num_draws)
        sampled = jax.vmap(lambda key: sample_outcome(task, key, state, action))(keys)
        return sampled, distribution(task, state, action)

    look_at_all = compiled(jax.vmap(jax.vmap(look, (None, 0)), (0, None)))
    sampled, listed = jax.device_get(look_at_all(state, action))
    np.testing.assert_allclose(listed.chance.sum(-1), 1, atol=1e-6)
    assert (sampled.reward.std(-1) + listed.chance.std(-1)).max() > 0.1, "nothing is random"
    for t, a in np.ndindex(listed.reward.shape):
        one, many = jax.tree.map(lambda x: x[t, a], (listed, sampled))
        assert_same_distribution(one, many, num_draws)


def assert_same_distribution(listed, sampled, num_draws):
    listed_kinds, sampled_kinds = (
        np.column_stack([x.done, x.success, x.identity]) for x in (listed, sampled)
    )
    for kind in np.unique(np.concatenate([listed_kinds, sampled_kinds]), axis=0):
        chance = listed.chance[(listed_kinds == kind).all(1)].sum()
        frequency = (sampled_kinds == kind).all(1).mean()
        error = np.sqrt(max(chance * (1 - chance), 0) / num_draws)
        assert abs(frequency - chance) <= 5 * error + 1e-6
    error = sampled.reward.std() / np.sqrt(num_draws)
    assert abs(sampled.reward.mean() - listed.reward) <= 5 * error + 1e-6
