"""Credits that compare an action with others taken in the same state by other attempts."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from agentic_rl.config import config
from agentic_rl.config.ranges import NonNegative, Weight
from agentic_rl.credit.group import Group
from agentic_rl.credit.returns import reward_to_go, token_rewards
from agentic_rl.types import Trajectory, Value


def standing(
    x: Float[Array, "N M"],
    anchor: Int[Array, "N M"],
    counts: Bool[Array, "N M"],
    scale: Literal["mean", "mean_std"],
) -> Float[Array, "N M"]:
    """`x` minus its mean over the entries of its row with the same anchor (over their sample standard deviation, if asked).

    0 for entries that have no equal; entries that do not count are no part of any group. Sorted, so that it takes M log M.
    """

    def of_row(x, anchor, counts):
        order = jnp.lexsort((anchor, ~counts))  # those that count first, by anchor
        x, anchor, counts = x[order], anchor[order], counts[order]
        is_new = jnp.concatenate(
            [jnp.ones(1, bool), (anchor[1:] != anchor[:-1]) | (counts[1:] != counts[:-1])]
        )
        group = jnp.cumsum(is_new) - 1
        x -= jax.ops.segment_min(x, group, len(x))[
            group
        ]  # so that equals are exactly 0, whatever this is divided by

        def total(y):
            return jax.ops.segment_sum(jnp.where(counts, y, 0.0), group, len(x))[group]

        size = jnp.maximum(total(jnp.ones_like(x)), 1)
        away = jnp.where(counts, x - total(x) / size, 0.0)
        if scale == "mean_std":
            away /= jnp.sqrt(total(away**2) / jnp.maximum(size - 1, 1)) + 1e-6
        return jnp.zeros_like(away).at[order].set(away)

    return jax.vmap(of_row)(x, anchor, counts)


@config
class Gigpo(Group):
    """Episode credit + omega · step credit: how the return, and the return from a state on, compare with other attempts'. (2505.10978)

    Its anchor is the task's state before the action; a state visited once has no step credit.
    """

    omega: NonNegative = 1.0  # weight of the step credit
    discount: Weight = 0.95  # per turn, of the return from a state on
    scale: Literal["mean", "mean_std"] = (
        "mean"  # whether both are divided by their groups' standard deviation
    )
    baseline: Literal["episodes", "turns"] = (
        "episodes"  # mean over what: the paper's; or each episode once per turn, as the code has it
    )

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """(Rᵢ − mean R)/F + omega · (Gᵢₜ − mean of G in the same state)/F, F = 1 or a standard deviation."""
        alive, gain = trajectory.mask.any(-1), token_rewards(trajectory).sum(-1)
        turns = jnp.where(alive, gain.sum(-1, keepdims=True), 0.0)
        counts = alive if self.baseline == "turns" else alive & (jnp.arange(alive.shape[-1]) == 0)
        same = jnp.zeros_like(trajectory.anchor)
        episode = self._compare(turns, same, counts)
        if self.baseline == "episodes":
            episode = jnp.broadcast_to(episode[..., :1], episode.shape)
        step = self._compare(reward_to_go(gain, self.discount), trajectory.anchor, alive)
        return jnp.where(alive, episode + self.omega * step, 0.0)

    def _compare(
        self, x: Float[Array, "N G T"], anchor: Int[Array, "N G T"], counts: Bool[Array, "N G T"]
    ) -> Float[Array, "N G T"]:
        flat = [y.reshape(len(y), -1) for y in (x, anchor, counts)]
        return standing(*flat, self.scale).reshape(x.shape)
