"""The objectives that an estimator may follow, and their exact gradients on the enumerated task."""

import math
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from agentic_rl.credit.group import GroupRelative
from agentic_rl.credit.returns import reward_to_go, token_rewards
from agentic_rl.types import Trajectory
from experiments.ground_truth.enumeration import Enumeration, enumerate_task, predict, quickly

BETA = 0.5  # weight of the KL in the objectives that have one
DISCOUNT = 0.95  # of the discounted objective


def group_weight(attempts: int, p: float, eps: float = 0.0, ddof: int = 0) -> float:
    """Returns c(p), the factor by which GRPO multiplies ∇p (after Dr. GRPO, 2503.20783).

    c(p) = E[s² / (std + eps)] / (p (1 − p)), with s² the population's variance of G returns of 0
    or 1. With eps and ddof 0 it is E[std] / (p (1 − p)).
    """
    wins = np.arange(1, attempts)  # all lost or all won: no credit
    variance = wins / attempts * (1 - wins / attempts)
    orders = np.array([math.comb(attempts, k) for k in wins])
    chance = orders * p**wins * (1 - p) ** (attempts - wins)
    deviation = np.sqrt(variance * attempts / (attempts - ddof)) + eps
    return float((chance * variance / deviation).sum() / (p * (1 - p)))


def kl_of_episode(
    trajectory: Trajectory, one: Float[Array, "N G T A V"], other: Float[Array, "N G T A V"]
) -> Float[Array, "N G"]:
    """Returns KL(one ‖ other) summed over the states of each episode, from log-probabilities."""
    return jnp.where(trajectory.mask, (jnp.exp(one) * (one - other)).sum(-1), 0.0).sum((-2, -1))


def objective_values(enumerated: Enumeration, params: Any) -> dict[str, Float[Array, ""]]:
    """Returns the objectives that an estimator may follow, means over the two problems."""
    trajectory, visited = enumerated.trajectory, enumerated.probability
    log_prob, every = predict(enumerated.spec, params, trajectory)
    other = predict(enumerated.spec, enumerated.reference, trajectory)[1]
    chance = enumerated.multiplicity * jnp.exp(log_prob.sum((-2, -1)))
    gain = token_rewards(trajectory).sum(-1)
    expected, solved = (chance * gain.sum(-1)).sum(-1), (chance * trajectory.success).sum(-1)
    log_ratio = (log_prob - trajectory.reference_log_prob).sum((-2, -1))
    forward = kl_of_episode(trajectory, every, other)
    backward = kl_of_episode(trajectory, other, every)
    values = {
        "J": expected,
        "P(success)": solved,
        "J, discounted": (chance * reward_to_go(gain, DISCOUNT)[..., 0]).sum(-1),
        "2 arcsin √p": 2 * jnp.arcsin(jnp.sqrt(solved)),
        "J − β KL": expected - BETA * (chance * log_ratio).sum(-1),
        "J − β KL, visits fixed": expected - BETA * (visited * forward).sum(-1),
        "J − β KL(ref‖π), visits fixed": expected - BETA * (visited * backward).sum(-1),
    }
    grpo, before = GroupRelative(), (visited * np.asarray(trajectory.success)).sum(-1)
    for g in (2, 3, 4, 8, 16):
        weight = np.array([group_weight(g, p, grpo.eps, grpo.ddof) for p in before])
        values[f"Σ c(p) ∇p, G = {g}"] = solved * weight
    return {name: x.mean() for name, x in values.items()}


@cache
def gradients(rewards: str) -> dict[str, Float[np.ndarray, " W"]]:
    """Returns the gradient of every objective, as a vector."""
    enumerated = enumerate_task(rewards)
    each = quickly(jax.jacrev(partial(objective_values, enumerated)))(enumerated.params)
    return {name: flatten(gradient) for name, gradient in each.items()}


def flatten(tree: Any) -> Float[np.ndarray, " W"]:
    """Returns all weights as one vector."""
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
