"""Facts about all credits: whitening, equal attempts, and what no credit may read."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentic_rl.credit
from agentic_rl import algorithms, config
from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.group import (
    BatchRelative,
    GroupRelative,
    LeaveOneOut,
    LeaveOneOutToGo,
    OptimalToken,
)
from agentic_rl.credit.process import ProcessAdvantage
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.credit.supervised import Imitation, SuccessOnly
from agentic_rl.credit.turns import BiLevelGAE, TurnGAE
from agentic_rl.types import Value
from agentic_rl.values.critic import Critic
from tests.batches import (
    A,
    G,
    N,
    T,
    at_end,
    close,
    free,
    full,
    padded,
    poisoned,
    settings,
    trajectory,
)
from tests.credits import RAW, by_token, compiled_credits, compute_credit, random_values

EVERY = [credit for cls in config.named(agentic_rl.credit).values() for credit in settings(cls)]


def all_credited(batch, value):
    """Returns (credit, its values by token) of every credit there is, in every setting."""
    return [
        (credit, by_token(result, batch))
        for credit, result in zip(EVERY, compiled_credits()(EVERY, batch, value))
    ]


def test_a_group_of_equal_returns_gets_no_credit_from_comparing_them():
    """The attempts at problem 0 earn nothing, those at problem 1 one third, and at problem 2 they
    differ.

    The prover of `ProcessAdvantage` is switched off.
    """
    batch = free(full(trajectory()))
    earned_at_end = np.array([[0, 0, 0, 0], [1 / 3] * G, [1, 0, 0, 1]], np.float32)
    batch = batch._replace(
        reward=at_end(batch, earned_at_end),
        anchor=np.broadcast_to(np.arange(T), batch.anchor.shape),
    )
    batch = batch._replace(potential=np.zeros_like(batch.potential))
    groups = [
        replace(c, alpha=0.0) if isinstance(c, ProcessAdvantage) else c
        for c in EVERY
        if c.min_attempts > 1
    ]
    groups += [GroupRelative(ddof=0)]
    assert len(groups) > 10
    for credit, result in zip(groups, compiled_credits()(groups, batch, random_values(batch))):
        result = by_token(result, batch)
        assert (
            np.abs(result[0]).max() == 0
            and np.abs(result[1]).max() < 1e-6
            and np.abs(result[2]).max() > 0.1
        ), credit


def test_no_credit_is_infinite_in_degenerate_batches():
    batch = free(trajectory())
    nothing = batch._replace(reward=np.zeros_like(batch.reward), anchor=np.zeros_like(batch.anchor))
    shortest = batch._replace(mask=batch.mask & (np.arange(T * A) == 0).reshape(T, A))
    certain = batch._replace(
        log_prob=np.zeros_like(batch.log_prob), collision=np.ones_like(batch.collision)
    )
    for case in (nothing, shortest, certain):
        for credit, result in all_credited(
            case, Value(*np.zeros((2, *batch.mask.shape), np.float32), np.float32(1))
        ):
            assert np.isfinite(result).all(), credit


@pytest.mark.parametrize(
    "credit",
    [TurnGAE(**RAW), BiLevelGAE(**RAW), *settings(Gigpo), RewardToGo(discount=0.9)],
    ids=repr,
)
def test_a_turn_without_a_reward_is_a_turn_like_any_other(credit):
    """No credit jumps as a turn's reward passes through zero."""
    batch = free(trajectory())
    batch = batch._replace(reward=batch.reward.copy())
    batch.reward[..., 1] = 0.0
    tiny = batch._replace(reward=batch.reward + 1e-5 * (np.arange(T) == 1) * batch.mask.any(-1))
    close(compute_credit(credit, tiny), compute_credit(credit, batch), rtol=0, atol=1e-3)


def test_whitened_credit_is_raw_credit_with_mean_0_and_deviation_1():
    batch, value = trajectory(), random_values(trajectory(), discount=0.9)
    result = dict(all_credited(batch, value))
    whitened = [credit for credit in EVERY if credit.whiten]
    assert len(whitened) >= 6
    for credit in whitened:
        raw = result[replace(credit, whiten=False)][batch.mask]
        close(
            result[credit][batch.mask],
            (raw - raw.mean()) / raw.std(),
            err_msg=str(credit),
            rtol=1e-3,
        )
        assert not result[credit][~batch.mask].any()


