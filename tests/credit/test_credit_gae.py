"""GAE over tokens against its defining sum, and what it is at lambda 0 and 1."""

import jax.numpy as jnp
import pytest

from agentic_rl.credit.gae import GAE, LengthAdaptiveGAE, gae
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.types import Value
from tests.batches import A, T, close, full, trajectory
from tests.credits import (
    RAW,
    assert_credit,
    assert_equal_credits,
    compute_credit,
    random_values,
    td_sum,
)


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95, 1.0])
def test_gae_is_the_sum_of_discounted_td_errors_over_the_tokens_written(lambda_):
    value = random_values(trajectory(), discount=0.9)
    credit = GAE(lambda_=lambda_, **RAW)
    assert_credit(
        credit,
        trajectory(),
        lambda i, places, gain: td_sum(gain, [value.before[i][p] for p in places], 0.9, lambda_),
        value,
    )


def test_length_adaptive_gae_is_gae_with_lambda_by_length():
    value = random_values(trajectory(), discount=0.9)

    def expected(i, places, gain):
        return td_sum(
            gain, [value.before[i][p] for p in places], 0.9, max(0.0, 1 - 1 / (0.4 * len(places)))
        )

    assert_credit(LengthAdaptiveGAE(alpha=0.4, **RAW), trajectory(), expected, value)
    assert {1, 2} & set(trajectory().mask.sum((2, 3)).flat) and trajectory().mask.sum(
        (2, 3)
    ).max() > 5


def test_gae_is_reward_to_go_minus_value_or_the_td_error():
    batch, value = trajectory(), random_values(trajectory())
    close(
        compute_credit(GAE(lambda_=1.0, **RAW), batch, value),
        compute_credit(RewardToGo(), batch) - value.before,
    )
    close(compute_credit(GAE(lambda_=0.0, **RAW), batch, value), value.after - value.before)


def test_length_adaptive_gae_is_gae_where_all_episodes_are_equally_long():
    batch = full(trajectory())
    assert_equal_credits(
        LengthAdaptiveGAE(alpha=0.5, **RAW),
        GAE(lambda_=1 - 1 / (0.5 * T * A), **RAW),
        batch,
        random_values(batch, discount=0.9),
    )


def without_padding(batch, value, i):
    """Returns GAE of one episode without its padding, as a single turn of all its tokens."""
    before, after = (
        jnp.asarray(x[i][batch.mask[i]])[None, None, None] for x in (value.before, value.after)
    )
    return gae(Value(before, after, value.discount), jnp.ones(before.shape, bool), 0.5)[0, 0, 0]


def test_gae_skips_padding_as_if_it_were_not_there():
    batch = trajectory()
    value = random_values(batch, discount=0.9)
    result = compute_credit(GAE(lambda_=0.5, **RAW), batch, value)
    for i in [(0, 0), (0, 1), (1, 2), (2, 3)]:
        assert not batch.mask[i].all()
        close(result[i][batch.mask[i]], without_padding(batch, value, i))
