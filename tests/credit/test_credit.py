"""What holds of every credit, or of many of different kinds: of whitening, of equal attempts, and what no credit may read."""

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
from tests.credits import RAW, by_token, compiled_credits, credited, value_of

EVERY = [credit for cls in config.named(agentic_rl.credit).values() for credit in settings(cls)]


def all_credited(made, value):
    """(credit, its numbers) of every credit there is, in every setting."""
    return [
        (credit, by_token(found, made))
        for credit, found in zip(EVERY, compiled_credits()(EVERY, made, value))
    ]


def test_a_group_whose_attempts_fared_alike_gets_no_credit_from_comparing_them():
    """Problem 0 earned nothing, problem 1 one third at the end of every attempt, problem 2 had luck; the prover is not asked."""
    made = free(full(trajectory()))
    earned_at_end = np.array([[0, 0, 0, 0], [1 / 3] * G, [1, 0, 0, 1]], np.float32)
    made = made._replace(
        reward=at_end(made, earned_at_end), anchor=np.broadcast_to(np.arange(T), made.anchor.shape)
    )
    made = made._replace(potential=np.zeros_like(made.potential))
    groups = [
        replace(c, alpha=0.0) if isinstance(c, ProcessAdvantage) else c
        for c in EVERY
        if c.min_attempts > 1
    ]
    groups += [GroupRelative(ddof=0)]
    assert len(groups) > 10
    for credit, found in zip(groups, compiled_credits()(groups, made, value_of(made))):
        found = by_token(found, made)
        assert (
            np.abs(found[0]).max() == 0
            and np.abs(found[1]).max() < 1e-6
            and np.abs(found[2]).max() > 0.1
        ), credit


def test_no_credit_is_infinite_where_all_fared_alike_or_one_token_was_all():
    made = free(trajectory())
    nothing = made._replace(reward=np.zeros_like(made.reward), anchor=np.zeros_like(made.anchor))
    shortest = made._replace(mask=made.mask & (np.arange(T * A) == 0).reshape(T, A))
    certain = made._replace(
        log_prob=np.zeros_like(made.log_prob), collision=np.ones_like(made.collision)
    )
    for case in (nothing, shortest, certain):
        for credit, found in all_credited(
            case, Value(*np.zeros((2, *made.mask.shape), np.float32), np.float32(1))
        ):
            assert np.isfinite(found).all(), credit


@pytest.mark.parametrize(
    "credit",
    [TurnGAE(**RAW), BiLevelGAE(**RAW), *settings(Gigpo), RewardToGo(discount=0.9)],
    ids=repr,
)
def test_a_turn_without_a_reward_is_a_turn_like_any_other(credit):
    """As a turn's reward passes through zero, no credit jumps."""
    made = free(trajectory())
    made = made._replace(reward=made.reward.copy())
    made.reward[..., 1] = 0.0
    tiny = made._replace(reward=made.reward + 1e-5 * (np.arange(T) == 1) * made.mask.any(-1))
    close(credited(credit, tiny), credited(credit, made), rtol=0, atol=1e-3)


def test_whitened_credit_is_the_raw_credit_with_mean_0_and_deviation_1_over_what_the_policy_wrote():
    made, value = trajectory(), value_of(trajectory(), discount=0.9)
    found = dict(all_credited(made, value))
    whitened = [credit for credit in EVERY if credit.whiten]
    assert len(whitened) >= 6
    for credit in whitened:
        raw = found[replace(credit, whiten=False)][made.mask]
        close(
            found[credit][made.mask], (raw - raw.mean()) / raw.std(), err_msg=str(credit), rtol=1e-3
        )
        assert not found[credit][~made.mask].any()


