"""Credits from one episode's rewards against their defining sums, and whitening."""

import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.credit.returns import EpisodeReturn, RewardToGo, whiten
from tests.batches import close, trajectory
from tests.credits import assert_credit, compute_credit, to_go


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_reward_to_go_sums_this_and_later_tokens_discounted_by_turns(discount):
    assert_credit(
        RewardToGo(discount=discount),
        trajectory(),
        lambda i, places, gain: to_go(places, gain, discount),
    )


def test_episode_return_is_the_sum_of_all_rewards():
    assert_credit(EpisodeReturn(), trajectory(), lambda i, places, gain: [sum(gain)] * len(places))


def test_episode_return_is_reward_to_go_at_the_first_token():
    result, expected = (
        compute_credit(EpisodeReturn(), trajectory()),
        compute_credit(RewardToGo(), trajectory()),
    )
    close(result[:, :, 0, 0], expected[:, :, 0, 0])
    assert np.abs(result - expected)[:, :, 1:].max() > 0.1


def test_whitening_reads_only_unmasked_tokens_and_survives_a_constant():
    batch = trajectory()
    x, mask = jnp.asarray(5 + 3 * batch.log_prob), jnp.asarray(batch.mask)
    result = np.asarray(whiten(x, mask))
    close([result[batch.mask].mean(), result[batch.mask].std()], [0, 1])
    np.testing.assert_array_equal(whiten(jnp.where(mask, x, 99.0), mask), result)
    assert not np.asarray(whiten(jnp.full(mask.shape, 7.0), mask)).any()
