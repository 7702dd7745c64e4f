"""Credits that compare an episode with the other attempts at the same problem; every turn of an episode gets the same."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.types import Trajectory, Value


def _per_turn(credit: Float[Array, "N G"], trajectory: Trajectory) -> Float[Array, "N G T"]:
    return jnp.broadcast_to(credit[..., None], trajectory.reward.shape)


@config
class LeaveOneOut:
    """Rᵢ − mean of the other attempts' returns, an unbiased baseline. (RLOO: Kool et al. 2019; Ahmadian et al., 2402.14740, eq. 7)"""

    min_attempts: ClassVar[int] = 2
    reads_value: ClassVar[bool] = False

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """G/(G−1) · (Rᵢ − mean R)."""
        total = trajectory.reward.sum(-1)
        attempts = total.shape[1]
        return _per_turn((total - total.mean(1, keepdims=True)) * attempts / (attempts - 1), trajectory)


@config
class GroupRelative:
    """(Rᵢ − mean R) / (std R + eps) within the group. (GRPO: DeepSeekMath, 2402.03300, section 4.1.2)

    Dividing by the standard deviation weighs problems by E[std]/(p(1−p)): a bias towards the very easy and the very hard.
    (Dr. GRPO, 2503.20783)
    """

    eps: float = 1e-4  # added to the standard deviation
    ddof: int = 1  # 1: sample standard deviation (TRL, verl, Tunix); 0: population

    min_attempts: ClassVar[int] = 2
    reads_value: ClassVar[bool] = False

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The standardised return; 0 where all attempts fared alike."""
        total = trajectory.reward.sum(-1)
        centred = total - total.mean(1, keepdims=True)
        return _per_turn(centred / (total.std(1, keepdims=True, ddof=self.ddof) + self.eps), trajectory)
