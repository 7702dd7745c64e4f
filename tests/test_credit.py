"""Each credit equals its defining sum, looped in plain numpy; how credits are related; and what they are blind to."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentic_rl import algorithms, learner, values
from agentic_rl.credit.gae import GAE, gae, whiten
from agentic_rl.credit.group import GroupRelative, LeaveOneOut
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.credit.supervised import Imitation, SuccessOnly
from agentic_rl.types import Trajectory, Value
from tests.toys import compiled

N, G, T, A = 3, 4, 3, 3
CREDITS = [Imitation(), SuccessOnly(), RewardToGo(discount=0.9), LeaveOneOut(), GroupRelative(), GAE(), GAE(whiten=False)]
every_credit = pytest.mark.parametrize("credit", CREDITS, ids=lambda c: type(c).__name__ + "-raw" * (not getattr(c, "whiten", True)))


def trajectory(seed=0, terminal=False):
    """Random episodes of random lengths; every turn that was played has at least one token."""
    random = np.random.default_rng(seed)
    turns, tokens = random.integers(1, T + 1, (N, G)), random.integers(1, A + 1, (N, G, T))
    alive = np.arange(T) < turns[..., None]
    mask = (np.arange(A) < tokens[..., None]) & alive[..., None]
    success = random.random((N, G)) < 0.5
    last = np.arange(T) == turns[..., None] - 1
    reward = np.where(last & success[..., None], 1.0, 0.0) if terminal else np.where(alive, random.normal(size=(N, G, T)), 0.0)
    integers, floats = random.integers(0, 64, (N, G, T, A)), random.normal(size=(N, G, T, A))
    made = Trajectory(
        prompt=integers[:, :, 0, :2], observation=integers[..., :2], action=integers, mask=mask, log_prob=floats, reference_log_prob=floats,
        label=integers, label_mask=mask, reward=reward, success=success, anchor=integers[..., 0], is_key=alive,
    )  # fmt: skip
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32 if x.dtype.kind == "f" else None), made)


def value_of(made, seed=0, discount=1.0):
    """Values as a critic would give them, of random state values."""
    before = jnp.asarray(np.random.default_rng(seed + 1).normal(size=made.mask.shape), jnp.float32)
    return compiled_values()(before, made.reward, made.mask, discount)


@cache
def compiled_values():
    return compiled(values.from_state_values)


@cache
def compiled_gae():
    return compiled(gae)


@cache
def compiled_credit():
    return compiled(lambda credit, made, value: credit(made, value))


def credited(credit, made, value=None):
    """Credit per token, 0 where masked, as numpy [N, G, T, A]."""
    found = np.asarray(compiled_credit()(credit, made, value or value_of(made)))
    return np.where(made.mask, found[..., None] if found.ndim == 3 else found, 0.0)


def close(found, expected, **tolerance):
    np.testing.assert_allclose(found, expected, **(dict(rtol=1e-4, atol=1e-5) | tolerance))


def episodes(made):
    """For each attempt: its index and the (turn, token) places that the policy wrote, in order."""
    for i in np.ndindex(N, G):
        yield i, [(t, a) for t in range(T) for a in range(A) if made.mask[i][t, a]]


def rewards(made, i, places):
    """The reward that follows each written token: its turn's, if it is the turn's last."""
    turns = [t for t, _ in places]
    return [float(made.reward[i][t]) if k + 1 == len(turns) or turns[k + 1] != t else 0.0 for k, t in enumerate(turns)]


# Definitions


def test_reward_to_go_is_the_discounted_sum_of_this_and_later_turns():
    made = trajectory()
    found = credited(RewardToGo(discount=0.9), made)
    for i, places in episodes(made):
        for t, a in places:
            close(found[i][t, a], sum(0.9 ** (k - t) * made.reward[i][k] for k in range(t, T)))


def test_leave_one_out_compares_with_the_mean_of_the_others():
    made = trajectory()
    total, found = np.asarray(made.reward.sum(-1)), credited(LeaveOneOut(), made)
    for (n, g), places in episodes(made):
        others = [total[n, h] for h in range(G) if h != g]
        close([found[n, g, t, a] for t, a in places], total[n, g] - np.mean(others))


@pytest.mark.parametrize("ddof", [0, 1])
def test_group_relative_is_the_centred_return_over_the_group_s_standard_deviation(ddof):
    made = trajectory()
    total, found = np.asarray(made.reward.sum(-1)), credited(GroupRelative(eps=0.01, ddof=ddof), made)
    for (n, g), places in episodes(made):
        mean = sum(total[n]) / G
        std = (sum((r - mean) ** 2 for r in total[n]) / (G - ddof)) ** 0.5
        close([found[n, g, t, a] for t, a in places], (total[n, g] - mean) / (std + 0.01))


def test_values_after_a_token_are_its_reward_and_the_discounted_value_before_the_next_one():
    made = trajectory()
    value = value_of(made, discount=0.9)
    for i, places in episodes(made):
        before = [value.before[i][p] for p in places] + [0.0]
        expected = [r + 0.9 * v for r, v in zip(rewards(made, i, places), before[1:])]
        close([value.after[i][p] for p in places], expected)
    assert (value.before[~made.mask] == 0).all() and (value.after[~made.mask] == 0).all() and value.discount == np.float32(0.9)


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
def test_gae_is_the_sum_of_discounted_td_errors_over_the_tokens_written(lambda_):
    made = trajectory()
    value = value_of(made, discount=0.9)
    found = credited(GAE(lambda_=lambda_, whiten=False), made, value)
    for i, places in episodes(made):
        delta = [value.after[i][p] - value.before[i][p] for p in places]
        for k, p in enumerate(places):
            close(found[i][p], sum((0.9 * lambda_) ** j * d for j, d in enumerate(delta[k:])))


def test_imitation_is_1_and_success_only_the_verdict():
    made = trajectory()
    close(credited(Imitation(), made), made.mask)
    close(credited(SuccessOnly(), made), made.mask * np.asarray(made.success)[..., None, None])


# Identities


def test_gae_with_lambda_1_is_reward_to_go_minus_value_and_with_lambda_0_the_td_error():
    made = trajectory()
    value = value_of(made)
    to_go = credited(RewardToGo(), made)
    close(credited(GAE(lambda_=1.0, whiten=False), made, value), np.where(made.mask, to_go - value.before, 0.0))
    close(credited(GAE(lambda_=0.0, whiten=False), made, value), value.after - value.before)


def test_the_critic_s_target_at_lambda_1_is_reward_to_go_and_without_discount_the_same_for_all_tokens_of_a_turn():
    made = trajectory()
    target = values.Critic(lambda_=1.0).target(value_of(made), made.mask)
    close(np.where(made.mask, target, 0.0), credited(RewardToGo(), made))


def test_the_critic_s_target_at_lambda_0_is_the_value_after():
    made = trajectory()
    close(values.Critic(lambda_=0.0).target(value_of(made), made.mask), value_of(made).after)


def test_the_critic_s_target_does_not_depend_on_the_credit():
    made, value = trajectory(), value_of(trajectory())
    rows = [algorithms.swap(algorithms.PPO, credit=credit) for credit in (GAE(), GAE(lambda_=0.1, whiten=False), RewardToGo())]
    batches = [learner.make_batch(row, made, value) for row in rows]
    for batch in batches[1:]:
        np.testing.assert_array_equal(batch.value_target, batches[0].value_target)
        assert not np.allclose(batch.credit, batches[0].credit)


def test_leave_one_out_is_the_centred_return_times_g_over_g_minus_1():
    made = trajectory()
    total = np.asarray(made.reward.sum(-1))
    centred = total - total.mean(1, keepdims=True)
    close(credited(LeaveOneOut(), made), np.where(made.mask, (centred * G / (G - 1))[..., None, None], 0.0))


def test_group_relative_is_leave_one_out_over_a_positive_number_shared_by_the_group():
    made = trajectory()
    ratio = credited(LeaveOneOut(), made)[..., 0, 0] / credited(GroupRelative(), made)[..., 0, 0]
    assert (ratio > 0).all() and np.ptp(ratio.mean(1)) > 0.1
    close(ratio, np.broadcast_to(ratio[:, :1], ratio.shape))


def test_success_only_is_the_return_where_success_alone_is_rewarded_at_the_end():
    made = trajectory(terminal=True)
    assert 0 < made.success.mean() < 1
    np.testing.assert_array_equal(credited(SuccessOnly(), made), credited(RewardToGo(), made))


@pytest.mark.parametrize("credit", [LeaveOneOut(), GroupRelative(), GroupRelative(ddof=0)])
def test_a_group_whose_attempts_fared_alike_gets_no_credit(credit):
    made = trajectory(terminal=True)
    reward = made.reward.at[0].set(0.0).at[1].set(1 / 3)
    found = credited(credit, made._replace(reward=reward))
    assert np.abs(found[:2]).max() < 1e-2 and np.abs(found[2]).max() > 0.1


@pytest.mark.parametrize("credit", [LeaveOneOut(), GroupRelative()])
def test_credits_of_a_group_sum_to_zero(credit):
    made = trajectory()
    close(credited(credit, made)[:, :, 0, 0].sum(1), 0.0)


def test_whitened_credit_has_mean_0_and_deviation_1_over_what_the_policy_wrote():
    made = trajectory()
    found = np.asarray(whiten(5 + 3 * made.log_prob, made.mask))
    close(found[made.mask].mean(), 0, atol=1e-5)
    close(found[made.mask].std(), 1)
    assert (found[~made.mask] == 0).all()
    close(credited(GAE(lambda_=0.5), made), whiten(jnp.asarray(credited(GAE(lambda_=0.5, whiten=False), made)), made.mask))


# Blindness


def without_padding(made, value, i):
    """GAE of one episode whose padding was cut out: a single turn of all its tokens."""
    keep = np.asarray(made.mask[i]).ravel()
    before, after = (jnp.asarray(np.ravel(x[i])[keep])[None, None, None] for x in (value.before, value.after))
    return gae(Value(before, after, value.discount), jnp.ones(before.shape, bool), 0.5)[0, 0, 0]


def test_gae_skips_padding_as_if_it_were_not_there():
    made = trajectory()
    value = value_of(made, discount=0.9)
    found = compiled_gae()(value, made.mask, 0.5)
    for i in [(0, 0), (0, 1), (1, 2), (2, 3)]:
        assert not made.mask[i].all()
        close(found[i][made.mask[i]], without_padding(made, value, i))


@pytest.mark.parametrize("credit", [*CREDITS[:2], RewardToGo(), *CREDITS[3:]], ids=lambda c: type(c).__name__)
def test_a_turn_of_padding_changes_nothing_wherever_it_is_put(credit):
    made = trajectory()
    expected = credited(credit, made)
    for t in range(T + 1):

        def insert(x):
            return jnp.insert(x, t, 0, axis=2) if x.ndim > 2 and x.shape[2] == T else x

        longer = jax.tree.map(insert, made)
        value = jax.tree.map(insert, value_of(made))
        close(np.delete(credited(credit, longer, value), t, axis=2), expected)


@given(st.integers(0, 10_000))
@every_credit
def test_the_content_of_padding_is_not_read(credit, seed):
    made, value = trajectory(seed), value_of(trajectory(seed))
    garbage, alive = trajectory(seed + 1), made.mask.any(-1)
    where = dict.fromkeys(("action", "log_prob", "reference_log_prob", "label"), made.mask) | dict(
        observation=alive[..., None], anchor=alive
    )
    poisoned = {name: jnp.where(real, getattr(made, name), getattr(garbage, name)) for name, real in where.items()}
    dirty = Value(*(jnp.where(made.mask, x, garbage.log_prob) for x in value[:2]), value.discount)
    np.testing.assert_array_equal(credited(credit, made, value), credited(credit, made._replace(**poisoned), dirty))


@given(st.integers(0, 10_000))
@every_credit
def test_the_order_of_problems_and_of_attempts_does_not_matter(credit, seed):
    made, random = trajectory(seed), np.random.default_rng(seed)
    value, problems, attempts = value_of(made), random.permutation(N), random.permutation(G)

    def reorder(x):
        return x[problems][:, attempts] if np.ndim(x) else x

    moved = credited(credit, jax.tree.map(reorder, made), jax.tree.map(reorder, value))
    close(moved, reorder(credited(credit, made, value)), rtol=1e-3, atol=1e-4)


@given(st.integers(0, 10_000))
@pytest.mark.parametrize("credit", [c for c in CREDITS if c != GAE()], ids=lambda c: type(c).__name__)
def test_a_problem_s_credit_does_not_depend_on_the_other_problems(credit, seed):
    made, others = trajectory(seed), trajectory(seed + 1)
    mixed = jax.tree.map(lambda x, y: x.at[1:].set(y[1:]), made, others)
    close(credited(credit, made)[0], credited(credit, mixed, value_of(made))[0], rtol=1e-6)


def test_what_came_before_a_turn_does_not_change_its_reward_to_go():
    made = trajectory()
    late = made._replace(reward=made.reward.at[..., 0].add(5.0))
    close(credited(RewardToGo(), late)[:, :, 1:], credited(RewardToGo(), made)[:, :, 1:])
