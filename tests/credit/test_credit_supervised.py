"""Credits of supervised learning, against their definitions."""

import numpy as np

from agentic_rl.credit.returns import EpisodeReturn, RewardToGo
from agentic_rl.credit.supervised import (
    AdvantageWeighted,
    Imitation,
    OutcomeConditioned,
    SuccessOnly,
)
from tests.batches import close, terminal, trajectory
from tests.credits import agrees, credited, same, to_go, value_of


def test_imitation_is_1_be_the_outcome_told_or_not():
    for credit in (Imitation(), OutcomeConditioned()):
        close(credited(credit, trajectory()), trajectory().mask)
    assert OutcomeConditioned().tells_outcome and not Imitation().tells_outcome


def test_success_only_is_the_verdict():
    made = trajectory()
    close(credited(SuccessOnly(), made), made.mask * made.success[..., None, None])


def test_success_only_is_the_return_where_success_alone_is_rewarded_at_the_end():
    made = terminal(trajectory())
    assert 0 < made.success.mean() < 1
    np.testing.assert_array_equal(credited(SuccessOnly(), made), credited(RewardToGo(), made))
    np.testing.assert_array_equal(credited(SuccessOnly(), made), credited(EpisodeReturn(), made))


def test_advantage_weighted_is_the_bounded_exponential_of_what_went_better_than_expected():
    made, value = trajectory(), value_of(trajectory())

    def expected(i, places, gain):
        better = [g - value.before[i][p] for g, p in zip(to_go(places, gain), places)]
        return [min(np.exp(x / 0.5), 3.0) for x in better]

    agrees(AdvantageWeighted(temperature=0.5, most=3.0), made, expected, value)
    assert (
        0.1
        < (
            credited(AdvantageWeighted(temperature=0.5, most=3.0), made, value)[made.mask] == 3.0
        ).mean()
        < 0.9
    )


def test_advantage_weighted_is_imitation_at_a_high_temperature():
    same(AdvantageWeighted(temperature=1e6), Imitation())
