"""FixIt's expert plays as well as is possible without seeing slips, by a search of all play."""

from dataclasses import fields
from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.envs.fix_it import FixIt, State

KEY = jax.random.key(0)
CHECK, SUBMIT, IDLE = (
    [verb, tokens.END, tokens.PAD] for verb in (tokens.CHECK, tokens.SUBMIT, tokens.WAIT)
)


def write(digit):
    return [tokens.value(digit), tokens.END, tokens.PAD]


def fix(place, digit):
    return [tokens.FIX, tokens.entity(place), tokens.value(digit)]


def search(length, slip, check_cost):
    """Returns the best expected return for each state of knowledge that any play can reach.

    Knowledge is the turns left, the places written, the places known to be right, whether the next
    one is known to be wrong, which digits were not meant as the rule says, and the (unnormalised)
    probabilities of the slips. Every action is tried, also CHECK before all is written.
    """
    best_return = {}

    @cache
    def best(left, written, known, found, wrong, belief):
        def mark(place, digit_is_wrong):
            return (*wrong[:place], digit_is_wrong, *wrong[place + 1 :])

        def first_bad(slips):
            return next((i for i in range(written) if slips[i] or wrong[i]), None)

        if left == 0:
            return 0.0
        options = [best(left - 1, written, known, found, wrong, belief)]
        options += [
            sum(p for slips, p in belief if first_bad(slips) is None) if written == length else 0.0
        ]
        if written < length:
            options += [
                best(left - 1, written + 1, known, found, mark(written, w), belief)
                for w in (False, True)
            ]
        if found:
            fixed = tuple(((*slips[:known], False, *slips[known + 1 :]), p) for slips, p in belief)
            options += [
                best(left - 1, written, known + (not w), w, mark(known, w), fixed)
                for w in (False, True)
            ]
        results = {first_bad(slips) for slips, _ in belief}
        split = {i: tuple(x for x in belief if first_bad(x[0]) == i) for i in results}
        checks = [
            best(left - 1, written, written if i is None else i, i is not None, wrong, b)
            for i, b in split.items()
        ]
        options += [sum(checks) - check_cost * sum(p for _, p in belief)]
        best_return[left, written, known, found, wrong, belief] = max(options)
        return max(options)

    masks = product((False, True), repeat=length)
    belief = tuple(
        (m, p) for m in masks if (p := slip ** sum(m) * (1 - slip) ** (length - sum(m))) > 0
    )
    best(3 * length + 1, 0, 0, False, (False,) * length, belief)
    return best_return


def unchecked(**knobs):
    """Returns the task, even if it would refuse a knob."""
    task = FixIt(num_digits=knobs["num_digits"], slip=0.15, check_cost=0.0)
    for field in fields(task):
        object.__setattr__(task, field.name, knobs.get(field.name, getattr(task, field.name)))
    return task


def compare(length, slip, check_cost):
    """Returns for all knowledge the best expected return, and the expert's two ways.

    The expert's is computed by its potential, and by its episodes.
    """
    task, known = (
        unchecked(num_digits=length, slip=slip, check_cost=check_cost),
        search(length, slip, check_cost),
    )
    cases = [(i, *k[:5], slips, p) for i, k in enumerate(known) for slips, p in k[5]]
    index, left, written, right, found, wrong, slips, p = map(np.array, zip(*cases))
    start, turn = np.full_like(left, 3), task.spec.num_turns - left
    states = State(
        start, start, slips, wrong, *(x.astype(np.int32) for x in (written, right)), found, turn
    )

    def episode(state):
        def turn(carry, _):
            state, done = carry
            after, step = task.step(KEY, state, task.expert(state))
            return (
                jax.tree.map(lambda x, y: jnp.where(done, x, y), state, after),
                done | step.done,
            ), jnp.where(done, 0, step.reward)

        return task.potential(state), jax.lax.scan(
            turn, (state, jnp.bool_(False)), length=task.spec.num_turns
        )[1].sum()

    states = State(*(jnp.asarray(x, jnp.int32 if x.dtype == np.int64 else x.dtype) for x in states))
    returns = jax.jit(jax.vmap(episode))(states)
    return np.array([*known.values()]), *(np.bincount(index, p * np.array(r)) for r in returns)


@pytest.mark.parametrize(
    "length, slip, check_cost",
    [
        (1, 0.15, 0.02),
        (2, 0.15, 0.02),
        (3, 0.15, 0.02),
        (3, 0.4, 0.3),
        (3, 0.05, 0.05),
        (3, 0.6, 0.16),
        (3, 0.0, 0.1),
        (3, 0.3, 0.0),
    ],
)
def test_no_policy_that_does_not_see_slips_beats_the_expert(length, slip, check_cost):
    """In expectation over the slips that are still possible, whatever was done before."""
    FixIt(num_digits=length, slip=slip, check_cost=check_cost)
    best, potential, episode = compare(length, slip, check_cost)
    assert len(best) >= 20 * length**2
    np.testing.assert_allclose(potential, best, atol=1e-6)
    np.testing.assert_allclose(potential, episode, atol=1e-6)


