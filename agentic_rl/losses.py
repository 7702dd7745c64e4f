"""What is maximised, per token, and how tokens add up. Everything here is a function of arrays, batched over any axes."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from agentic_rl.config import config

Aggregation = Literal["token_mean", "sequence_mean", "constant"]


@config
class LogLikelihood:
    """credit · log π: supervised learning if credit is a weight, REINFORCE if it is an advantage; blind to who acted."""

    def __call__(self, log_prob: Float[Array, "*b"], old_log_prob: Float[Array, "*b"], credit: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """The objective of each token."""
        return credit * log_prob

    def diagnostics(self, log_prob, old_log_prob, credit) -> dict[str, Array]:
        """None."""
        return {}


@config
class ClippedRatio:
    """min(ρ·credit, clip(ρ, 1−low, 1+high)·credit), ρ = π/π_old. (PPO: 1707.06347, eq. 7; two bounds: DAPO, 2503.14476)"""

    clip_low: float = 0.2  # the ratio counts from 1 - clip_low
    clip_high: float = 0.2  # to 1 + clip_high

    def __call__(self, log_prob: Float[Array, "*b"], old_log_prob: Float[Array, "*b"], credit: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """The objective of each token."""
        ratio = jnp.exp(log_prob - old_log_prob)
        return jnp.minimum(ratio * credit, jnp.clip(ratio, 1 - self.clip_low, 1 + self.clip_high) * credit)

    def diagnostics(self, log_prob, old_log_prob, credit) -> dict[str, Array]:
        """Where the clip is active: 1 for tokens whose gradient it cut off, on either side."""
        ratio = jnp.exp(log_prob - old_log_prob)
        low, high = (ratio < 1 - self.clip_low) & (credit < 0), (ratio > 1 + self.clip_high) & (credit > 0)
        return {"clip_fraction_low": low.astype(ratio.dtype), "clip_fraction_high": high.astype(ratio.dtype)}


def token_weight(masks: list[Bool[Array, "_ _ _"]], aggregation: Aggregation) -> list[Float[Array, "_ _ _"]]:
    """Each token's share in the loss of its minibatch, for the minibatch's part of each task: [B T A], all shares sum to 1 or less.

    token_mean: 1 / all tokens (DAPO); sequence_mean: 1 / (sequences · own length), which favours short ones (GRPO);
    constant: 1 / Σ (sequences · T·A), no length bias (Dr. GRPO, 2503.20783).
    """
    weights = [mask.astype(jnp.float32) for mask in masks]
    if aggregation == "token_mean":
        count = jnp.maximum(sum(w.sum() for w in weights), 1)
        return [w / count for w in weights]
    if aggregation == "sequence_mean":
        count = sum(len(w) for w in weights)
        return [w / jnp.maximum(w.sum((1, 2), keepdims=True), 1) / count for w in weights]
    count = sum(w.size for w in weights)
    return [w / count for w in weights]


def entropy(logits: Float[Array, "*b V"]) -> Float[Array, "*b"]:
    """−Σ π log π, in nats."""
    log_prob = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_prob) * log_prob).sum(-1)


def kl_k3(log_prob: Float[Array, "*b"], reference_log_prob: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """exp(d) − d − 1 with d = log π_ref − log π: a non-negative one-sample estimate of KL(π ‖ π_ref). (Schulman 2020, k3)

    Its value estimates that divergence; as a loss on fixed samples of π, its gradient is in expectation that of KL(π_ref ‖ π).
    """
    d = reference_log_prob - log_prob
    return jnp.expm1(d) - d


def value_loss(
    value: Float[Array, "*b"], old_value: Float[Array, "*b"], target: Float[Array, "*b"], clip: Float[Array, ""] | float
) -> Float[Array, "*b"]:
    """½ max((V − target)², (V clipped to ±`clip` about the old V − target)²). (PPO's reference code)"""
    clipped = old_value + jnp.clip(value - old_value, -clip, clip)
    return 0.5 * jnp.maximum((value - target) ** 2, (clipped - target) ** 2)
