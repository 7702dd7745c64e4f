"""KeyDoor: keys, door, apples, and what an observation shows."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import tokens
from agentic_rl.envs.key_door import KeyDoor
from tests.envs.episodes import (
    EXPERT,
    NUM_EXPERT,
    WRONG,
    always,
    compiled,
    follow,
    play,
    walk,
)


def test_the_door_opens_to_the_right_key_alone():
    task = KeyDoor(delay=2, apple_reward=0.0)
    right = play(task, always(task, EXPERT, 1)).action[0, 0, 0]
    other = tokens.entity((right - tokens.ENTITY + 1) % 4)
    assert follow(task, right, WRONG, WRONG, tokens.OPEN)[0] == [0, 0, 0, 1]
    assert follow(task, other, WRONG, WRONG, tokens.OPEN)[0] == [0, 0, 0, 0]
    assert follow(task, right, WRONG, WRONG, tokens.WAIT)[0] == [0, 0, 0, 0]


def test_two_keys_are_needed_in_the_forecasts_order():
    task = KeyDoor(delay=0, num_keys=2)
    right = play(task, always(task, EXPERT)).action
    swapped = right[:, [1, 0, 2]]
    assert (play(task, swapped).reward[:, 2] == (right[:, 0, 0] == right[:, 1, 0])).all()


def test_apples_are_noisy_with_the_stated_mean_and_deviation():
    task = KeyDoor(delay=8, apple_reward=0.3, apple_noise=0.5)
    turns = play(task, always(task, EXPERT, 1024))
    is_apple = np.isin(turns.observation[..., 1], (tokens.LEFT, tokens.RIGHT))
    apples = turns.reward[is_apple]
    assert abs(apples.mean() - 0.3) < 4 * 0.5 / np.sqrt(apples.size)
    assert abs(apples.std() / 0.5 - 1) < 0.05
    assert (turns.reward[:, :-1][~is_apple[:, :-1]] == 0).all()
    assert abs(is_apple[:, 1:-1].mean() - 2 / 3) < 0.03


def test_an_apple_is_taken_on_its_own_side_only_and_can_be_skipped():
    task = KeyDoor(delay=8, apple_reward=0.5)
    turns = play(task, always(task, tokens.LEFT))
    assert ((turns.reward == 0.5) == (turns.observation[..., 1] == tokens.LEFT)).all()
    skips = replace(task, demo_skips_apples=True)
    assert (play(skips, always(skips, EXPERT)).reward.sum(axis=1) == 1).all()


def test_key_decisions_are_the_pick_and_the_door_until_a_wrong_pick():
    task = KeyDoor(delay=3)
    is_key = compiled(jax.vmap(jax.vmap(task.is_key)))
    for pick, door_is_key in ((EXPERT, True), (WRONG, False)):
        action = always(task, EXPERT, 1)
        action[:, 0] = pick
        expected = [True, False, False, False, door_is_key]
        assert is_key(play(task, action).state)[0].tolist() == expected


def test_a_hidden_inventory_looks_the_same_whatever_was_picked():
    for hide in (True, False):
        task = KeyDoor(hide_inventory=hide)
        right, wrong = (play(task, always(task, action)).observation for action in (EXPERT, WRONG))
        assert (right == wrong).all() == hide


def test_a_switched_forecast_names_another_colour_than_the_keys():
    for switched in (True, False):
        turns, fact = walk(KeyDoor(delay=2, apple_reward=0.0, switched=switched))
        distance = turns.action[:NUM_EXPERT, 0, 0] - fact.prompt[:NUM_EXPERT, 0, 1]
        assert set((distance % 4).tolist()) == {2 * switched}


def test_float_knobs_can_be_traced():
    @jax.jit
    def reward(task):
        state, _ = task.reset(jax.random.key(0))
        state = state._replace(cell=jnp.full(task.spec.num_turns, tokens.LEFT))
        return task.step(jax.random.key(0), state, jnp.array([tokens.LEFT]))[1].reward

    assert [float(reward(KeyDoor(apple_reward=r))) for r in (0.25, 0.5)] == [0.25, 0.5]


def test_longer_multiplies_the_delay():
    assert KeyDoor(delay=3).longer(2).delay == 6
