"""Credits that compare attempts, against their defining sums, and how they are related."""

import numpy as np
import pytest

from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.group import (
    BatchRelative,
    Centred,
    GroupRelative,
    LeaveOneOut,
    LeaveOneOutToGo,
    LengthWeighted,
    OptimalToken,
)
from agentic_rl.types import Value
from tests.batches import (
    G,
    N,
    blank,
    close,
    episodes,
    free,
    full,
    gains,
    returns,
    settings,
    terminal,
    trajectory,
)
from tests.credits import assert_credit, assert_equal_credits, compute_credit, other_attempts, to_go


def test_leave_one_out_compares_with_the_mean_of_the_others():
    total = returns(trajectory())
    assert_credit(
        LeaveOneOut(),
        trajectory(),
        lambda i, places, gain: (
            [total[i] - np.mean([total[j] for j in other_attempts(i)])] * len(places)
        ),
    )


def test_leave_one_out_to_go_compares_with_the_attempts_that_still_play():
    batch = trajectory()
    written = {
        i: dict(zip(places, to_go(places, gains(batch, i, places))))
        for i, places in episodes(batch)
    }

    def baseline(i, t):
        peers = [written[j][t, 0] for j in other_attempts(i) if (t, 0) in written[j]]
        return np.mean(peers) if peers else 0.0

    assert_credit(
        LeaveOneOutToGo(),
        batch,
        lambda i, places, gain: [written[i][p] - baseline(i, p[0]) for p in places],
    )
    assert any(
        len([j for j in other_attempts(i) if (t, 0) in written[j]]) == 0
        for i in written
        for t, _ in written[i]
    )


def test_centred_is_the_return_minus_the_group_s_mean():
    total = returns(trajectory())
    assert_credit(
        Centred(),
        trajectory(),
        lambda i, places, gain: [total[i] - sum(total[i[0]]) / G] * len(places),
    )


@pytest.mark.parametrize("ddof", [0, 1])
def test_group_relative_is_the_centred_return_over_the_group_s_deviation(ddof):
    total = returns(trajectory())

    def expected(i, places, gain):
        mean = sum(total[i[0]]) / G
        std = (sum((r - mean) ** 2 for r in total[i[0]]) / (G - ddof)) ** 0.5
        return [(total[i] - mean) / (std + 0.01)] * len(places)

    assert_credit(GroupRelative(eps=0.01, ddof=ddof), trajectory(), expected)


def test_batch_relative_is_the_centred_return_over_the_batch_s_deviation():
    total = returns(trajectory())
    std = (((total - total.sum() / (N * G)) ** 2).sum() / (N * G - 1)) ** 0.5
    assert_credit(
        BatchRelative(eps=0.01),
        trajectory(),
        lambda i, places, gain: [(total[i] - sum(total[i[0]]) / G) / (std + 0.01)] * len(places),
    )


def test_length_weighted_is_the_return_minus_the_group_s_mean_over_tokens():
    batch, total = trajectory(), returns(trajectory())

    def expected(i, places, gain):
        of_each_token = [total[i[0], j] for j in range(G) for _ in range(batch.mask[i[0], j].sum())]
        return [total[i] - np.mean(of_each_token)] * len(places)

    assert_credit(LengthWeighted(), batch, expected)


def test_optimal_token_weighs_rewards_to_go_by_squared_gradients():
    batch = trajectory()
    after, weight = {}, {}
    for i, places in episodes(batch):
        square = [1 - 2 * np.exp(batch.log_prob[i][p]) + batch.collision[i][p] for p in places]
        weight[i] = [sum(square[: k + 1]) for k in range(len(places))]
        after[i] = to_go(places, gains(batch, i, places))

    def baseline(n, k):
        peers = [(n, j) for j in range(G) if len(after[n, j]) > k]
        return (
            sum(weight[j][k] * after[j][k] for j in peers) / sum(weight[j][k] for j in peers)
            if len(peers) > 1
            else 0.0
        )

    assert_credit(
        OptimalToken(),
        batch,
        lambda i, places, gain: [g - baseline(i[0], k) for k, g in enumerate(after[i])],
    )
    lengths = np.sort(batch.mask.sum((2, 3)))
    assert (lengths[:, -1] > lengths[:, -2]).any()


