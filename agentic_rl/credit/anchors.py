"""Credits that compare an action with those that other attempts took in the same state."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from agentic_rl.config import config
from agentic_rl.config.ranges import NonNegative, Weight
from agentic_rl.credit.group import Group
from agentic_rl.credit.returns import reward_to_go, token_rewards
from agentic_rl.types import Trajectory, Value

Scale = Literal["mean", "mean_std"]


def centre_by_anchor(
    x: Float[Array, "N M"],
    anchor: Int[Array, "N M"],
    counts: Bool[Array, "N M"],
    scale: Scale,
) -> Float[Array, "N M"]:
    """Returns `x` minus its mean over the problem's entries with the same anchor.

    It is 0 for an entry that is alone. The entries are sorted, so that it takes M log M steps.

    Args:
      counts: False for entries that belong to no group.
      scale: "mean_std" divides by the sample standard deviation of the same entries.
    """

    def centre(x, anchor, counts):
        order = jnp.lexsort((anchor, ~counts))  # entries that count come first, by anchor
        x, anchor, counts = x[order], anchor[order], counts[order]
        is_new = (anchor[1:] != anchor[:-1]) | (counts[1:] != counts[:-1])
        group = jnp.cumsum(jnp.concatenate([jnp.ones(1, bool), is_new])) - 1
        # Equal entries become exactly 0, whatever they are divided by.
        x -= jax.ops.segment_min(x, group, len(x))[group]

        def total(y):
            return jax.ops.segment_sum(jnp.where(counts, y, 0.0), group, len(x))[group]

        size = jnp.maximum(total(jnp.ones_like(x)), 1)
        centred = jnp.where(counts, x - total(x) / size, 0.0)
        if scale == "mean_std":
            centred /= jnp.sqrt(total(centred**2) / jnp.maximum(size - 1, 1)) + 1e-6
        return jnp.zeros_like(centred).at[order].set(centred)

    return jax.vmap(centre)(x, anchor, counts)


@config
class Gigpo(Group):
    """Episode credit plus omega · step credit, (Rᵢ − mean R) / F + omega · (Gᵢₜ − mean of G in the
    same state) / F, where F is 1 or the standard deviation of the same returns.
    (GiGPO, 2505.10978, eq. 3 to 9)

    States are the same if their anchor is. A state that was visited once has no step credit.
    """

    omega: NonNegative = 1.0  # weight of the step credit
    discount: Weight = 0.95  # per turn, of the return from a state on
    # whether both are divided by their groups' standard deviation
    scale: Scale = "mean"
    # mean of R over episodes, as in the paper, or over each episode's turns, as in its code
    baseline: Literal["episodes", "turns"] = "episodes"

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns the sum of both credits at each turn."""
        alive, gain = trajectory.mask.any(-1), token_rewards(trajectory).sum(-1)
        total = jnp.where(alive, gain.sum(-1, keepdims=True), 0.0)
        counts = alive if self.baseline == "turns" else alive & (jnp.arange(alive.shape[-1]) == 0)
        episode = self._centre(total, jnp.zeros_like(trajectory.anchor), counts)
        if self.baseline == "episodes":
            episode = jnp.broadcast_to(episode[..., :1], episode.shape)
        step = self._centre(reward_to_go(gain, self.discount), trajectory.anchor, alive)
        return jnp.where(alive, episode + self.omega * step, 0.0)

    def _centre(
        self, x: Float[Array, "N G T"], anchor: Int[Array, "N G T"], counts: Bool[Array, "N G T"]
    ) -> Float[Array, "N G T"]:
        flat = [y.reshape(len(y), -1) for y in (x, anchor, counts)]
        return centre_by_anchor(*flat, self.scale).reshape(x.shape)
