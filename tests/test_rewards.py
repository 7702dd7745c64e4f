"""What each reward adds to the task's own, looped in plain numpy; what that does to returns; and what it is blind to."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_rl import config, rewards
from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.losses import kl
from agentic_rl.rewards import KlReward, Outcome, Process, Shaped, SoftOverlong
from agentic_rl.rollout.record import room
from agentic_rl.types import Spec, Value
from tests.batches import (
    A,
    T,
    at_end,
    close,
    episodes,
    gains,
    padded,
    poisoned,
    returns,
    settings,
    trajectory,
)
from tests.toys import compiled

EVERY = [reward for cls in config.named(rewards).values() for reward in settings(cls)]
SHAPED = Shaped(weight=0.5, discount=0.9)


@cache
def compiled_rewards():
    return compiled(lambda rewards, made: [reward(made) for reward in rewards])


@cache
def compiled_credit():
    return compiled(lambda credit, made, value: credit(made, value))


def rewarded(reward, made):
    """The trajectory as a reward tells it, in numpy."""
    return jax.device_get(compiled_rewards()([reward], made)[0])


def all_rewarded(made):
    """(reward, its trajectory) of every reward there is, in every setting."""
    return zip(EVERY, jax.device_get(compiled_rewards()(EVERY, made)))


def added(reward, made):
    """What a reward adds to each turn."""
    return rewarded(reward, made).reward - made.reward


def credit_of(credit, made):
    """Per token; of a credit without values."""
    found = np.asarray(
        compiled_credit()(
            credit, made, Value(*np.zeros((2, *made.mask.shape), np.float32), np.float32(1))
        )
    )
    return np.where(made.mask, found[..., None] if found.ndim == 3 else found, 0.0)


def num_turns(made, i):
    return int(made.mask[i].any(-1).sum())


# Definitions


def test_no_reward_changes_anything_but_rewards_and_penalties_and_the_outcome_not_even_these():
    made = trajectory()
    for reward, found in all_rewarded(made):
        other = (
            found
            if reward == Outcome()
            else found._replace(reward=made.reward, penalty=made.penalty)
        )
        jax.tree.map(np.testing.assert_array_equal, other, made)


def test_shaping_adds_the_discounted_next_potential_and_takes_this_one_away():
    made = trajectory()
    found = added(SHAPED, made)
    for i, _ in episodes(made):
        potential = [*made.potential[i][: num_turns(made, i)], 0.0]
        close(
            found[i][: num_turns(made, i)],
            [0.5 * (0.9 * after - before) for before, after in zip(potential, potential[1:])],
        )


def test_process_adds_its_weight_where_the_whole_action_is_the_expert_s():
    made = trajectory()
    found = added(Process(weight=0.3), made)
    for i, _ in episodes(made):
        written = [
            [
                list(x[i][t][mask[i][t]])
                for x, mask in ((made.action, made.mask), (made.label, made.label_mask))
            ]
            for t in range(T)
        ]
        ends_alike = (made.mask[i] == made.label_mask[i]).all(-1)
        right = [ends_alike[t] and own == expert for t, (own, expert) in enumerate(written)]
        close(found[i][: num_turns(made, i)], 0.3 * np.array(right)[: num_turns(made, i)])
    assert 0.1 < (found > 0).mean() < 0.9


def overlong(length, longest, buffer):
    """DAPO's equation 13."""
    if length <= longest - buffer:
        return 0.0
    return (longest - buffer - length) / buffer if length <= longest else -1.0


@pytest.mark.parametrize("buffer", [1, 4, T * A])
def test_soft_overlong_takes_what_dapo_takes_in_the_last_turn(buffer):
    made = trajectory(seed=3)
    length = made.mask.sum((2, 3))
    cut_off = np.arange(length.shape[1]) == 0  # one in each group, whatever its length
    made = made._replace(room=np.where(cut_off, -1, T * A - length))
    expected = np.array(
        [[overlong(n, T * A, buffer) for n in row] for row in np.where(cut_off, T * A + 1, length)],
        np.float32,
    )
    close(added(SoftOverlong(buffer=buffer, penalty=2.0), made), at_end(made, 2.0 * expected))
    assert (expected[:, 0] == -1).all() and (
        buffer == 1 or ((expected < 0) & (expected > -1)).any()
    )


@pytest.mark.parametrize("how", ["k1", "k2", "k3"])
def test_kl_in_the_reward_is_a_penalty_on_each_token_beside_those_it_had(how):
    made = trajectory()
    found = rewarded(KlReward(coefficient=0.2, estimator=how), made)
    d = made.reference_log_prob.astype(float) - made.log_prob
    cost = {"k1": -d, "k2": d**2 / 2, "k3": np.exp(d) - d - 1}[how]
    close(found.penalty, made.penalty + np.where(made.mask, 0.2 * cost, 0.0))
    np.testing.assert_array_equal(found.reward, made.reward)


# What they do to returns