@pytest.mark.parametrize(
    "credit",
    [cls() for cls in config.named(agentic_rl.credit).values() if cls.min_attempts > 1],
    ids=repr,
)
def test_what_compares_attempts_refuses_groups_of_one(credit):
    row = dict(credit=credit, values=Critic())
    algorithms.swap(algorithms.REINFORCE, attempts=2, **row)
    with pytest.raises(
        config.ConfigError, match=f"{type(credit).__name__} compares attempts at the same problem"
    ):
        algorithms.swap(algorithms.REINFORCE, attempts=1, **row)


@pytest.mark.parametrize(
    "credit",
    [RewardToGo(), LeaveOneOutToGo(), GAE(lambda_=1.0, **RAW), TurnGAE(**RAW), BiLevelGAE(**RAW)],
    ids=repr,
)
def test_what_came_before_a_turn_does_not_change_what_it_is_credited_with(credit):
    made, value = trajectory(), value_of(trajectory())
    late = made._replace(
        reward=made.reward + 5.0 * (np.arange(T) == 0),
        penalty=made.penalty + (np.arange(T) == 0)[:, None] * made.mask,
    )
    changed = value_of(late)
    np.testing.assert_array_equal(value.before, changed.before)
    close(credited(credit, late, changed)[:, :, 1:], credited(credit, made, value)[:, :, 1:])


def test_a_turn_of_padding_changes_no_credit_that_knows_no_turns_wherever_it_is_put():
    made, value = trajectory(), value_of(trajectory())
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
        dict(all_credited(made, value)),
        [padded(x, made.mask, 3, 0) for x in (made, value)],
    )
    for t in range(T + 1):
        longer = jax.tree.map(
            lambda x: np.insert(x, t, 0, 2) if np.shape(x)[2:3] == (T,) else x, wide
        )
        for credit, found in all_credited(*longer):
            if credit in blind:
                close(
                    np.delete(found, t, axis=2)[..., :A],
                    expected[credit],
                    err_msg=f"{credit} at {t}",
                )


seeds = given(st.integers(0, 10_000))


@seeds
def test_no_credit_reads_the_content_of_padding(seed):
    made = trajectory(seed)
    value = value_of(made, discount=0.9)
    dirty = poisoned(made, made.mask, seed), poisoned(value, made.mask, seed)
    for (credit, expected), (_, found) in zip(all_credited(made, value), all_credited(*dirty)):
        np.testing.assert_array_equal(found, expected, err_msg=str(credit))


@seeds
def test_no_credit_changes_with_a_turn_and_a_token_of_padding_more(seed):
    made = trajectory(seed)
    value = value_of(made, discount=0.9)
    wide = [padded(x, made.mask, 3, seed) for x in (made, value)]
    longer = [padded(x, wide[0].mask, 2, seed) for x in wide]
    for (credit, expected), (_, found) in zip(all_credited(made, value), all_credited(*longer)):
        close(found[:, :, :T, :A], expected, err_msg=str(credit))


@seeds
def test_no_credit_depends_on_the_order_of_problems_and_of_attempts(seed):
    made, random = trajectory(seed), np.random.default_rng(seed)
    value, problems, attempts = value_of(made), random.permutation(N), random.permutation(G)

    def reorder(x):
        return x[problems][:, attempts] if np.ndim(x) > 1 else x

    moved = all_credited(jax.tree.map(reorder, made), jax.tree.map(reorder, value))
    for (credit, expected), (_, found) in zip(all_credited(made, value), moved):
        close(found, reorder(expected), err_msg=str(credit), rtol=1e-3, atol=1e-3)


@seeds
def test_only_what_whitens_or_scales_by_the_batch_depends_on_the_other_problems(seed):
    made, others_ = trajectory(seed), trajectory(seed + 1)
    mixed = jax.tree.map(lambda x, y: np.concatenate([x[:1], y[1:]]), made, others_)
    for (credit, expected), (_, found) in zip(
        all_credited(made, value_of(made)), all_credited(mixed, value_of(mixed))
    ):
        if not (credit.whiten or isinstance(credit, BatchRelative)):
            close(found[0], expected[0], err_msg=str(credit), rtol=1e-6)
