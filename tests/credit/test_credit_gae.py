"""Generalized advantage estimation over tokens, against its defining sum; and what it is at the ends of lambda."""

import jax.numpy as jnp
import pytest

from agentic_rl.credit.gae import GAE, LengthAdaptiveGAE, gae
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.types import Value
from tests.batches import A, T, close, full, trajectory
from tests.credits import RAW, agrees, credited, same, td_sum, value_of


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
def test_gae_is_the_sum_of_discounted_td_errors_over_the_tokens_written(lambda_):
    value = value_of(trajectory(), discount=0.9)
    credit = GAE(lambda_=lambda_, **RAW)
    agrees(
        credit,
        trajectory(),
        lambda i, places, gain: td_sum(gain, [value.before[i][p] for p in places], 0.9, lambda_),
        value,
    )


def test_length_adaptive_gae_is_gae_whose_lambda_nears_1_as_the_episode_gets_longer():
    value = value_of(trajectory(), discount=0.9)

    def expected(i, places, gain):
        return td_sum(
            gain, [value.before[i][p] for p in places], 0.9, max(0.0, 1 - 1 / (0.4 * len(places)))
        )

    agrees(LengthAdaptiveGAE(alpha=0.4, **RAW), trajectory(), expected, value)
    assert {1, 2} & set(trajectory().mask.sum((2, 3)).flat) and trajectory().mask.sum(
        (2, 3)
    ).max() > 5


def test_gae_with_lambda_1_is_reward_to_go_minus_value_and_with_lambda_0_the_td_error():
    made, value = trajectory(), value_of(trajectory())
    close(
        credited(GAE(lambda_=1.0, **RAW), made, value), credited(RewardToGo(), made) - value.before
    )
    close(credited(GAE(lambda_=0.0, **RAW), made, value), value.after - value.before)


def test_length_adaptive_gae_is_gae_where_all_episodes_are_equally_long():
    made = full(trajectory())
    same(
        LengthAdaptiveGAE(alpha=0.5, **RAW),
        GAE(lambda_=1 - 1 / (0.5 * T * A), **RAW),
        made,
        value_of(made, discount=0.9),
    )


def without_padding(made, value, i):
    """GAE of one episode whose padding was cut out: a single turn of all its tokens."""
    before, after = (
        jnp.asarray(x[i][made.mask[i]])[None, None, None] for x in (value.before, value.after)
    )
    return gae(Value(before, after, value.discount), jnp.ones(before.shape, bool), 0.5)[0, 0, 0]


def test_gae_skips_padding_as_if_it_were_not_there():
    made = trajectory()
    value = value_of(made, discount=0.9)
    found = credited(GAE(lambda_=0.5, **RAW), made, value)
    for i in [(0, 0), (0, 1), (1, 2), (2, 3)]:
        assert not made.mask[i].all()
        close(found[i][made.mask[i]], without_padding(made, value, i))
