"""Credits that hear of progress within the episode."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Finite
from agentic_rl.credit.group import Group, centred_returns
from agentic_rl.credit.returns import token_rewards
from agentic_rl.types import Trajectory, Value


@config
class ProcessAdvantage(Group):
    """Leave-one-out return + alpha · the turn's advantage under another policy, the prover. (PAV, 2410.08146, eq. 5)

    The prover is the task's expert, whose value is the potential: its advantage is r + Φ' − Φ. Added to the credit like this it is
    biased, unless prover and policy are one; summed to the end of the episode it is shaping, which is not. (`--reward shaped`)
    """

    alpha: Finite = 1.0

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Both parts, at each turn."""
        attempts, alive = trajectory.reward.shape[1], trajectory.mask.any(-1)
        prover = token_rewards(trajectory).sum(-1) + progress(trajectory)
        return jnp.where(
            alive,
            (centred_returns(trajectory) * attempts / (attempts - 1))[..., None]
            + self.alpha * prover,
            0.0,
        )


def progress(
    trajectory: Trajectory, discount: Float[Array, ""] | float = 1.0
) -> Float[Array, "N G T"]:
    """γ Φ(next state) − Φ(state) of every turn that was played; after the last one Φ is 0."""
    potential = jnp.where(trajectory.mask.any(-1), trajectory.potential, 0.0)
    after = jnp.concatenate([potential[..., 1:], jnp.zeros_like(potential[..., :1])], axis=-1)
    return discount * after - potential
