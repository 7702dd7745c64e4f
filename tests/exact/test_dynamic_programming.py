"""Exact values and their gradient against a recursion in plain numpy over all that can happen."""

from functools import cache

import chex
import jax
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.exact import actions, dynamic_programming
from tests.exact.cases import (
    CASES,
    MARKOV,
    SLIPS,
    STROLL,
    every_case,
    played,
    solve,
    solved,
    solver,
    wide,
)
from tests.exact.recursion import Recursion, at, past_of, recursion
from tests.toys import compiled

pytestmark = pytest.mark.usefixtures("in_float64")


@cache
def gradient(case):
    """Returns the gradient of the sum of all problems' expected returns."""
    task, policy_config, _ = CASES[case]
    return jax.device_get(
        compiled(jax.grad(lambda params: solve(case, params, played(task)).expected.sum()))(
            wide(task, policy_config)
        )
    )


@every_case
def test_values_of_every_token_are_those_of_a_full_recursion(case):
    trajectory, result, all_ = (
        jax.device_get(played(CASES[case][0])),
        solved(case).value,
        recursion(case),
    )
    before, after = np.zeros((2, *trajectory.mask.shape))
    for n, g, t in zip(*np.nonzero(trajectory.mask.any(-1))):
        one = at(trajectory, n, g)
        sums = all_.expect(past_of(one, t), at(one.state, t), one.observation[t])
        for a in range(one.mask[t].sum()):
            before[n, g, t, a], after[n, g, t, a] = (
                sums[a + i][(*one.action[t, : a + i], 0)] for i in (0, 1)
            )
    np.testing.assert_allclose(result.before, before, atol=1e-10)
    np.testing.assert_allclose(result.after, after, atol=1e-10)
    assert result.discount == 1 and np.ptp(after - before) > 0.01


both_contexts = pytest.mark.parametrize(
    "case", ["walk", pytest.param("chain_pit, remembered", marks=pytest.mark.slow)]
)


@both_contexts
def test_the_gradient_of_the_expected_return_is_that_of_differences(case):
    task, policy_config, _ = CASES[case]
    trajectory, random = jax.device_get(played(task)), np.random.default_rng(0)
    direction = jax.tree.map(lambda x: random.normal(size=x.shape), wide(task, policy_config))

    def total(step):
        all_ = Recursion(
            task,
            policy_config,
            jax.tree.map(lambda x, d: x + step * d, wide(task, policy_config), direction),
        )
        first = [at(trajectory, n, 0) for n in range(3)]
        return sum(
            all_.expect(one.prompt, at(one.state, 0), one.observation[0])[0][0] for one in first
        )

    slope = sum(
        jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), gradient(case), direction))
    )
    assert (
        slope == pytest.approx((total(1e-5) - total(-1e-5)) / 2e-5, rel=1e-6) and abs(slope) > 0.01
    )


@both_contexts
def test_the_gradient_is_visits_times_true_advantage_times_score(case):
    task, policy_config, _ = CASES[case]
    tree, (graph, table, _) = alphabet(case), solved(case).solution
    weight = np.zeros_like(table.log_prob)
    for n in range(3):
        state, place = visited(case, n)
        for s, c in np.ndindex(len(tree.prefix), weight.shape[2]):
            i, chance = len(tree.token) + s, np.exp(table.log_prob[n, :, c, s])
            advantage = table.value[n, :, c][:, tree.child[s]] - table.value[n, :, c, i, None]
            weight[n, :, c, s] = (state[:, c] * place[:, c, i])[:, None] * chance * advantage
    prompt = played(task).prompt[:, 0]

    def score(params):
        return (
            weight
            * dynamic_programming.tabulate(task, policy_config, params, prompt, graph).log_prob
        ).sum()

    chex.assert_trees_all_close(
        gradient(case), compiled(jax.grad(score))(wide(task, policy_config)), rtol=1e-9, atol=1e-10
    )


def alphabet(case):
    return actions.alphabet(*CASES[case][:2])


@cache
def visited(case, n):
    """Returns the probabilities of a problem's states [T, C] and of places there [T, C, places]."""
    graph, table, _ = at(solved(case).solution, n)
    return jax.device_get(
        compiled(
            lambda graph, log_prob: dynamic_programming.visit_probabilities(
                alphabet(case), graph, log_prob
            )
        )(graph, table.log_prob)
    )


