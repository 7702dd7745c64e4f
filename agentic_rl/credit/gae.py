"""Generalized advantage estimation over the tokens that the policy wrote."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from agentic_rl.config import config
from agentic_rl.types import Trajectory, Value


def gae(value: Value, mask: Bool[Array, "N G T A"], lambda_: Float[Array, ""] | float) -> Float[Array, "N G T A"]:
    """Âₜ = δₜ + γλ Âₜ₊₁ with δₜ = after − before, over unmasked tokens; 0 where masked. (1506.02438, eq. 16)

    Masked tokens are skipped: t+1 is the next token that the policy wrote, be it in the next turn.
    """
    by_token = [x.reshape(x.shape[:2] + (-1,)).transpose(2, 0, 1) for x in (value.after - value.before, mask)]

    def step(later, now):
        delta, valid = now
        advantage = jnp.where(valid, delta + value.discount * lambda_ * later, later)
        return advantage, jnp.where(valid, advantage, 0.0)

    advantage = jax.lax.scan(step, jnp.zeros_like(by_token[0][0]), tuple(by_token), reverse=True)[1]
    return advantage.transpose(1, 2, 0).reshape(mask.shape)


def whiten(x: Float[Array, "N G T A"], mask: Bool[Array, "N G T A"]) -> Float[Array, "N G T A"]:
    """`x` with mean 0 and standard deviation 1 over the batch's unmasked tokens."""
    count = mask.sum()
    mean = jnp.where(mask, x, 0.0).sum() / count
    variance = jnp.where(mask, (x - mean) ** 2, 0.0).sum() / count
    return jnp.where(mask, (x - mean) / jnp.sqrt(variance + 1e-8), 0.0)


@config
class GAE:
    """lambda_ 1: reward to go minus value, unbiased; 0: one-step TD error, as right as the critic is. (1506.02438)"""

    lambda_: float = 0.95
    whiten: bool = True  # normalise over the batch, as PPO does

    min_attempts: ClassVar[int] = 1
    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The advantage of each token."""
        advantage = gae(value, trajectory.mask, self.lambda_)
        return whiten(advantage, trajectory.mask) if self.whiten else advantage
