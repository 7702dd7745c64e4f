"""Values after a token by those before, and the target that a critic learns."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import algorithms
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.training.experience import make_batch
from agentic_rl.values.critic import Critic
from tests.batches import close, episodes, free, trajectory
from tests.credits import RAW, compiled_values, credited, value_of
from tests.toys import compiled


@cache
def compiled_target():
    return compiled(lambda critic, value, mask: critic.target(value, mask))


def test_values_after_a_token_are_what_it_earned_and_the_discounted_value_before_the_next_one():
    made = trajectory()
    expected = value_of(made, discount=0.9)
    found = compiled_values()(np.where(made.mask, expected.before, 7.0), made, 0.9)
    jax.tree.map(close, found, expected)
    assert (
        not np.asarray(found.before)[~made.mask].any()
        and not np.asarray(found.after)[~made.mask].any()
    )


def test_the_critic_s_target_at_lambda_1_is_reward_to_go_and_at_lambda_0_the_value_after():
    made, value = trajectory(), value_of(trajectory())
    for lambda_, expected in ((1.0, credited(RewardToGo(), made)), (0.0, value.after)):
        close(
            np.where(made.mask, compiled_target()(Critic(lambda_=lambda_), value, made.mask), 0.0),
            expected,
        )


def test_without_discount_and_penalties_the_critic_s_target_at_lambda_1_is_the_same_for_all_tokens_of_a_turn():
    made = free(trajectory())
    target = np.asarray(compiled_target()(Critic(lambda_=1.0), value_of(made), made.mask))
    for i, places in episodes(made):
        close([target[i][p] for p in places], [target[i][t, 0] for t, _ in places])


def test_the_critic_s_target_does_not_depend_on_the_credit():
    made, value = (jax.tree.map(jnp.asarray, x) for x in (trajectory(), value_of(trajectory())))
    rows = [
        algorithms.swap(algorithms.PPO, credit=credit)
        for credit in (GAE(), GAE(lambda_=0.1, **RAW), RewardToGo())
    ]
    batches = [make_batch(row, made, value) for row in rows]
    for batch in batches[1:]:
        np.testing.assert_array_equal(batch.value_target, batches[0].value_target)
        assert not np.allclose(batch.credit, batches[0].credit)
