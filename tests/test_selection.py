"""Selections against their definitions; leaving episodes out changes nothing for the others."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import agentic_rl.credit
from agentic_rl import algorithms, config, selection, values
from agentic_rl.config import ConfigError
from agentic_rl.credit.group import Centred, LeaveOneOut
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.selection import All, Informative, NotOverlong, TopSpread
from agentic_rl.training.batch import make_batch
from agentic_rl.types import Value
from agentic_rl.values.critic import Critic
from tests.batches import (
    G,
    N,
    blank,
    close,
    padded,
    poisoned,
    returns,
    settings,
    terminal,
    trajectory,
)
from tests.toys import compiled

EVERY = [chosen for cls in config.named(selection).values() for chosen in settings(cls)]


@cache
def compiled_selections():
    return compiled(lambda selections, sample: [chosen(sample) for chosen in selections])


def kept_by(chosen, sample):
    """Returns which episodes are kept, [N, G] in numpy."""
    return np.asarray(compiled_selections()([chosen], sample)[0])


def all_kept(sample):
    """Returns (selection, what it keeps) of every selection there is."""
    return zip(EVERY, map(np.asarray, compiled_selections()(EVERY, sample)))


def earning(total):
    """Returns episodes of one turn of two tokens with these returns, [N, G]."""
    total = np.asarray(total, np.float32)
    return blank(*total.shape, 1, 2, reward=total[..., None])


# Definitions


def test_all_keeps_every_episode():
    assert kept_by(All(), trajectory()).all()


def test_informative_groups_are_those_whose_returns_differ():
    result = kept_by(
        Informative(),
        earning([[0, 0, 0], [1, 1, 1], [0, 0, 1], [-0.5, 0.5, 0.25], [0.1, 0.1, 0.1]]),
    )
    np.testing.assert_array_equal(result, [[x] * 3 for x in (False, False, True, True, False)])


def test_informative_reads_the_return_and_not_its_turn():
    sample = terminal(trajectory())
    early = sample._replace(
        reward=np.where(
            np.arange(sample.reward.shape[2]) == 0, sample.reward.sum(-1, keepdims=True), 0.0
        )
    )
    np.testing.assert_array_equal(kept_by(Informative(), early), kept_by(Informative(), sample))


@pytest.mark.parametrize("seed", range(3))
def test_top_spread_keeps_the_groups_with_the_largest_deviation(seed):
    sample = trajectory(seed)
    spread = [np.std(total) for total in returns(sample)]
    for count in (1, 2, 3):
        expected = [[rank < count] * G for rank in np.argsort(np.argsort(spread)[::-1])]
        np.testing.assert_array_equal(kept_by(TopSpread(fraction=count / N), sample), expected)


def test_of_groups_with_equal_spread_the_earlier_ones_are_kept():
    sample = earning([[0, 0], [0, 1], [3, 2], [1, 0], [0, 0]])
    for fraction, count in ((0.2, 1), (0.4, 2), (0.6, 3), (0.8, 4)):
        np.testing.assert_array_equal(
            np.nonzero(kept_by(TopSpread(fraction=fraction), sample)[:, 0])[0],
            sorted([1, 2, 3, 0, 4][:count]),
        )


@pytest.mark.parametrize("groups", [7, 30, 100])
def test_a_fraction_of_the_groups_is_rounded_up(groups):
    sample = earning(np.arange(groups)[:, None] * np.array([[0.0, 1.0]]))
    for count in range(1, groups + 1):
        assert kept_by(TopSpread(fraction=count / groups), sample)[:, 0].sum() == count
        assert kept_by(TopSpread(fraction=(count - 0.5) / groups), sample)[:, 0].sum() == count


def test_an_episode_is_overlong_only_if_it_was_cut_off():
    sample = blank(1, 4, 2, 3, room=np.array([[-1, 0, 1, 6]]))
    np.testing.assert_array_equal(kept_by(NotOverlong(), sample), [[False, True, True, True]])


# What is refused


@pytest.mark.parametrize("chosen", [Informative(), TopSpread()], ids=repr)
def test_parts_that_compare_attempts_refuse_groups_of_one(chosen):
    algorithms.swap(algorithms.REINFORCE, selection=chosen, attempts=2)
    with pytest.raises(
        ConfigError, match=f"{type(chosen).__name__} compares attempts at the same problem"
    ):
        algorithms.swap(algorithms.REINFORCE, selection=chosen, attempts=1)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.5])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ConfigError, match="fraction must be above 0 and at most 1"):
        TopSpread(fraction=fraction)


def test_less_than_one_round_is_refused():
    with pytest.raises(ConfigError, match="max_rounds must be 1 or more"):
        Informative(max_rounds=0)


# What is left out


def algorithms_with(credits):
    """Returns an algorithm with each credit, and with a critic where it needs one."""
    plain = replace(algorithms.REINFORCE, problems=N, attempts=G, minibatches=1)
    return [
        replace(plain, credit=c, values=Critic() if c.reads_value else values.NoValue())
        for c in credits
    ]


@cache
def compiled_batches():
    return compiled(
        lambda many, sample, value, kept: [make_batch(one, sample, value, kept) for one in many]
    )


def values_of(sample):
    """Returns random values."""
    before, after = np.random.default_rng(1).normal(size=(2, *sample.mask.shape)).astype(np.float32)
    return Value(before, after, np.float32(0.9))


def some_kept():
    """Returns episodes and which are kept: a group and single ones are left out as cut off.

    One of them has a return that is far from the others'.
    """
    sample = trajectory(seed=3)
    sample.mask[0], sample.mask[1, 2], sample.room[0], sample.room[1, 2] = True, True, -1, -1
    sample.reward[1, 2] += 5.0
    return sample, kept_by(NotOverlong(), sample)


def test_leaving_episodes_out_changes_no_credit_of_the_others():
    sample, kept = some_kept()
    credits = [
        *(cls() for cls in config.named(agentic_rl.credit).values()),
        RewardToGo(whiten=True),
        Centred(whiten=True),
    ]
    with_all, without = (
        compiled_batches()(algorithms_with(credits), sample, values_of(sample), of)
        for of in (np.ones_like(kept), kept)
    )
    trained = (sample.mask & kept[..., None, None]).reshape(without[0].mask.shape)
    for credit, before, batch in zip(credits, with_all, without):
        expected = np.asarray(before.credit)[trained]
        expected = (expected - expected.mean()) / expected.std() if credit.whiten else expected
        close(
            np.asarray(batch.credit)[trained], expected, err_msg=str(credit), rtol=1e-3, atol=1e-4
        )
        np.testing.assert_array_equal(batch.mask, trained)
        assert not np.asarray(batch.credit)[~trained].any()


def test_labels_of_episodes_that_are_left_out_are_not_trained_on():
    sample, kept = some_kept()
    sample.label_mask[:] = sample.mask
    dagger = replace(algorithms.DAGGER, problems=N, attempts=G, minibatches=1)
    batch = compiled_batches()([dagger], sample, values_of(sample), kept)[0]
    np.testing.assert_array_equal(
        np.asarray(batch.mask).reshape(sample.mask.shape), sample.mask & kept[..., None, None]
    )


def test_with_nothing_left_out_credit_is_the_credit_of_the_whole_batch():
    sample, one = trajectory(), algorithms_with([LeaveOneOut()])
    for kept in (None, np.ones((N, G), bool)):
        batch = compiled_batches()(one, sample, values_of(sample), kept)[0]
        total = returns(sample)
        expected = (total - total.mean(1, keepdims=True)) * G / (G - 1)
        close(
            batch.credit,
            np.where(sample.mask, expected[..., None, None], 0.0).reshape(batch.credit.shape),
        )


# Blindness


@given(st.integers(0, 10_000))
def test_no_selection_reads_padding_or_the_order_of_attempts(seed):
    sample, order = trajectory(seed), np.random.default_rng(seed).permutation(G)
    dirty, moved = (
        poisoned(sample, sample.mask, seed),
        jax.tree.map(lambda x: x[:, order], terminal(sample)),
    )
    for (chosen, expected), (_, result) in zip(all_kept(sample), all_kept(dirty)):
        np.testing.assert_array_equal(result, expected, err_msg=str(chosen))
    for (chosen, expected), (_, result) in zip(all_kept(terminal(sample)), all_kept(moved)):
        np.testing.assert_array_equal(result, expected[:, order], err_msg=str(chosen))


@given(st.integers(0, 10_000))
def test_no_selection_changes_with_more_padding(seed):
    sample = trajectory(seed)
    for (chosen, expected), (_, result) in zip(
        all_kept(sample), all_kept(padded(sample, sample.mask, 2, seed))
    ):
        np.testing.assert_array_equal(result, expected, err_msg=str(chosen))
