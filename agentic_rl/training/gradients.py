"""The loss of a minibatch and its gradient, summed over tasks, micro-batches and devices.

A device trains on its part of the sequences, with token counts of the whole minibatch. So the
gradient is the same on 1, 2 or 4 devices.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl import parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.losses import kl, loss_terms
from agentic_rl.policy import transformer
from agentic_rl.policy.episode_pass import log_prob_of, sequences_at_once
from agentic_rl.policy.transformer import Policy
from agentic_rl.training.batch import Batch
from agentic_rl.types import Spec


class Setup(NamedTuple):
    """What is static in an update."""

    policy_config: Policy
    total: int  # updates of the whole run, for the learning rate's schedule
    micro_batch: int  # sequences per forward and backward pass at most; 0: by their length
    has_entropy: bool  # whether the loss has an entropy term


def predict(
    setup: Setup, spec: Spec, algorithm: Algorithm, params: Any, batch: Batch
) -> tuple[Float[Array, "B T A"], Float[Array, "B T A V"], Float[Array, "B T A"]]:
    """Returns each target token's log-probability, the logits and the values.

    They come from one teacher-forced pass.
    """
    on_labels = algorithm.labels == "expert"
    logits, value = transformer.apply(
        setup.policy_config, params, spec, batch.token, batch.valid, on_labels
    )
    return log_prob_of(logits, batch.target), logits, value


def loss(
    setup: Setup,
    spec: Spec,
    algorithm: Algorithm,
    params: Any,
    batch: Batch,
    weight: Float[Array, "#B #T #A"],
    share: Float[Array, "#B #T #A"],
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Returns the loss Σ weight · (−objective + terms) over the sequences, and diagnostics.

    Each diagnostic is Σ share · diagnostic; "loss" among them is the loss itself.
    """
    log_prob, logits, value = predict(setup, spec, algorithm, params, batch)
    compared = log_prob, batch.old_log_prob, batch.credit, batch.mask
    per_token = -algorithm.surrogate(*compared)
    entropy = loss_terms.entropy(logits)
    log = {"entropy": entropy, "nll": -log_prob}
    if algorithm.is_on_policy:
        log |= off_policy_metrics(log_prob, batch.old_log_prob)
        log |= algorithm.surrogate.diagnostics(*compared)
    if algorithm.reads_reference:
        log["kl_reference"] = kl.estimate("k3", log_prob, batch.reference_log_prob)
    if algorithm.kl.reads_reference:
        per_token += algorithm.kl(log_prob, batch.reference_log_prob)
    if setup.has_entropy:
        per_token -= algorithm.entropy_coefficient * entropy
    if algorithm.values.learned:
        log["value_loss"] = loss_terms.value_loss(
            value, batch.old_value, batch.value_target, algorithm.values.clip
        )
        per_token += algorithm.values.coefficient * log["value_loss"]

    def weighted_sum(x, w):
        return jnp.where(batch.mask, w * x, 0.0).sum()

    minimised = weighted_sum(per_token, weight)
    sums = {name: weighted_sum(x, share) for name, x in log.items()}
    return minimised, sums | {"loss": minimised}


def off_policy_metrics(
    log_prob: Float[Array, "B T A"], old_log_prob: Float[Array, "B T A"]
) -> dict[str, Array]:
    """Returns how far the policy is from the one that acted, for each token.

    These are the ratio, the distance of the log-probabilities, and the k3 estimate of the KL
    divergence.
    """
    gap = log_prob - old_log_prob
    return {
        "ratio": jnp.exp(gap),
        "log_prob_gap": jnp.abs(gap),
        "kl_old": kl.estimate("k3", log_prob, old_log_prob),
    }


def gradient(
    setup: Setup,
    specs: Sequence[Spec],
    algorithm: Algorithm,
    params: Any,
    minibatches: Sequence[Batch],
) -> tuple[Any, dict[str, Float[Array, ""]]]:
    """Returns gradient and diagnostics of one minibatch, which has a part for each task.

    Both are summed over tasks, micro-batches and devices.
    """
    masks = [batch.mask for batch in minibatches]
    weights = loss_terms.token_weight(masks, algorithm.aggregation)
    shares = loss_terms.token_weight(masks, "token_mean")
    each = [
        _task_gradient(setup, spec, algorithm, params, weighted)
        for spec, *weighted in zip(specs, minibatches, weights, shares)
    ]
    return parallel.total(jax.tree.map(lambda *x: sum(x[1:], x[0]), *each))


def _task_gradient(
    setup: Setup, spec: Spec, algorithm: Algorithm, params: Any, weighted: Sequence[Any]
) -> tuple[Any, dict[str, Float[Array, ""]]]:
    """Returns this device's part of one task's gradient and diagnostics.

    Micro-batches keep temporaries in the processor's cache, which doubles the speed on a CPU.

    Args:
      weighted: the task's sequences, with the weight and the share of each token.
    """
    mine = parallel.my_part(tuple(weighted))
    count = len(mine[1])
    size = sequences_at_once(spec.context_length, count, setup.micro_batch)
    pieces = jax.tree.map(lambda x: x.reshape((count // size, size) + x.shape[1:]), mine)
    first = jax.tree.map(lambda x: x[0], pieces)

    differentiate = jax.grad(lambda p, piece: loss(setup, spec, algorithm, p, *piece), has_aux=True)
    if count == size:
        return differentiate(params, first)

    def add(so_far, piece):
        return jax.tree.map(jnp.add, so_far, differentiate(params, piece)), None

    shapes = jax.eval_shape(differentiate, params, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return jax.lax.scan(add, zeros, pieces)[0]
