"""Credits that make the credit-weighted log-likelihood a supervised loss; the last three use the reward, as a filter, a word, a weight."""

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
    """1 for every action: cross-entropy on what was shown."""

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """All ones."""
        return jnp.ones_like(trajectory.reward)


@config
class SuccessOnly(Credit):
    """1 in successful episodes, 0 elsewhere: filtered imitation of oneself. (STaR, 2203.14465; ReST-EM, 2312.06585)"""

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The verifier's verdict on the episode, at each of its turns."""
        return jnp.broadcast_to(trajectory.success[..., None], trajectory.reward.shape).astype(
            trajectory.reward.dtype
        )


@config
class OutcomeConditioned(Credit):
    """1 for every action, but failed episodes are read under a prompt that says FAIL, so that the usual prompt asks for success.

    Return-conditioned imitation with two levels of return. (Decision Transformer, 2106.01345; RvS, 2112.10751; Quark, 2205.13636)
    """

    tells_outcome: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """All ones."""
        return jnp.ones_like(trajectory.reward)


@config
class AdvantageWeighted(Credit):
    """min(exp((G − V) / temperature), most): imitation of what went better than expected. (AWR, 1910.00177, eq. 10)"""

    temperature: Bound = 0.2  # small: only the best counts; large: imitation of all
    most: Bound = 20.0  # the weight's upper bound

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The weight of each token."""
        return jnp.minimum(
            jnp.exp((token_to_go(trajectory) - value.before) / self.temperature), self.most
        )
