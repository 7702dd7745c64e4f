"""How tokens add up to a loss, and the terms beside the surrogate, as functions of arrays."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Aggregation = Literal["token_mean", "sequence_mean", "constant"]


def token_weight(
    masks: list[Bool[Array, "_ _ _"]], aggregation: Aggregation
) -> list[Float[Array, "_ _ _"]]:
    """Returns each token's weight in the loss of a minibatch, [B, T, A] for each task's part of it.

    token_mean: 1 / all tokens (DAPO, 2503.14476)
    sequence_mean: 1 / (sequences · own length), which favours short ones (GRPO, 2402.03300)
    constant: 1 / Σ (sequences · T·A), without a length bias (Dr. GRPO, 2503.20783)

    The weights sum to 1 or less. Sequences without any token were left out and do not count.
    """
    weights = [mask.astype(float) for mask in masks]
    if aggregation == "token_mean":
        count = jnp.maximum(sum(w.sum() for w in weights), 1)
        return [w / count for w in weights]
    lengths = [w.sum((1, 2), keepdims=True) for w in weights]
    if aggregation == "sequence_mean":
        count = jnp.maximum(sum((n > 0).sum() for n in lengths), 1)
        return [w / jnp.maximum(n, 1) / count for w, n in zip(weights, lengths)]
    count = jnp.maximum(sum((n > 0).sum() * w[0].size for w, n in zip(weights, lengths)), 1)
    return [w / count for w in weights]


def entropy(logits: Float[Array, "*b V"]) -> Float[Array, "*b"]:
    """Returns the entropy −Σ π log π, in nats."""
    log_prob = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_prob) * log_prob).sum(-1)


def value_loss(
    value: Float[Array, "*b"],
    old_value: Float[Array, "*b"],
    target: Float[Array, "*b"],
    clip: Float[Array, ""] | float,
) -> Float[Array, "*b"]:
    """Returns ½ max((V − target)², (V_clipped − target)²), as in PPO's reference code.

    V_clipped is V held within ±`clip` of the old value.
    """
    clipped = old_value + jnp.clip(value - old_value, -clip, clip)
    return 0.5 * jnp.maximum((value - target) ** 2, (clipped - target) ** 2)
