"""KeyDoor agrees step by step with two tasks of bsuite, in their ports to gymnax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.key_door import KeyDoor

gymnax = pytest.importorskip("gymnax")

NUM_ARMS = 5  # of the discounting chain, which pay at step 1, 3, 10, 30 and 100


@functools.partial(jax.jit, static_argnums=0)
def ours(task, state, actions):
    """Returns observation, reward and end of every step."""
    return jax.lax.scan(lambda s, a: task.step(jax.random.key(0), s, a[None]), state, actions)[1]


@functools.partial(jax.jit, static_argnums=0)
def theirs(env, params, actions, seed=0):
    """Returns the observation before every step, its reward and its end.

    `step_env` is the step without the reset that gymnax adds at the end.
    """

    def step(state, xs):
        key, action = xs
        before = env.get_obs(state=state, params=params, key=key)
        _, state, reward, done, _ = env.step_env(key, state, action, params)
        return state, (before, jnp.float32(reward), done)

    start = env.reset_env(jax.random.key(seed), params)[1]
    keys = jax.random.split(jax.random.key(seed), len(actions))
    return jax.lax.scan(step, start, (keys, actions))[1]


@pytest.mark.parametrize("delay", [0, 3, 10])
def test_an_umbrella_is_a_key_with_the_same_choice_reward_and_end(delay):
    """Ours pays 0 or 1 where theirs pays -1 or 1, and nothing where theirs pays noise of mean 0."""
    task = KeyDoor(delay=delay, apple_reward=0.0)
    length = task.spec.num_turns
    env, params = gymnax.make("UmbrellaChain-bsuite")
    params = params.replace(chain_length=length)
    rng = np.random.default_rng(0)
    for problem in range(20):
        state, _ = task.reset(jax.random.key(problem))
        need = int(env.reset_env(jax.random.key(problem), params)[1].need_umbrella)
        umbrellas = rng.integers(2, size=length)  # after the first it makes no difference
        key = state.key[0] if umbrellas[0] == need else tokens.WAIT
        actions = jnp.array([key, *rng.choice(task.spec.choices, length - 2), tokens.OPEN])
        key_door = ours(task, state, actions)
        _, reward, done = theirs(env, params, jnp.array(umbrellas), problem)
        assert (key_door.done == done).all() and done.tolist() == [False] * (length - 1) + [True]
        assert key_door.reward[-1] == (reward[-1] + 1) / 2 == (umbrellas[0] == need)
        assert (key_door.reward[:-1] == 0).all() and (abs(reward[:-1]) == 1).all()


def test_the_clock_of_the_conveyor_is_the_umbrella_chains_in_eighths():
    task = KeyDoor(delay=14)
    env, params = gymnax.make("UmbrellaChain-bsuite")
    params = params.replace(chain_length=16)
    state, first = task.reset(jax.random.key(0))
    actions = jnp.full(16, tokens.WAIT)
    before, _, _ = theirs(env, params, jnp.zeros(16, int))
    later = ours(task, state, actions).observation[:-1, -1]
    clock = jnp.append(first.observation[-1], later) - tokens.VALUE
    assert clock.tolist() == np.floor(8 * (1 - before[:, 2])).tolist()


def test_rain_on_the_way_has_the_mean_and_deviation_of_noisy_apples():
    task = KeyDoor(delay=400, apple_reward=0.0, apple_noise=1.0)
    env, params = gymnax.make("UmbrellaChain-bsuite")
    params = params.replace(chain_length=402, max_steps_in_episode=1000)
    state = task.reset(jax.random.key(0))[0]
    state = state._replace(cell=jnp.where(state.cell == tokens.EMPTY, tokens.LEFT, state.cell))
    step = jax.jit(lambda s, xs: task.step(xs[0], s, xs[1][None]))
    keys = jax.random.split(jax.random.key(1), 402)
    apples = jax.lax.scan(step, state, (keys, state.cell))[1].reward[1:-1]
    rain = theirs(env, params, jnp.zeros(402, int))[1][1:-1]
    for noise in (apples, rain):
        assert abs(noise.mean()) < 4 / np.sqrt(400) and abs(noise.std() - 1) < 0.15


@pytest.mark.parametrize("arm, pays_at", [(1, 3), (2, 10), (3, 30), (4, 100)])
def test_an_arm_of_the_discounting_chain_is_a_key_with_a_door_as_far_away(arm, pays_at):
    """In theirs the first choice takes one of several delays, and the best arm pays 1.1, not 1.

    The arm that pays at once has no counterpart: picking a key and opening a door take two turns.
    """
    task = KeyDoor(delay=pays_at - 2, apple_reward=0.0)
    env, params = gymnax.make("DiscountingChain-bsuite")
    state, _ = task.reset(jax.random.key(arm))
    actions = jnp.array([state.key[0], *[tokens.WAIT] * task.delay, tokens.OPEN])
    key_door = ours(task, state, actions)
    chosen = jnp.full(pays_at, NUM_ARMS - 1).at[0].set(arm)
    _, reward, _ = theirs(env, params, chosen)
    assert key_door.reward.tolist() == reward.tolist() == [0.0] * (pays_at - 1) + [1.0]
    for discount in (0.9, 0.99):
        value = (key_door.reward * discount ** jnp.arange(pays_at)).sum()
        np.testing.assert_allclose(value, discount ** (pays_at - 1), rtol=1e-5)