def test_if_a_check_costs_more_than_is_allowed_the_expert_checks_too_often():
    best, potential, _ = compare(3, 0.05, 0.06)
    assert (potential <= best + 1e-6).all() and (potential < best - 1e-4).any()


def test_a_guess_may_beat_the_expert_in_hindsight():
    task = FixIt(slip=0.15)
    state = jax.tree.map(jnp.asarray, start(task))
    state, rewards = play(task, state, write(3), write(6), write(9), write(2), SUBMIT)
    assert sum(rewards) == 1 and task.potential(start(task)) == np.float32(0.98) and task.hidden


def start(task, *slips):
    """Returns the start of an episode from 3 in steps of 3 that slips at the given places."""
    state, _ = task.reset(KEY)
    three = jnp.int32(3)
    slip = jnp.isin(jnp.arange(task.num_digits), jnp.array(slips, int))
    return state._replace(start=three, stride=three, slip=slip)


def play(task, state, *actions):
    rewards, step = [], jax.jit(task.step)
    for action in actions:
        state, after = step(KEY, state, jnp.array(action))
        rewards.append(round(float(after.reward), 3))
    return state, rewards


def seen(task, state):
    """Returns the text of an observation without its clock."""
    return tokens.text(task._observe(state)[:3])


def test_check_names_the_first_wrong_place_which_alone_can_be_fixed():
    task = FixIt()
    state, rewards = play(task, start(task, 1, 3), write(3), write(6), write(9), write(2), CHECK)
    assert (seen(task, state), rewards[-1]) == ("FAIL DONE n1", -0.02)
    for useless in (fix(3, 2), fix(1, 5)):
        assert seen(task, play(task, state, useless)[0]) == "FAIL DONE n1"
    state, rewards = play(task, state, fix(1, 6), fix(3, 2), CHECK, fix(3, 2), SUBMIT)
    assert (seen(task, state), rewards) == ("OK DONE DONE", [0, 0, -0.02, 0, 1])


def test_a_slip_is_not_seen_without_a_check():
    task = FixIt()
    digits = [write(d) for d in (3, 6, 9, 2)]
    slipped, clean = (play(task, start(task, *slips), *digits)[0] for slips in ([2], []))
    assert (task._observe(slipped) == task._observe(clean)).all()
    assert (task.expert(slipped) == task.expert(clean)).all()
    assert task.anchor(slipped) == task.anchor(clean)
    assert task.potential(slipped) < task.potential(clean)
    assert [play(task, state, SUBMIT)[1] for state in (slipped, clean)] == [[0], [1]]


def test_a_wrong_digit_is_found_like_a_slip_and_an_early_submit_fails():
    task = FixIt()
    state, _ = play(task, start(task), write(3), write(7), CHECK)
    assert seen(task, state) == "FAIL n2 n1" and task.expert(state).tolist() == fix(1, 6)
    assert play(task, state, fix(1, 6), SUBMIT, CHECK)[1][1] == 0


def test_an_illegal_action_costs_a_turn_and_nothing_else():
    task = FixIt()
    for action in (
        IDLE,
        fix(0, 3),
        [tokens.CHECK, tokens.CHECK, tokens.PAD],
        write(12),
        [tokens.value(3), tokens.PAD, tokens.PAD],
    ):
        state, rewards = play(task, start(task), action)
        assert rewards == [0] and (seen(task, state), int(state.turn)) == ("OK n0 n0", 1)


def test_without_time_to_fix_the_expert_submits_unchecked():
    task = FixIt()
    state, _ = play(task, start(task, 0), *(write(d) for d in (3, 6, 9, 2)))
    for left, verb in ((3, tokens.CHECK), (2, tokens.SUBMIT)):
        assert task.expert(state._replace(turn=jnp.int32(task.spec.num_turns - left)))[0] == verb


def test_if_nothing_slips_demonstrations_have_no_check_and_no_fix():
    for slip, verbs in ((0.0, set()), (0.15, {tokens.CHECK, tokens.FIX})):
        task = FixIt(slip=slip)

        def turn(state, _):
            action = task.expert(state)
            return task.step(KEY, state, action)[0], action[0]

        def episode(key):
            return jax.lax.scan(turn, task.reset(key)[0], length=8)[1]

        written = jax.jit(jax.vmap(episode))(jax.random.split(KEY, 64))
        assert set(np.unique(written).tolist()) & {tokens.CHECK, tokens.FIX} == verbs


def test_slips_are_as_frequent_as_stated_and_drawn_with_the_instance():
    slips = jax.vmap(lambda key: FixIt(slip=0.15).reset(key)[0].slip)(jax.random.split(KEY, 2000))
    assert abs(slips.mean() - 0.15) < 4 * np.sqrt(0.15 * 0.85 / slips.size)


def test_longer_writes_more_digits_up_to_sixteen():
    assert FixIt().longer(4).spec.num_turns == 49
    with pytest.raises(ConfigError, match="num_digits"):
        FixIt().longer(5)
