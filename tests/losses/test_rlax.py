"""GAE, λ-returns and the clipped surrogate against rlax, which knows single streams only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl.credit.gae import gae
from agentic_rl.credit.returns import token_rewards
from agentic_rl.credit.turns import turn_gae
from agentic_rl.losses.surrogates import ClippedRatio
from agentic_rl.values import from_state_values
from agentic_rl.values.critic import Critic
from tests.batches import close, episodes, trajectory
from tests.toys import compiled

rlax = pytest.importorskip("rlax", reason="rlax is not installed; the extra `outside` has it")

corners = pytest.mark.parametrize(
    "discount, lambda_", [(1.0, 1.0), (0.9, 0.95), (0.7, 0.0), (0.99, 0.5)]
)
seeds = pytest.mark.parametrize("seed", range(3))


@compiled
def gains(batch):
    return token_rewards(batch)


@compiled
def ours(critic, batch, before):
    """Returns our advantages and the critic's targets, per token [N, G, T, A]."""
    value = from_state_values(before, token_rewards(batch), batch.mask, critic.discount)
    return gae(value, batch.mask, critic.lambda_), critic.target(value, batch.mask)


@compiled
def ours_by_turn(gain, before, alive, discount, lambda_):
    return turn_gae(gain, before, alive, discount, lambda_)


@compiled
@jax.vmap
def theirs(gain, discount, value, lambda_):
    """Returns rlax's advantages and λ-returns of streams [E, L]; the value after the end is 0."""
    value = jnp.append(value, 0.0)
    advantage = rlax.truncated_generalized_advantage_estimation(gain, discount, lambda_, value)
    return advantage, rlax.lambda_returns(gain, discount, value[1:], lambda_)


def values(batch, seed):
    """Returns random values, also at masked tokens."""
    return np.random.default_rng(seed).normal(size=batch.mask.shape).astype(np.float32)


def streams(x, of):
    """Returns each episode's entries at its places, without gaps and filled up with zeros."""
    most = max(len(places) for _, places in of)
    return np.float32(
        [[x[i][place] for place in places] + [0.0] * (most - len(places)) for i, places in of]
    )


def discounts(of, discount):
    """Returns the discount between the places of each episode, and 0 after the last."""
    most = max(len(places) for _, places in of)
    return np.float32(
        [[discount] * (len(places) - 1) + [0.0] * (most - len(places) + 1) for _, places in of]
    )


def compare(gain, before, of, discount, lambda_):
    """Returns what rlax computes from the streams of these episodes."""
    return theirs(
        streams(gain, of),
        discounts(of, discount),
        streams(before, of),
        np.full(len(of), lambda_, np.float32),
    )


@seeds
@corners
def test_advantages_of_tokens_and_critic_targets_are_those_of_rlax(seed, discount, lambda_):
    batch = trajectory(seed)
    before, of = values(batch, seed), list(episodes(batch))
    for x, expected in zip(
        ours(Critic(discount, lambda_), batch, before),
        compare(np.asarray(gains(batch)), before, of, discount, lambda_),
    ):
        close(streams(np.asarray(x), of), expected)


@seeds
@corners
def test_advantages_of_turns_are_those_of_rlax_with_a_turn_as_its_step(seed, discount, lambda_):
    batch = trajectory(seed)
    gain, before, alive = (
        np.asarray(gains(batch)).sum(-1),
        values(batch, seed)[..., 0],
        batch.mask.any(-1),
    )
    of = [(i, list(np.flatnonzero(alive[i]))) for i in np.ndindex(alive.shape[:2])]
    result = ours_by_turn(gain, before, alive, discount, lambda_)
    close(streams(np.asarray(result), of), compare(gain, before, of, discount, lambda_)[0])


@pytest.mark.parametrize("clip", [0.2, 0.05])
def test_the_clipped_surrogate_and_its_gradient_are_rlax_s(clip):
    shape, random = (4, 5, 2), jax.random.normal(jax.random.key(0), (3, 40))
    old, drift, credit = random[0], 0.3 * random[1], random[2]
    surrogate, mask = ClippedRatio(clip_low=clip, clip_high=clip), jnp.ones(shape, bool)

    def our_loss(log_prob):
        return -surrogate(*(x.reshape(shape) for x in (log_prob, old, credit)), mask).mean()

    def their_loss(log_prob):
        return rlax.clipped_surrogate_pg_loss(jnp.exp(log_prob - old), credit, clip)

    result, expected = (jax.value_and_grad(loss)(old + drift) for loss in (our_loss, their_loss))
    close(result[0], expected[0])
    close(result[1], expected[1])
    assert 0 < (result[1] == 0).sum() < 40, "nothing was clipped, or everything"
