"""Every task keeps its promises whatever tokens are written as actions."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental import checkify

import agentic_rl.envs
from agentic_rl import tokens
from agentic_rl.config import named

TASKS = {name: cls() for name, cls in named(agentic_rl.envs).items()}
every_task = pytest.mark.parametrize("name", sorted(TASKS))
# these take long to compile
HEAVY = {"sokoban", "hanoi", "points", "graph_nav", "todo"}
HEAVY |= {"tool_chase", "frozen_lake", "path_star", "fix_it"}
some_tasks = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in HEAVY)) for n in sorted(TASKS)]
)
EPISODES, BEYOND = 64, 2  # turns past the end


def play(task, state, key, share):
    """Returns the time steps [T + BEYOND] of an episode, of whose tokens `share` are sensible."""
    spec = task.spec

    def turn(state, key):
        sensible, any_token, coin = (jax.random.fold_in(key, i) for i in range(3))
        shape = (spec.action_length,)
        choice = jax.random.choice(sensible, jnp.array(spec.choices), shape)
        arbitrary = jax.random.randint(any_token, shape, 0, tokens.VOCABULARY)
        action = jnp.where(jax.random.uniform(coin, shape) < share, choice, arbitrary)
        after, step = task.step(key, state, action)
        facts = task.expert(after), task.potential(after), task.anchor(after), task.is_key(after)
        return after, (step, facts)

    return jax.lax.scan(turn, state, jax.random.split(key, spec.num_turns + BEYOND))[1]


@cache
def program(name):
    def whole(key, share):
        state, first = TASKS[name].reset(key)
        return first, play(TASKS[name], state, key, share)

    def batch(key, share):
        return jax.vmap(whole, in_axes=(0, None))(jax.random.split(key, EPISODES), share)

    return jax.jit(batch)


@some_tasks
@settings(max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), share=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_arbitrary_tokens_keep_observations_rewards_and_ends_in_order(name, seed, share):
    task = TASKS[name]
    first, (step, (expert, potential, _, is_key)) = jax.device_get(
        program(name)(jax.random.key(seed), share)
    )
    for token in (first.observation, step.observation, expert):
        assert ((token >= 0) & (token < tokens.VOCABULARY)).all()
    assert np.isfinite(step.reward).all() and np.isfinite(potential).all()
    alive = np.cumsum(step.done, axis=1) - step.done == 0  # what comes after the end does not count
    low, high = task.bounds()
    total = np.where(alive, step.reward, 0).sum(axis=1)
    assert (total >= low - 1e-4).all() and (total <= high + 1e-4).all()
    assert step.done[:, task.spec.num_turns - 1].all()
    assert (np.diff(step.done.astype(int), axis=1) >= 0).all()
    assert (potential[step.done] == 0).all() and not is_key[step.done].any()


@pytest.mark.slow
@every_task
def test_a_problem_is_a_function_of_its_key_alone(name):
    keys = jax.random.split(jax.random.key(7), EPISODES)
    reset = jax.jit(jax.vmap(TASKS[name].reset))
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[::-1], reset(keys)), reset(keys[::-1]))


@pytest.mark.slow
@every_task
def test_forks_of_a_state_do_not_affect_each_other(name):
    task, key = TASKS[name], jax.random.key(1)
    state = jax.tree.map(lambda x: jnp.stack([x, x]), task.reset(key)[0])
    some = (task.spec.choices[0], task.spec.choices[-1], tokens.PAD)
    one, two, three = (jnp.full(task.spec.action_length, token) for token in some)
    step = jax.jit(jax.vmap(lambda state, action: task.step(key, state, action)))
    beside_two, beside_three = (step(state, jnp.stack([one, other])) for other in (two, three))
    first = (jax.tree.map(lambda x: x[0], tree) for tree in (beside_two, beside_three))
    chex.assert_trees_all_equal(*first)


@pytest.mark.slow
@every_task
def test_a_million_actions_leave_no_nan_and_no_index_out_of_range(name):
    task, checks, batch = TASKS[name], checkify.index_checks | checkify.nan_checks, 1024
    # `reset` is not checked: it reads no action, and checkify knows no batched scatter
    reset = jax.jit(jax.vmap(lambda key: task.reset(key)[0]))
    one = checkify.checkify(
        lambda state, key: play(task, state, key, 0.7)[0].reward.sum(), errors=checks
    )
    checked = jax.jit(jax.vmap(one))
    for i in range(-(-1_000_000 // (batch * task.spec.num_turns))):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), i), batch)
        checked(reset(keys), keys)[0].throw()