def test_leave_one_out_is_the_centred_return_times_g_over_g_minus_1():
    close(
        compute_credit(LeaveOneOut(), trajectory()),
        G / (G - 1) * compute_credit(Centred(), trajectory()),
    )


def test_leave_one_out_to_go_is_leave_one_out_at_the_start():
    batch = trajectory()
    close(
        compute_credit(LeaveOneOutToGo(), batch)[:, :, 0, 0],
        compute_credit(LeaveOneOut(), batch)[:, :, 0, 0],
    )
    batch = free(batch)
    close(
        compute_credit(LeaveOneOutToGo(), batch)[:, :, 0],
        compute_credit(LeaveOneOut(), batch)[:, :, 0],
    )
    assert_equal_credits(LeaveOneOutToGo(), LeaveOneOut(), terminal(full(batch)))


def test_group_relative_is_leave_one_out_scaled_by_group():
    batch = trajectory()
    ratio = (
        compute_credit(LeaveOneOut(), batch)[..., 0, 0]
        / compute_credit(GroupRelative(), batch)[..., 0, 0]
    )
    assert (ratio > 0).all() and np.ptp(ratio.mean(1)) > 0.1
    close(ratio, np.broadcast_to(ratio[:, :1], ratio.shape))


def test_the_population_s_deviation_makes_the_credit_of_4_attempts_larger():
    population, sample = (
        compute_credit(GroupRelative(eps=1e-12, ddof=ddof), trajectory()) for ddof in (0, 1)
    )
    close(population, sample * (G / (G - 1)) ** 0.5)
    assert (G / (G - 1)) ** 0.5 == pytest.approx(1.155, abs=1e-3)


def test_batch_relative_has_one_scale_and_group_relative_one_per_group():
    batch = trajectory()
    centred = compute_credit(Centred(), batch)[..., 0, 0]
    of_batch, of_group = (
        centred / compute_credit(credit, batch)[..., 0, 0]
        for credit in (BatchRelative(), GroupRelative())
    )
    close(of_batch, of_batch[0, 0])
    assert np.ptp(of_group) > 0.1


def test_length_weighted_is_centred_only_where_all_lengths_are_equal():
    assert_equal_credits(LengthWeighted(), Centred(), full(trajectory()))
    assert (
        np.abs(
            compute_credit(LengthWeighted(), trajectory()) - compute_credit(Centred(), trajectory())
        ).max()
        > 0.05
    )


def test_optimal_token_is_centred_for_equal_weights_and_a_final_reward():
    batch = terminal(full(trajectory()))
    assert_equal_credits(
        OptimalToken(),
        Centred(),
        batch._replace(
            log_prob=np.full_like(batch.log_prob, -1.0),
            collision=np.full_like(batch.collision, 0.3),
        ),
    )


def test_in_a_group_of_two_every_credit_is_a_function_of_the_difference():
    batch = free(trajectory(attempts=2))
    total = returns(batch)
    difference = np.stack([total[:, 0] - total[:, 1], total[:, 1] - total[:, 0]], 1)
    for credit, expected in (
        (LeaveOneOut(), difference),
        (LeaveOneOutToGo(), difference),
        (Centred(), difference / 2),
        (GroupRelative(eps=1e-12), np.sign(difference) / 2**0.5),
        (GroupRelative(eps=1e-12, ddof=0), np.sign(difference)),
    ):
        close(compute_credit(credit, batch)[:, :, 0, 0], expected, err_msg=str(credit))


@pytest.mark.parametrize("credit", [Centred(), LeaveOneOut(), GroupRelative(), BatchRelative()])
def test_credits_of_a_group_sum_to_zero(credit):
    close(compute_credit(credit, trajectory())[:, :, 0, 0].sum(1), 0.0)


def test_rounding_errors_give_no_credit():
    """In groups of equal returns, a deviation that is mere rounding would blow the credit up."""
    reward = np.random.default_rng(0).normal(size=(100, 1, 1)).astype(np.float32)
    batch = blank(100, 3, 1, 1, reward=np.repeat(reward, 3, axis=1))
    for credit in (
        GroupRelative(eps=1e-12),
        Centred(),
        LeaveOneOut(),
        BatchRelative(),
        *settings(Gigpo),
    ):
        assert not compute_credit(
            credit, batch, Value(batch.penalty, batch.penalty, np.float32(1))
        ).any(), credit
