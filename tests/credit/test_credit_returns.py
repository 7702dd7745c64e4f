"""Credits from one episode's rewards alone, against their defining sums; and whitening."""

import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.credit.returns import EpisodeReturn, RewardToGo, whiten
from tests.batches import close, trajectory
from tests.credits import agrees, credited, to_go


@pytest.mark.parametrize("discount", [0.9, 1.0])
def test_reward_to_go_is_what_this_and_later_tokens_earned_discounted_by_turns(discount):
    agrees(
        RewardToGo(discount=discount),
        trajectory(),
        lambda i, places, gain: to_go(places, gain, discount),
    )


def test_episode_return_is_all_that_was_earned_whenever():
    agrees(EpisodeReturn(), trajectory(), lambda i, places, gain: [sum(gain)] * len(places))


def test_episode_return_is_reward_to_go_at_the_first_token():
    found, expected = credited(EpisodeReturn(), trajectory()), credited(RewardToGo(), trajectory())
    close(found[:, :, 0, 0], expected[:, :, 0, 0])
    assert np.abs(found - expected)[:, :, 1:].max() > 0.1


def test_whitening_reads_only_what_the_policy_wrote_and_survives_a_constant():
    made = trajectory()
    x, mask = jnp.asarray(5 + 3 * made.log_prob), jnp.asarray(made.mask)
    found = np.asarray(whiten(x, mask))
    close([found[made.mask].mean(), found[made.mask].std()], [0, 1])
    np.testing.assert_array_equal(whiten(jnp.where(mask, x, 99.0), mask), found)
    assert not np.asarray(whiten(jnp.full(mask.shape, 7.0), mask)).any()