@pytest.mark.parametrize(
    "credit",
    [cls() for cls in config.named(agentic_rl.credit).values() if cls.min_attempts > 1],
    ids=repr,
)
def test_parts_that_compare_attempts_refuse_groups_of_one(credit):
    parts = dict(credit=credit, values=Critic())
    algorithms.swap(algorithms.REINFORCE, attempts=2, **parts)
    with pytest.raises(
        config.ConfigError, match=f"{type(credit).__name__} compares attempts at the same problem"
    ):
        algorithms.swap(algorithms.REINFORCE, attempts=1, **parts)


@pytest.mark.parametrize(
    "credit",
    [RewardToGo(), LeaveOneOutToGo(), GAE(lambda_=1.0, **RAW), TurnGAE(**RAW), BiLevelGAE(**RAW)],
    ids=repr,
)
def test_what_came_before_a_turn_does_not_change_its_credit(credit):
    batch, value = trajectory(), random_values(trajectory())
    late = batch._replace(
        reward=batch.reward + 5.0 * (np.arange(T) == 0),
        penalty=batch.penalty + (np.arange(T) == 0)[:, None] * batch.mask,
    )
    changed = random_values(late)
    np.testing.assert_array_equal(value.before, changed.before)
    close(
        compute_credit(credit, late, changed)[:, :, 1:],
        compute_credit(credit, batch, value)[:, :, 1:],
    )


def test_a_turn_of_padding_anywhere_changes_no_credit_without_turns():
    batch, value = trajectory(), random_values(trajectory())
    blind = [
        Imitation(),
        SuccessOnly(),
        RewardToGo(),
        LeaveOneOut(),
        GroupRelative(),
        OptimalToken(),
        GAE(),
        GAE(**RAW),
    ]
    expected, wide = (
        dict(all_credited(batch, value)),
        [padded(x, batch.mask, 3, 0) for x in (batch, value)],
    )
    for t in range(T + 1):
        longer = jax.tree.map(
            lambda x: np.insert(x, t, 0, 2) if np.shape(x)[2:3] == (T,) else x, wide
        )
        for credit, result in all_credited(*longer):
            if credit in blind:
                close(
                    np.delete(result, t, axis=2)[..., :A],
                    expected[credit],
                    err_msg=f"{credit} at {t}",
                )


seeds = given(st.integers(0, 10_000))


@seeds
def test_no_credit_reads_the_content_of_padding(seed):
    batch = trajectory(seed)
    value = random_values(batch, discount=0.9)
    dirty = poisoned(batch, batch.mask, seed), poisoned(value, batch.mask, seed)
    for (credit, expected), (_, result) in zip(all_credited(batch, value), all_credited(*dirty)):
        np.testing.assert_array_equal(result, expected, err_msg=str(credit))


@seeds
def test_no_credit_changes_with_more_padding(seed):
    batch = trajectory(seed)
    value = random_values(batch, discount=0.9)
    wide = [padded(x, batch.mask, 3, seed) for x in (batch, value)]
    longer = [padded(x, wide[0].mask, 2, seed) for x in wide]
    for (credit, expected), (_, result) in zip(all_credited(batch, value), all_credited(*longer)):
        close(result[:, :, :T, :A], expected, err_msg=str(credit))


@seeds
def test_no_credit_depends_on_the_order_of_problems_and_of_attempts(seed):
    batch, random = trajectory(seed), np.random.default_rng(seed)
    value, problems, attempts = random_values(batch), random.permutation(N), random.permutation(G)

    def reorder(x):
        return x[problems][:, attempts] if np.ndim(x) > 1 else x

    moved = all_credited(jax.tree.map(reorder, batch), jax.tree.map(reorder, value))
    for (credit, expected), (_, result) in zip(all_credited(batch, value), moved):
        close(result, reorder(expected), err_msg=str(credit), rtol=1e-3, atol=1e-3)


@seeds
def test_only_whitened_or_batch_scaled_credit_depends_on_other_problems(seed):
    batch, others_ = trajectory(seed), trajectory(seed + 1)
    mixed = jax.tree.map(lambda x, y: np.concatenate([x[:1], y[1:]]), batch, others_)
    for (credit, expected), (_, result) in zip(
        all_credited(batch, random_values(batch)), all_credited(mixed, random_values(mixed))
    ):
        if not (credit.whiten or isinstance(credit, BatchRelative)):
            close(result[0], expected[0], err_msg=str(credit), rtol=1e-6)
