"""Credits that compare an episode with the other attempts, against their defining sums; and how they are related."""

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
from tests.credits import agrees, credited, others, same, to_go


def test_leave_one_out_compares_with_the_mean_of_the_others():
    total = returns(trajectory())
    agrees(
        LeaveOneOut(),
        trajectory(),
        lambda i, places, gain: [total[i] - np.mean([total[j] for j in others(i)])] * len(places),
    )


def test_leave_one_out_to_go_compares_with_the_others_that_still_play_at_the_start_of_their_turn():
    made = trajectory()
    written = {
        i: dict(zip(places, to_go(places, gains(made, i, places)))) for i, places in episodes(made)
    }

    def baseline(i, t):
        peers = [written[j][t, 0] for j in others(i) if (t, 0) in written[j]]
        return np.mean(peers) if peers else 0.0

    agrees(
        LeaveOneOutToGo(),
        made,
        lambda i, places, gain: [written[i][p] - baseline(i, p[0]) for p in places],
    )
    assert any(
        len([j for j in others(i) if (t, 0) in written[j]]) == 0
        for i in written
        for t, _ in written[i]
    )


def test_centred_is_the_return_minus_the_group_s_mean():
    total = returns(trajectory())
    agrees(
        Centred(),
        trajectory(),
        lambda i, places, gain: [total[i] - sum(total[i[0]]) / G] * len(places),
    )


@pytest.mark.parametrize("ddof", [0, 1])
def test_group_relative_is_the_centred_return_over_the_group_s_standard_deviation(ddof):
    total = returns(trajectory())

    def expected(i, places, gain):
        mean = sum(total[i[0]]) / G
        std = (sum((r - mean) ** 2 for r in total[i[0]]) / (G - ddof)) ** 0.5
        return [(total[i] - mean) / (std + 0.01)] * len(places)

    agrees(GroupRelative(eps=0.01, ddof=ddof), trajectory(), expected)


def test_batch_relative_is_the_centred_return_over_the_sample_deviation_of_all_returns_of_the_batch():
    total = returns(trajectory())
    std = (((total - total.sum() / (N * G)) ** 2).sum() / (N * G - 1)) ** 0.5
    agrees(
        BatchRelative(eps=0.01),
        trajectory(),
        lambda i, places, gain: [(total[i] - sum(total[i[0]]) / G) / (std + 0.01)] * len(places),
    )


def test_length_weighted_is_the_return_minus_the_group_s_mean_over_tokens():
    made, total = trajectory(), returns(trajectory())

    def expected(i, places, gain):
        of_each_token = [total[i[0], j] for j in range(G) for _ in range(made.mask[i[0], j].sum())]
        return [total[i] - np.mean(of_each_token)] * len(places)

    agrees(LengthWeighted(), made, expected)


def test_optimal_token_weighs_each_number_of_token_s_reward_to_go_by_the_squared_gradients_so_far_unless_alone():
    made = trajectory()
    after, weight = {}, {}
    for i, places in episodes(made):
        square = [1 - 2 * np.exp(made.log_prob[i][p]) + made.collision[i][p] for p in places]
        weight[i] = [sum(square[: k + 1]) for k in range(len(places))]
        after[i] = to_go(places, gains(made, i, places))

    def baseline(n, k):
        peers = [(n, j) for j in range(G) if len(after[n, j]) > k]
        return (
            sum(weight[j][k] * after[j][k] for j in peers) / sum(weight[j][k] for j in peers)
            if len(peers) > 1
            else 0.0
        )

    agrees(
        OptimalToken(),
        made,
        lambda i, places, gain: [g - baseline(i[0], k) for k, g in enumerate(after[i])],
    )
    lengths = np.sort(made.mask.sum((2, 3)))
    assert (lengths[:, -1] > lengths[:, -2]).any()


def test_leave_one_out_is_the_centred_return_times_g_over_g_minus_1():
    close(credited(LeaveOneOut(), trajectory()), G / (G - 1) * credited(Centred(), trajectory()))


