"""Generalized advantage estimation over the tokens that the policy wrote."""

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
    """Âₜ = δₜ + γλ Âₜ₊₁ with δₜ = after − before, over unmasked tokens; 0 where masked. (1506.02438, eq. 16)

    Masked tokens are skipped: t+1 is the next token that the policy wrote, be it in the next turn. `lambda_`: one, or [N, G].
    """
    by_token = [
        x.reshape(x.shape[:2] + (-1,)).transpose(2, 0, 1)
        for x in (value.after - value.before, mask)
    ]

    def step(later, now):
        delta, valid = now
        advantage = jnp.where(valid, delta + value.discount * lambda_ * later, later)
        return advantage, jnp.where(valid, advantage, 0.0)

    advantage = jax.lax.scan(step, jnp.zeros_like(by_token[0][0]), tuple(by_token), reverse=True)[1]
    return advantage.transpose(1, 2, 0).reshape(mask.shape)


@config
class GAE(Credit):
    """lambda_ 1: reward to go minus value, unbiased; 0: one-step TD error, as right as the critic is. (1506.02438)"""

    lambda_: Weight = 0.95
    whiten: bool = True  # normalise over the batch, as PPO does

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The advantage of each token."""
        advantage = gae(value, trajectory.mask, self.lambda_)
        return whiten(advantage, trajectory.mask) if self.whiten else advantage


@config
class LengthAdaptiveGAE(Credit):
    """GAE whose λ = 1 − 1 / (α · tokens of the episode): a reward reaches equally far back, however long it is. (VAPO, 2504.05118)

    Episodes of 1/α tokens or fewer have λ = 0.
    """

    alpha: Positive = 0.05
    whiten: bool = True  # normalise over the batch

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The advantage of each token."""
        length = jnp.maximum(trajectory.mask.sum((2, 3)), 1)
        advantage = gae(value, trajectory.mask, jnp.clip(1 - 1 / (self.alpha * length), 0.0, 1.0))
        return whiten(advantage, trajectory.mask) if self.whiten else advantage
