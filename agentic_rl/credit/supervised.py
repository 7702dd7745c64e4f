"""Credits that make the credit-weighted log-likelihood a supervised loss."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.types import Trajectory, Value


@config
class Imitation:
    """1 for every action: cross-entropy on what was shown."""

    min_attempts: ClassVar[int] = 1
    reads_value: ClassVar[bool] = False

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """All ones."""
        return jnp.ones_like(trajectory.reward)


@config
class SuccessOnly:
    """1 in successful episodes, 0 elsewhere: filtered imitation of oneself. (STaR, 2203.14465; ReST-EM, 2312.06585)"""

    min_attempts: ClassVar[int] = 1
    reads_value: ClassVar[bool] = False

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The verifier's verdict on the episode, at each of its turns."""
        return jnp.broadcast_to(trajectory.success[..., None], trajectory.reward.shape).astype(trajectory.reward.dtype)
