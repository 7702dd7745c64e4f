"""Success, return and accuracy of episodes, as functions of a Trajectory."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from agentic_rl.types import Trajectory


def matches_expert(trajectory: Trajectory) -> Bool[Array, "N G T"]:
    """Returns True where the whole action is the expert's, and False after the episode's end."""
    same_token = (trajectory.action == trajectory.label) | ~trajectory.mask
    same = same_token & (trajectory.mask == trajectory.label_mask)
    return same.all(-1) & trajectory.mask.any(-1)


def per_turn_accuracy(trajectory: Trajectory) -> Float[Array, ""]:
    """Returns the share of key decisions made as the expert would, up to an episode's first error.

    It is one minus the hazard: if it were constant, an episode of T key decisions would succeed
    with probability accuracy^T.
    """
    key, right = trajectory.is_key, matches_expert(trajectory)
    errors_so_far = jnp.cumsum(key & ~right, axis=-1) - (key & ~right)
    at_risk = key & (errors_so_far == 0)
    return (right & at_risk).sum() / jnp.maximum(at_risk.sum(), 1)


def episode_metrics(trajectory: Trajectory) -> dict[str, Float[Array, ""]]:
    """Returns the means over episodes of success, return, accuracy and turns.

    It adds the share of groups in which all returns are equal, and the mean number of tokens that
    the policy wrote in right and in wrong episodes (0 if there are none).
    """
    total, length = trajectory.reward.sum(-1), trajectory.mask.sum((2, 3))
    turns = trajectory.mask.any(-1).sum(-1)
    return {
        "success": trajectory.success.mean(),
        "return": total.mean(),
        "per_turn_accuracy": per_turn_accuracy(trajectory),
        "turns": turns.mean(),
        "zero_variance_groups": (total == total[:, :1]).all(1).mean(),
        "length_right": _mean(length, trajectory.success),
        "length_wrong": _mean(length, ~trajectory.success),
    }


def _mean(x: Num[Array, "N G"], where: Bool[Array, "N G"]) -> Float[Array, ""]:
    """Returns the mean where `where` holds; 0 if it holds nowhere."""
    return jnp.where(where, x, 0.0).sum() / jnp.maximum(where.sum(), 1)