@both_contexts
def test_visit_probabilities_sum_to_the_probability_of_being_alive(case):
    trajectory, all_ = jax.device_get(played(CASES[case][0])), recursion(case)
    for n in range(3):
        one, (state, place) = at(trajectory, n, 0), visited(case, n)
        alive = all_.expect(one.prompt, at(one.state, 0), one.observation[0])[0][1:]
        np.testing.assert_allclose(state.sum(1), alive, atol=1e-12)
        np.testing.assert_allclose(place[..., : len(alphabet(case).token)].sum(-1), 1, atol=1e-12)


@both_contexts
def test_the_expected_return_is_visit_probabilities_times_rewards(case):
    result = solved(case)
    for n, total in enumerate(result.expected):
        state, place = visited(case, n)
        reward = result.solution.graph.reward[n]
        assert total == pytest.approx(
            (state[..., None] * place[..., : reward.shape[-1]] * reward).sum(), abs=1e-12
        )
    assert np.ptp(result.expected) > 0.01


@both_contexts
def test_a_prefix_is_worth_what_its_next_tokens_are_in_the_mean(case):
    tree, (_, table, _) = alphabet(case), solved(case).solution
    for s, children in enumerate(tree.child):
        mean = sum(
            np.exp(table.log_prob[..., s, token]) * table.value[..., child]
            for token, child in enumerate(children)
        )
        np.testing.assert_allclose(table.value[..., len(tree.token) + s], mean, atol=1e-12)


@pytest.mark.parametrize("case", ["walk", pytest.param("long", marks=pytest.mark.slow)])
def test_the_tokens_advantages_sum_to_their_turn_s(case):
    trajectory, value = jax.device_get(played(CASES[case][0])), solved(case).value
    assert {1, 2} <= set(trajectory.mask.sum(-1).ravel())
    for n, g, t in zip(*np.nonzero(trajectory.mask.any(-1))):
        last = trajectory.mask[n, g, t].sum() - 1
        turn = value.after[n, g, t, last] - value.before[n, g, t, 0]
        assert (value.after - value.before)[n, g, t].sum() == pytest.approx(turn, abs=1e-12)


def test_masked_tokens_have_no_value():
    mask, value = np.asarray(played(STROLL).mask), solved("walk").value
    assert (~mask).any() and (value.before[~mask] == 0).all() and (value.after[~mask] == 0).all()


def test_the_episodes_of_these_tests_hold_every_complication():
    task = CASES["walk"][0]
    mask, action = np.asarray(played(task).mask), np.asarray(played(task).action)
    alive = mask.any(-1)
    assert not alive.all() and alive[..., 0].all()  # some end early
    assert (alive & ~mask.all(-1)).any() and (
        mask & (action == tokens.END)
    ).any()  # some actions do
    assert (mask & ~np.isin(action, task.spec.choices)).any()  # some tokens are no choice


def test_neither_room_to_spare_nor_the_size_of_a_chunk_changes_a_value():
    result = solved("walk", capacity=32, chunk=7)
    chex.assert_trees_all_close(
        (result.value, result.expected), (solved("walk").value, solved("walk").expected), atol=1e-12
    )


def test_problems_in_another_order_have_the_same_values():
    order = np.array([2, 0, 1])
    result = solver("walk")(wide(STROLL, MARKOV), jax.tree.map(lambda x: x[order], played(STROLL)))
    expected = [getattr(solved("walk").value, name)[order] for name in ("before", "after")]
    chex.assert_trees_all_close([result.value.before, result.value.after], expected, atol=1e-12)


def test_a_problem_with_too_many_states_has_nan_values_and_others_do_not():
    count = solved("graph_nav").solution.graph.states.count.max(-1)
    enough = int(count.min())
    assert enough < count.max()
    result, mask = solved("graph_nav", capacity=enough), np.asarray(played(SLIPS).mask)
    too_many = (count > enough)[:, None, None, None]
    for name in ("before", "after"):
        expected = np.where(
            mask, np.where(too_many, np.nan, getattr(solved("graph_nav").value, name)), 0.0
        )
        np.testing.assert_allclose(getattr(result.value, name), expected, atol=1e-12)
    assert (np.isnan(result.expected) == too_many.ravel()).all()


def test_a_turn_in_a_state_that_cannot_follow_has_no_value():
    trajectory = played(STROLL)
    other = trajectory.observation.at[:, :, 1, 1].set(tokens.OPEN)
    result, mask = (
        solver("walk")(wide(STROLL, MARKOV), trajectory._replace(observation=other)).value,
        np.asarray(trajectory.mask),
    )
    assert np.isnan(result.before[:, :, 1][mask[:, :, 1]]).all() and mask[:, :, 1].any()
    np.testing.assert_allclose(
        result.after[:, :, 0], solved("walk").value.after[:, :, 0], atol=1e-12
    )
