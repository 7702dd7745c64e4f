"""The batch that an update trains on: episodes flattened to sequences, each with its credit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from agentic_rl import tokens
from agentic_rl.algorithms import Algorithm
from agentic_rl.credit.returns import whiten
from agentic_rl.policy import layout
from agentic_rl.types import Trajectory, Value


class Batch(NamedTuple):
    """Everything that the loss reads, over B = N·G sequences of length L."""

    token: Int[Array, "B L"]
    valid: Bool[Array, "B L"]
    target: Int[Array, "B T A"]
    mask: Bool[Array, "B T A"]
    old_log_prob: Float[Array, "B T A"]
    reference_log_prob: Float[Array, "B T A"]
    credit: Float[Array, "B T A"]
    old_value: Float[Array, "B T A"]
    value_target: Float[Array, "B T A"]


def make_batch(
    algorithm: Algorithm,
    trajectory: Trajectory,
    value: Value,
    kept: Bool[Array, "N G"] | None = None,
) -> Batch:
    """Returns the sequences to train on, with their credit.

    An expert's label has the credit of its turn's first token. Episodes that are not kept count in
    the credit of the others, but are not trained on.
    """
    on_labels = algorithm.labels == "expert"
    mask = trajectory.mask if kept is None else trajectory.mask & kept[..., None, None]
    credit = algorithm.credit(trajectory, value)
    if algorithm.credit.whiten:
        credit = whiten(credit, mask)  # once more: over the tokens that are trained on
    if credit.ndim == 3:
        credit = credit[..., None]
    elif on_labels:
        credit = credit[..., :1]
    if algorithm.credit.tells_outcome:
        trajectory = _mark_failures(trajectory)
    token, valid = layout.tokens(trajectory, on_labels)
    target = trajectory.action
    if on_labels:
        target = trajectory.label
        mask = trajectory.label_mask & mask.any((2, 3), keepdims=True)
    credit = jnp.where(mask, credit, 0.0)
    value_target = jnp.zeros(mask.shape)
    if algorithm.values.learned:
        value_target = algorithm.values.target(value, trajectory.mask)
    old = trajectory.log_prob, trajectory.reference_log_prob
    batch = Batch(token, valid, target, mask, *old, credit, value.before, value_target)
    return jax.tree.map(lambda x: x.reshape((-1,) + x.shape[2:]), batch)


def _mark_failures(trajectory: Trajectory) -> Trajectory:
    """Puts FAIL first in the prompts of failed episodes, for outcome-conditioned credit."""
    first = jnp.arange(trajectory.prompt.shape[-1]) == 0
    failed = ~trajectory.success[..., None]
    return trajectory._replace(prompt=jnp.where(first & failed, tokens.FAIL, trajectory.prompt))
