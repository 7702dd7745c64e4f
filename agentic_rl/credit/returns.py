"""Credits from one episode's rewards alone."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.types import Trajectory, Value


def reward_to_go(reward: Float[Array, "*batch T"], discount: Float[Array, ""] | float) -> Float[Array, "*batch T"]:
    """Gₜ = Σₖ γᵏ rₜ₊ₖ, the discounted sum of this and later turns' rewards."""

    def step(later, now):
        total = now + discount * later
        return total, total

    by_turn = jnp.moveaxis(reward, -1, 0)
    return jnp.moveaxis(jax.lax.scan(step, jnp.zeros_like(by_turn[0]), by_turn, reverse=True)[1], 0, -1)


@config
class RewardToGo:
    """Gₜ: an action is credited with what came after it, never with what came before. (REINFORCE: Williams 1992)"""

    discount: float = 1.0  # per turn

    min_attempts: ClassVar[int] = 1
    reads_value: ClassVar[bool] = False

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The reward to go of each turn."""
        return reward_to_go(trajectory.reward, self.discount)
