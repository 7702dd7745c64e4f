"""Rewards against loops in plain numpy, what they do to returns, and what they do not read."""

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
    return compiled(lambda rewards, batch: [reward(batch) for reward in rewards])


@cache
def compiled_credit():
    return compiled(lambda credit, batch, value: credit(batch, value))


def rewarded(reward, batch):
    """Returns the trajectory with another reward, in numpy."""
    return jax.device_get(compiled_rewards()([reward], batch)[0])


def all_rewarded(batch):
    """Returns (reward, its trajectory) of every reward there is, in every setting."""
    return zip(EVERY, jax.device_get(compiled_rewards()(EVERY, batch)))


def added(reward, batch):
    """Returns what a reward adds to each turn."""
    return rewarded(reward, batch).reward - batch.reward


def credit_of(credit, batch):
    """Returns the credit per token, of a credit that reads no values."""
    result = np.asarray(
        compiled_credit()(
            credit, batch, Value(*np.zeros((2, *batch.mask.shape), np.float32), np.float32(1))
        )
    )
    return np.where(batch.mask, result[..., None] if result.ndim == 3 else result, 0.0)


def num_turns(batch, i):
    return int(batch.mask[i].any(-1).sum())


# Definitions


def test_a_reward_changes_rewards_and_penalties_only():
    batch = trajectory()
    for reward, result in all_rewarded(batch):
        other = (
            result
            if reward == Outcome()
            else result._replace(reward=batch.reward, penalty=batch.penalty)
        )
        jax.tree.map(np.testing.assert_array_equal, other, batch)


def test_shaping_adds_the_discounted_change_of_the_potential():
    batch = trajectory()
    result = added(SHAPED, batch)
    for i, _ in episodes(batch):
        potential = [*batch.potential[i][: num_turns(batch, i)], 0.0]
        close(
            result[i][: num_turns(batch, i)],
            [0.5 * (0.9 * after - before) for before, after in zip(potential, potential[1:])],
        )


def test_process_adds_its_weight_where_the_whole_action_is_the_expert_s():
    batch = trajectory()
    result = added(Process(weight=0.3), batch)
    for i, _ in episodes(batch):
        written = [
            [
                list(x[i][t][mask[i][t]])
                for x, mask in ((batch.action, batch.mask), (batch.label, batch.label_mask))
            ]
            for t in range(T)
        ]
        ends_alike = (batch.mask[i] == batch.label_mask[i]).all(-1)
        right = [ends_alike[t] and own == expert for t, (own, expert) in enumerate(written)]
        close(result[i][: num_turns(batch, i)], 0.3 * np.array(right)[: num_turns(batch, i)])
    assert 0.1 < (result > 0).mean() < 0.9


def overlong(length, longest, buffer):
    """Returns the penalty of DAPO's equation 13."""
    if length <= longest - buffer:
        return 0.0
    return (longest - buffer - length) / buffer if length <= longest else -1.0


@pytest.mark.parametrize("buffer", [1, 4, T * A])
def test_soft_overlong_charges_dapo_s_penalty_in_the_last_turn(buffer):
    batch = trajectory(seed=3)
    length = batch.mask.sum((2, 3))
    cut_off = np.arange(length.shape[1]) == 0  # one in each group, whatever its length
    batch = batch._replace(room=np.where(cut_off, -1, T * A - length))
    expected = np.array(
        [
            [overlong(n, T * A, buffer) for n in group]
            for group in np.where(cut_off, T * A + 1, length)
        ],
        np.float32,
    )
    close(added(SoftOverlong(buffer=buffer, penalty=2.0), batch), at_end(batch, 2.0 * expected))
    assert (expected[:, 0] == -1).all() and (
        buffer == 1 or ((expected < 0) & (expected > -1)).any()
    )


@pytest.mark.parametrize("how", ["k1", "k2", "k3"])
def test_kl_in_the_reward_adds_a_penalty_to_each_token(how):
    batch = trajectory()
    result = rewarded(KlReward(coefficient=0.2, estimator=how), batch)
    d = batch.reference_log_prob.astype(float) - batch.log_prob
    cost = {"k1": -d, "k2": d**2 / 2, "k3": np.exp(d) - d - 1}[how]
    close(result.penalty, batch.penalty + np.where(batch.mask, 0.2 * cost, 0.0))
    np.testing.assert_array_equal(result.reward, batch.reward)


# What they do to returns


