"""The value after a token, and the target that a critic learns."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import algorithms
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.training.batch import make_batch
from agentic_rl.values.critic import Critic
from tests.batches import close, episodes, free, trajectory
from tests.credits import RAW, compiled_values, compute_credit, random_values
from tests.toys import compiled


@cache
def compiled_target():
    return compiled(lambda critic, value, mask: critic.target(value, mask))


def test_the_value_after_a_token_is_its_gain_plus_discounted_next_value():
    sample = trajectory()
    expected = random_values(sample, discount=0.9)
    result = compiled_values()(np.where(sample.mask, expected.before, 7.0), sample, 0.9)
    jax.tree.map(close, result, expected)
    assert (
        not np.asarray(result.before)[~sample.mask].any()
        and not np.asarray(result.after)[~sample.mask].any()
    )


def test_the_critic_s_target_is_reward_to_go_or_the_value_after():
    sample, value = trajectory(), random_values(trajectory())
    for lambda_, expected in ((1.0, compute_credit(RewardToGo(), sample)), (0.0, value.after)):
        close(
            np.where(
                sample.mask, compiled_target()(Critic(lambda_=lambda_), value, sample.mask), 0.0
            ),
            expected,
        )


def test_without_discount_and_penalties_a_turn_s_tokens_share_their_target():
    sample = free(trajectory())
    target = np.asarray(compiled_target()(Critic(lambda_=1.0), random_values(sample), sample.mask))
    for i, places in episodes(sample):
        close([target[i][p] for p in places], [target[i][t, 0] for t, _ in places])


def test_the_critic_s_target_does_not_depend_on_the_credit():
    sample, value = (
        jax.tree.map(jnp.asarray, x) for x in (trajectory(), random_values(trajectory()))
    )
    variants = [
        algorithms.swap(algorithms.PPO, credit=credit)
        for credit in (GAE(), GAE(lambda_=0.1, **RAW), RewardToGo())
    ]
    batches = [make_batch(variant, sample, value) for variant in variants]
    for batch in batches[1:]:
        np.testing.assert_array_equal(batch.value_target, batches[0].value_target)
        assert not np.allclose(batch.credit, batches[0].credit)
