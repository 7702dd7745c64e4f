"""DeepSea agrees with the one of gymnax, step by step."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.deep_sea import DeepSea

KEY = jax.random.key(0)


@cache
def step(task):
    return jax.jit(task.step)


def dive(task, ways, key=KEY):
    """Returns (column, reward) after each turn of going right (1) or left (0)."""
    state, seen = task.reset(key)[0], []
    for row, right in enumerate(ways):
        meaning = state.right[row, state.column]
        action = tokens.value(jnp.where(right, meaning, 1 - meaning))[None]
        state, timestep = step(task)(KEY, state, action)
        seen.append((int(state.column), round(float(timestep.reward), 6)))
    assert timestep.done == (len(ways) == task.size)
    return seen


@pytest.mark.parametrize("size", [4, 8, 20])
def test_every_step_is_that_of_gymnax(size):
    deep_sea = pytest.importorskip("gymnax.environments.bsuite.deep_sea")
    theirs, task = deep_sea.DeepSea(size=size), DeepSea(size=size)
    their_step = jax.jit(theirs.step_env)
    for episode in range(20):
        ours, _ = task.reset(jax.random.key(episode))
        _, other = theirs.reset_env(KEY, theirs.default_params)
        follows = np.random.default_rng(episode).random(size) < (1 if episode == 0 else 0.8)
        for row in range(size):
            assert (ours.right == other.action_mapping).all()
            assert (ours.row, ours.column) == (other.row, other.column)
            right = int(ours.right[row, ours.column])
            action = right if follows[row] else 1 - right
            ours, timestep = step(task)(KEY, ours, jnp.array([tokens.value(action)]))
            _, other, reward, done, _ = their_step(KEY, other, action, theirs.default_params)
            np.testing.assert_allclose(timestep.reward, reward, atol=1e-7)
            assert timestep.done == done == (row == size - 1)
        assert ours.column == other.column and timestep.success == (not other.bad_episode)


def test_the_treasure_is_at_the_end_of_the_diagonal_alone():
    task = DeepSea(size=4, move_cost=0.04)
    assert dive(task, [1, 1, 1, 1]) == [(1, -0.01), (2, -0.01), (3, -0.01), (3, 0.99)]
    assert dive(task, [0, 1, 1, 1]) == [(0, 0), (1, -0.01), (2, -0.01), (3, -0.01)]
    assert dive(task, [1, 0, 1, 0]) == [(1, -0.01), (0, 0), (1, -0.01), (0, 0)]


def test_no_way_beats_the_experts_or_leaves_the_bounds():
    task = DeepSea(size=5)
    returns = {
        ways: sum(reward for _, reward in dive(task, ways))
        for ways in itertools.product((0, 1), repeat=5)
    }
    least, largest = min(returns.values()), max(returns.values())
    np.testing.assert_allclose((least, largest), task.bounds(), atol=1e-5)
    potential = task.potential(task.reset(KEY)[0])
    np.testing.assert_allclose([largest, returns[1, 1, 1, 1, 1]], potential, atol=1e-5)
    assert sum(total > 0 for total in returns.values()) == 1 == task.chance() * 2**5


def test_off_the_diagonal_the_expert_saves_the_cost():
    task = DeepSea()
    lost = task.reset(KEY)[0]._replace(row=jnp.int32(3), column=jnp.int32(1))
    assert task.expert(lost) != tokens.value(lost.right[3, 1]) and task.potential(lost) == 0
    assert task.is_key(lost) and not DeepSea(move_cost=0.0).is_key(lost)


def test_actions_mean_the_same_in_every_episode_unless_the_prompt_says_so():
    for rule in ("weights", "prompt"):
        task = DeepSea(size=5, rule=rule)
        states = jax.vmap(task.reset)(jax.random.split(KEY, 16))[0]
        assert len(np.unique(states.right, axis=0)) == (1 if rule == "weights" else 16)
        prompts = jax.vmap(task.prompt)(states)
        shown = (
            prompts[:, 3:].reshape(-1, 5, 5) - tokens.VALUE if rule == "prompt" else states.right
        )
        assert (shown == states.right).all()
    assert (DeepSea(scramble=1).reset(KEY)[0].right != DeepSea().reset(KEY)[0].right).any()


def test_the_numbers_of_a_large_sea_are_tens_and_ones():
    task = DeepSea(size=32)
    place = task.reset(KEY)[0]._replace(row=jnp.int32(21), column=jnp.int32(7))
    assert tokens.text(task._observe(place)) == "OBS v2 v1 v0 v7"
    text = task.render_turn(np.asarray(task._observe(place)), np.array([tokens.value(1)]))
    assert text == "row 21, column 7 -> v1"


def test_longer_multiplies_the_depth():
    assert DeepSea().longer(4) == DeepSea(size=32)