def test_shaping_telescopes_to_minus_the_potential_of_the_start():
    batch = trajectory()
    shift = returns(rewarded(Shaped(weight=0.5), batch)) - returns(batch)
    close(shift, -0.5 * batch.potential[..., 0])
    assert np.ptp(shift) > 0.1


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_shaping_moves_the_reward_to_go_by_minus_the_potential_alone(discount):
    """The past and the action do not enter: it is a baseline and changes no expected gradient."""
    batch = trajectory()
    credit, shaped = (
        RewardToGo(discount=discount),
        rewarded(Shaped(weight=0.5, discount=discount), batch),
    )
    shift = credit_of(credit, shaped) - credit_of(credit, batch)
    close(shift, np.where(batch.mask, -0.5 * batch.potential[..., None], 0.0))


def test_shaping_changes_no_comparison_of_episodes_with_one_start():
    batch = trajectory()
    potential = batch.potential.copy()
    potential[..., 0] = 0.7
    batch = batch._replace(potential=potential)
    close(credit_of(LeaveOneOut(), rewarded(Shaped(), batch)), credit_of(LeaveOneOut(), batch))


def test_kl_in_the_reward_costs_the_coefficient_times_the_log_ratio():
    batch = trajectory()
    result = returns(rewarded(KlReward(coefficient=0.2), batch)) - returns(batch)
    close(
        result,
        -0.2 * np.where(batch.mask, batch.log_prob - batch.reference_log_prob, 0.0).sum((2, 3)),
    )


def test_a_token_of_a_policy_that_is_the_reference_costs_nothing():
    batch = trajectory()
    at_home = batch._replace(reference_log_prob=batch.log_prob)
    for how in ("k1", "k2", "k3"):
        np.testing.assert_array_equal(
            rewarded(KlReward(estimator=how), at_home).penalty, batch.penalty
        )


# What they read


def test_reads_reference_says_whether_the_reference_policy_is_read():
    batch = trajectory()
    moved = batch._replace(reference_log_prob=batch.reference_log_prob - 0.5)
    for (reward, result), (_, other) in zip(all_rewarded(batch), all_rewarded(moved)):
        assert reward.reads_reference == (
            np.abs(result.penalty - other.penalty).max()
            + np.abs(result.reward - other.reward).max()
            > 0
        )
    assert KlReward.reads_reference and kl.ReferenceKL.reads_reference


@pytest.mark.parametrize("buffer", [0, -1])
def test_a_buffer_of_no_token_is_refused(buffer):
    with pytest.raises(config.ConfigError, match="buffer must be 1 or more"):
        SoftOverlong(buffer=buffer)


def earned_alike(result, expected, batch, reward):
    """Asserts that each unmasked token earned the same in both."""
    for i, places in episodes(batch):
        close(
            gains(result, i, places),
            gains(expected, i, places),
            rtol=0,
            atol=1e-6,
            err_msg=str(reward),
        )


@given(st.integers(0, 10_000))
def test_no_reward_reads_the_content_of_padding(seed):
    batch = trajectory(seed)
    dirty = poisoned(batch, batch.mask, seed)._replace(label_mask=batch.label_mask)
    for (reward, expected), (_, result) in zip(all_rewarded(batch), all_rewarded(dirty)):
        earned_alike(result, expected, batch, reward)


@given(st.integers(0, 10_000))
@pytest.mark.parametrize("axis", [2, 3], ids=["turn", "token"])
def test_no_reward_changes_with_more_padding(axis, seed):
    batch = trajectory(seed)
    longer = padded(batch, batch.mask, axis, seed)
    longer = longer._replace(label_mask=longer.label_mask & (np.arange(longer.mask.shape[3]) < A))
    for (reward, expected), (_, result) in zip(all_rewarded(batch), all_rewarded(longer)):
        earned_alike(result, expected, batch, reward)


@given(st.integers(0, 10_000))
def test_a_reward_depends_on_its_own_episode_only(seed):
    batch, others = trajectory(seed), trajectory(seed + 1)
    mixed = jax.tree.map(lambda x, y: np.concatenate([x[:, :1], y[:, 1:]], 1), batch, others)
    for (reward, expected), (_, result) in zip(all_rewarded(batch), all_rewarded(mixed)):
        np.testing.assert_array_equal(
            result.reward[:, 0], expected.reward[:, 0], err_msg=str(reward)
        )
        np.testing.assert_array_equal(
            result.penalty[:, 0], expected.penalty[:, 0], err_msg=str(reward)
        )


def test_where_the_task_fixes_the_length_no_episode_is_overlong():
    nothing_left = jnp.ones((1, 2, 1), bool)  # one episode of two turns of one token
    left = room(
        Spec(1, 1, 1, 2, (5,), limited=False),
        jnp.full((1, 2, 1), 5),
        nothing_left,
        jnp.array([True]),
    )
    assert (np.asarray(left) > 1_000_000).all()
