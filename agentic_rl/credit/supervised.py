"""Credits that make the credit-weighted log-likelihood a supervised loss.

All but `Imitation` use the reward: as a filter, as a word in the prompt, or as a weight.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Bound
from agentic_rl.credit import Credit
from agentic_rl.credit.returns import token_to_go
from agentic_rl.types import Trajectory, Value


@config
class Imitation(Credit):
    """The weight 1 for every action: cross-entropy on what was shown."""

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns 1 at every turn."""
        return jnp.ones_like(trajectory.reward)


@config
class SuccessOnly(Credit):
    """The weight 1 in successful episodes and 0 in others: imitation of one's own successes.
    (STaR, 2203.14465; ReST-EM, 2312.06585)
    """

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns 1 at each turn of a successful episode, else 0."""
        success = jnp.broadcast_to(trajectory.success[..., None], trajectory.reward.shape)
        return success.astype(trajectory.reward.dtype)


@config
class OutcomeConditioned(Credit):
    """The weight 1 for every action, with failed episodes read under a prompt that says FAIL.
    (Decision Transformer, 2106.01345; RvS, 2112.10751; Quark, 2205.13636)

    The usual prompt then asks for success: it is return-conditioned imitation with two levels of
    return.
    """

    tells_outcome: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns 1 at every turn."""
        return jnp.ones_like(trajectory.reward)


@config
class AdvantageWeighted(Credit):
    """The weight min(exp((Gₜ − Vₜ) / temperature), most), where Gₜ is the reward to go:
    imitation of what went better than expected. (AWR, 1910.00177, eq. 10)
    """

    temperature: Bound = 0.2  # small: only the best counts; large: imitation of all
    most: Bound = 20.0  # the weight's upper bound

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the weight of each token."""
        advantage = token_to_go(trajectory) - value.before
        return jnp.minimum(jnp.exp(advantage / self.temperature), self.most)
