"""Credits from the progress that is made within an episode."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Finite
from agentic_rl.credit.group import Group, centred_returns
from agentic_rl.credit.returns import token_rewards
from agentic_rl.types import Trajectory, Value


@config
class ProcessAdvantage(Group):
    """The leave-one-out return plus alpha · the turn's advantage under another policy, the prover.
    (PAV, 2410.08146, eq. 5)

    The prover is the task's expert, whose value is the potential Φ: its advantage is r + Φ' − Φ.
    Added to the credit like this, the term is biased unless prover and policy are one. Summed to
    the end of the episode it is reward shaping, which is not biased (`--reward shaped`).
    """

    alpha: Finite = 1.0  # weight of the prover's advantage

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns the sum of both parts at each turn."""
        attempts, alive = trajectory.reward.shape[1], trajectory.mask.any(-1)
        prover = token_rewards(trajectory).sum(-1) + progress(trajectory)
        outcome = (centred_returns(trajectory) * attempts / (attempts - 1))[..., None]
        return jnp.where(alive, outcome + self.alpha * prover, 0.0)


def progress(
    trajectory: Trajectory, discount: Float[Array, ""] | float = 1.0
) -> Float[Array, "N G T"]:
    """Returns γ Φ(next state) − Φ(state) for every turn that was played.

    Φ is the task's potential, and 0 after the last turn.
    """
    potential = jnp.where(trajectory.mask.any(-1), trajectory.potential, 0.0)
    after = jnp.concatenate([potential[..., 1:], jnp.zeros_like(potential[..., :1])], axis=-1)
    return discount * after - potential
