"""The credits of supervised learning against their definitions."""

import numpy as np

from agentic_rl.credit.returns import EpisodeReturn, RewardToGo
from agentic_rl.credit.supervised import (
    AdvantageWeighted,
    Imitation,
    OutcomeConditioned,
    SuccessOnly,
)
from tests.batches import close, terminal, trajectory
from tests.credits import assert_credit, assert_equal_credits, compute_credit, random_values, to_go


def test_imitation_is_1_whether_the_outcome_is_told_or_not():
    for credit in (Imitation(), OutcomeConditioned()):
        close(compute_credit(credit, trajectory()), trajectory().mask)
    assert OutcomeConditioned().tells_outcome and not Imitation().tells_outcome


def test_success_only_is_the_verdict():
    batch = trajectory()
    close(compute_credit(SuccessOnly(), batch), batch.mask * batch.success[..., None, None])


def test_success_only_is_the_return_where_success_alone_is_rewarded():
    batch = terminal(trajectory())
    assert 0 < batch.success.mean() < 1
    np.testing.assert_array_equal(
        compute_credit(SuccessOnly(), batch), compute_credit(RewardToGo(), batch)
    )
    np.testing.assert_array_equal(
        compute_credit(SuccessOnly(), batch), compute_credit(EpisodeReturn(), batch)
    )


def test_advantage_weighted_is_the_bounded_exponential_of_the_advantage():
    batch, value = trajectory(), random_values(trajectory())

    def expected(i, places, gain):
        better = [g - value.before[i][p] for g, p in zip(to_go(places, gain), places)]
        return [min(np.exp(x / 0.5), 3.0) for x in better]

    assert_credit(AdvantageWeighted(temperature=0.5, most=3.0), batch, expected, value)
    assert (
        0.1
        < (
            compute_credit(AdvantageWeighted(temperature=0.5, most=3.0), batch, value)[batch.mask]
            == 3.0
        ).mean()
        < 0.9
    )


def test_advantage_weighted_is_imitation_at_a_high_temperature():
    assert_equal_credits(AdvantageWeighted(temperature=1e6), Imitation())