def test_leave_one_out_to_go_is_leave_one_out_at_the_start_and_with_a_reward_at_the_end_only_where_all_still_play():
    made = trajectory()
    close(credited(LeaveOneOutToGo(), made)[:, :, 0, 0], credited(LeaveOneOut(), made)[:, :, 0, 0])
    made = free(made)
    close(credited(LeaveOneOutToGo(), made)[:, :, 0], credited(LeaveOneOut(), made)[:, :, 0])
    same(LeaveOneOutToGo(), LeaveOneOut(), terminal(full(made)))


def test_group_relative_is_leave_one_out_over_a_positive_number_shared_by_the_group():
    made = trajectory()
    ratio = credited(LeaveOneOut(), made)[..., 0, 0] / credited(GroupRelative(), made)[..., 0, 0]
    assert (ratio > 0).all() and np.ptp(ratio.mean(1)) > 0.1
    close(ratio, np.broadcast_to(ratio[:, :1], ratio.shape))


def test_with_the_population_s_deviation_the_credit_of_four_attempts_is_15_percent_larger_than_with_the_sample_s():
    population, sample = (
        credited(GroupRelative(eps=1e-12, ddof=ddof), trajectory()) for ddof in (0, 1)
    )
    close(population, sample * (G / (G - 1)) ** 0.5)
    assert (G / (G - 1)) ** 0.5 == pytest.approx(1.155, abs=1e-3)


def test_batch_relative_is_the_centred_return_over_one_number_and_group_relative_over_one_of_each_group():
    made = trajectory()
    centred = credited(Centred(), made)[..., 0, 0]
    of_batch, of_group = (
        centred / credited(credit, made)[..., 0, 0] for credit in (BatchRelative(), GroupRelative())
    )
    close(of_batch, of_batch[0, 0])
    assert np.ptp(of_group) > 0.1


def test_length_weighted_is_centred_where_all_episodes_are_equally_long_and_only_there():
    same(LengthWeighted(), Centred(), full(trajectory()))
    assert (
        np.abs(credited(LengthWeighted(), trajectory()) - credited(Centred(), trajectory())).max()
        > 0.05
    )


def test_optimal_token_is_centred_where_all_weights_are_equal_and_all_is_earned_at_the_end():
    made = terminal(full(trajectory()))
    same(
        OptimalToken(),
        Centred(),
        made._replace(
            log_prob=np.full_like(made.log_prob, -1.0), collision=np.full_like(made.collision, 0.3)
        ),
    )


def test_in_a_group_of_two_leave_one_out_is_the_difference_centred_its_half_and_group_relative_its_sign():
    made = free(trajectory(attempts=2))
    total = returns(made)
    difference = np.stack([total[:, 0] - total[:, 1], total[:, 1] - total[:, 0]], 1)
    for credit, expected in (
        (LeaveOneOut(), difference), (LeaveOneOutToGo(), difference), (Centred(), difference / 2),
        (GroupRelative(eps=1e-12), np.sign(difference) / 2**0.5), (GroupRelative(eps=1e-12, ddof=0), np.sign(difference)),
    ):  # fmt: skip
        close(credited(credit, made)[:, :, 0, 0], expected, err_msg=str(credit))


@pytest.mark.parametrize("credit", [Centred(), LeaveOneOut(), GroupRelative(), BatchRelative()])
def test_credits_of_a_group_sum_to_zero(credit):
    close(credited(credit, trajectory())[:, :, 0, 0].sum(1), 0.0)


def test_rounding_is_no_credit():
    """A hundred groups of three that fared exactly alike; a standard deviation of nothing but rounding would make much of it."""
    reward = np.random.default_rng(0).normal(size=(100, 1, 1)).astype(np.float32)
    made = blank(100, 3, 1, 1, reward=np.repeat(reward, 3, axis=1))
    for credit in (
        GroupRelative(eps=1e-12),
        Centred(),
        LeaveOneOut(),
        BatchRelative(),
        *settings(Gigpo),
    ):
        assert not credited(credit, made, Value(made.penalty, made.penalty, np.float32(1))).any(), (
            credit
        )
