"""What an update logs of its credit, and what it costs."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from agentic_rl.algorithms import Algorithm
from agentic_rl.credit.gae import gae
from agentic_rl.policy import layout
from agentic_rl.rollout.actors import Expert
from agentic_rl.training.batch import Batch
from agentic_rl.types import Spec, Trajectory, Value
from agentic_rl.values import Costs


def credit_metrics(
    algorithm: Algorithm, batch: Batch, value: Value, trajectory: Trajectory
) -> dict[str, Float[Array, ""]]:
    """Returns the mean and standard deviation of credit over the tokens trained on.

    Where there are values, it adds how much of the return's variance they explain.
    """
    count = jnp.maximum(batch.mask.sum(), 1)
    mean = batch.credit.sum() / count
    std = jnp.sqrt(jnp.where(batch.mask, (batch.credit - mean) ** 2, 0.0).sum() / count)
    log = {"credit_mean": mean, "credit_std": std}
    if algorithm.values.has_values:
        log["explained_variance"] = explained_variance(value, trajectory.mask)
    return log


def explained_variance(value: Value, mask: Bool[Array, "N G T A"]) -> Float[Array, ""]:
    """Returns 1 − Var(G − V) / Var(G) over unmasked tokens, G the discounted reward to go.

    It is 0 where all returns are alike.
    """
    to_go = value.before + gae(value, mask, 1.0)
    unexplained = jnp.var(to_go - value.before, where=mask)
    variance = jnp.var(to_go, where=mask)
    return jnp.where(variance > 1e-8, 1 - unexplained / jnp.maximum(variance, 1e-8), 0.0)


def update_costs(
    spec: Spec,
    params: Any,
    algorithm: Algorithm,
    first_problem: Int[Array, ""],
    trajectory: Trajectory,
    batch: Batch,
    extra: Costs,
    rereads: bool,
) -> dict[str, Num[Array, ""]]:
    """Returns the costs of an update by the names of the budgets.

    A demonstration that was seen before costs no new steps and no new labels. FLOPs are counted as
    2 per weight and token read or written in a rollout, and 6 per weight and token trained on,
    context included. What the last layer leaves out (`policy/view.py`) is counted as well.

    Args:
      extra: what was played besides the batch, such as forks or groups that were drawn again.
      rereads: whether the old log-probabilities come from another pass.
    """
    alive = trajectory.mask.any(-1)
    is_expert = isinstance(algorithm.actor, Expert)
    count = len(alive)
    is_new = jnp.ones(count, bool)
    if is_expert and algorithm.actor.num_demos:
        is_new = first_problem + jnp.arange(count) < algorithm.actor.num_demos
    turns = jnp.where(is_new[:, None, None], alive, False).sum()
    labels = jnp.where(is_new[:, None, None, None], trajectory.label_mask, False).sum()
    turns_played = alive.sum() + extra["env_steps"]
    played = spec.prompt_length * count + turns_played * layout.turn_length(spec)
    passes = algorithm.values.learned + algorithm.reads_reference + rereads
    trained = batch.token.size * (6 * algorithm.epochs + 2 * passes)
    num_params = sum(x.size for x in jax.tree.leaves(params))
    zero = jnp.int32(0)
    generated = zero if is_expert else trajectory.mask.sum() + extra["generated_tokens"]
    reads_labels = is_expert or algorithm.labels == "expert" or algorithm.reward.reads_labels
    return {
        "env_steps": turns + extra["env_steps"],
        "generated_tokens": generated,
        "trained_tokens": batch.mask.sum() * algorithm.epochs,
        "expert_labels": labels if reads_labels else zero,
        "flops": num_params * (trained + (0.0 if is_expert else 2.0) * played),
    }