def test_shaping_telescopes_to_minus_the_potential_of_the_start():
    made = trajectory()
    shift = returns(rewarded(Shaped(weight=0.5), made)) - returns(made)
    close(shift, -0.5 * made.potential[..., 0])
    assert np.ptp(shift) > 0.1


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_shaping_moves_the_reward_to_go_with_the_same_discount_by_minus_the_potential_of_the_state_alone(
    discount,
):
    """So the past and the action do not enter: a baseline, which changes no expected gradient."""
    made = trajectory()
    credit, shaped = (
        RewardToGo(discount=discount),
        rewarded(Shaped(weight=0.5, discount=discount), made),
    )
    shift = credit_of(credit, shaped) - credit_of(credit, made)
    close(shift, np.where(made.mask, -0.5 * made.potential[..., None], 0.0))


def test_where_attempts_start_alike_shaping_changes_no_comparison_of_whole_episodes():
    made = trajectory()
    potential = made.potential.copy()
    potential[..., 0] = 0.7
    made = made._replace(potential=potential)
    close(credit_of(LeaveOneOut(), rewarded(Shaped(), made)), credit_of(LeaveOneOut(), made))


def test_kl_in_the_reward_costs_an_episode_the_coefficient_times_the_log_ratio_of_all_that_it_wrote():
    made = trajectory()
    found = returns(rewarded(KlReward(coefficient=0.2), made)) - returns(made)
    close(
        found, -0.2 * np.where(made.mask, made.log_prob - made.reference_log_prob, 0.0).sum((2, 3))
    )


def test_a_token_of_a_policy_that_is_the_reference_costs_nothing():
    made = trajectory()
    at_home = made._replace(reference_log_prob=made.log_prob)
    for how in ("k1", "k2", "k3"):
        np.testing.assert_array_equal(
            rewarded(KlReward(estimator=how), at_home).penalty, made.penalty
        )


# What they read


def test_who_reads_the_reference_policy_says_so():
    made = trajectory()
    moved = made._replace(reference_log_prob=made.reference_log_prob - 0.5)
    for (reward, found), (_, other) in zip(all_rewarded(made), all_rewarded(moved)):
        assert reward.reads_reference == (
            np.abs(found.penalty - other.penalty).max() + np.abs(found.reward - other.reward).max()
            > 0
        )
    assert KlReward.reads_reference and kl.ReferenceKL.reads_reference


@pytest.mark.parametrize("buffer", [0, -1])
def test_a_buffer_of_no_token_is_refused(buffer):
    with pytest.raises(config.ConfigError, match="buffer must be 1 or more"):
        SoftOverlong(buffer=buffer)


def earned_alike(found, expected, made, reward):
    """Asserts that what each written token earned is the same in both."""
    for i, places in episodes(made):
        close(
            gains(found, i, places),
            gains(expected, i, places),
            rtol=0,
            atol=1e-6,
            err_msg=str(reward),
        )


@given(st.integers(0, 10_000))
def test_no_reward_reads_the_content_of_padding(seed):
    made = trajectory(seed)
    dirty = poisoned(made, made.mask, seed)._replace(label_mask=made.label_mask)
    for (reward, expected), (_, found) in zip(all_rewarded(made), all_rewarded(dirty)):
        earned_alike(found, expected, made, reward)


@given(st.integers(0, 10_000))
@pytest.mark.parametrize("axis", [2, 3], ids=["turn", "token"])
def test_no_reward_changes_with_a_turn_or_a_token_of_padding_more(axis, seed):
    made = trajectory(seed)
    longer = padded(made, made.mask, axis, seed)
    longer = longer._replace(label_mask=longer.label_mask & (np.arange(longer.mask.shape[3]) < A))
    for (reward, expected), (_, found) in zip(all_rewarded(made), all_rewarded(longer)):
        earned_alike(found, expected, made, reward)


@given(st.integers(0, 10_000))
def test_a_reward_is_of_one_episode(seed):
    made, others = trajectory(seed), trajectory(seed + 1)
    mixed = jax.tree.map(lambda x, y: np.concatenate([x[:, :1], y[:, 1:]], 1), made, others)
    for (reward, expected), (_, found) in zip(all_rewarded(made), all_rewarded(mixed)):
        np.testing.assert_array_equal(
            found.reward[:, 0], expected.reward[:, 0], err_msg=str(reward)
        )
        np.testing.assert_array_equal(
            found.penalty[:, 0], expected.penalty[:, 0], err_msg=str(reward)
        )


def test_an_episode_whose_length_the_task_fixes_pays_nothing_for_it_however_large_the_buffer():
    nothing_left = jnp.ones((1, 2, 1), bool)  # one episode of two turns of one token
    left = room(
        Spec(1, 1, 1, 2, (5,), limited=False),
        jnp.full((1, 2, 1), 5),
        nothing_left,
        jnp.array([True]),
    )
    assert (np.asarray(left) > 1_000_000).all()
