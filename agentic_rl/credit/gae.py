"""Generalized advantage estimation (GAE) over the tokens that the policy wrote."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Positive, Weight
from agentic_rl.credit import Credit
from agentic_rl.credit.returns import whiten
from agentic_rl.types import Trajectory, Value


def gae(
    value: Value, mask: Bool[Array, "N G T A"], lambda_: Float[Array, "..."] | float
) -> Float[Array, "N G T A"]:
    """Returns Âₜ = δₜ + γλ Âₜ₊₁ with δₜ = after − before, and 0 where masked. (1506.02438, eq. 16)

    Masked tokens are skipped: t+1 is the next token that the policy wrote, in the same turn or in a
    later one.

    Args:
      lambda_: λ, one for all episodes or [N, G].
    """
    delta = value.after - value.before
    by_token = tuple(x.reshape(x.shape[:2] + (-1,)).transpose(2, 0, 1) for x in (delta, mask))

    def step(later, now):
        delta, valid = now
        advantage = jnp.where(valid, delta + value.discount * lambda_ * later, later)
        return advantage, jnp.where(valid, advantage, 0.0)

    advantage = jax.lax.scan(step, jnp.zeros_like(by_token[0][0]), by_token, reverse=True)[1]
    return advantage.transpose(1, 2, 0).reshape(mask.shape)


@config
class GAE(Credit):
    """GAE over tokens: Âₜ = Σₖ (γλ)ᵏ δₜ₊ₖ, where δₜ is the value after a token, its reward
    included, minus the value before it. (1506.02438, eq. 16)

    With lambda_ 1 it is the reward to go minus the value, which is unbiased. With lambda_ 0 it is
    the one-step TD error, which is as right as the values are.
    """

    lambda_: Weight = 0.95  # λ; 0: one-step differences of values, 1: returns minus values
    whiten: bool = True  # normalise over the batch, as PPO does

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the advantage of each token."""
        advantage = gae(value, trajectory.mask, self.lambda_)
        return whiten(advantage, trajectory.mask) if self.whiten else advantage


@config
class LengthAdaptiveGAE(Credit):
    """GAE over tokens with λ = 1 − 1 / (alpha · tokens of the episode), so that a reward reaches
    back over the same share of an episode of any length. (VAPO, 2504.05118)

    Episodes of 1/alpha tokens or fewer have λ = 0.
    """

    alpha: Positive = 0.05  # λ = 1 - 1 / (alpha · tokens of the episode)
    whiten: bool = True  # normalise over the batch

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the advantage of each token."""
        length = jnp.maximum(trajectory.mask.sum((2, 3)), 1)
        lambda_ = jnp.clip(1 - 1 / (self.alpha * length), 0.0, 1.0)
        advantage = gae(value, trajectory.mask, lambda_)
        return whiten(advantage, trajectory.mask) if self.whiten else advantage
