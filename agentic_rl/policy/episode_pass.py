"""One pass over whole episodes: the probabilities of what was done, and the values."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from agentic_rl import parallel
from agentic_rl.policy import layout, transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Spec, Trajectory

# Tokens in one pass on a CPU, where many more or far fewer at a time take longer.
CPU_TOKENS = 320


def log_prob_of(logits: Float[Array, "*b V"], token: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns the log-probability of each token.

    The token's logit is picked by a comparison, because the derivative of a gather is a scatter,
    which is slow on a CPU.
    """
    is_token = jnp.arange(logits.shape[-1]) == token[..., None]
    return jnp.where(is_token, logits, 0.0).sum(-1) - jax.nn.logsumexp(logits, axis=-1)


def sequences_at_once(length: int, count: int, most: int = 0) -> int:
    """Returns how many of `count` sequences of `length` tokens go into one pass.

    It is a divisor of `count`.

    Args:
      most: at most so many; 0: as many as have CPU_TOKENS on a CPU, and all of them elsewhere.
    """
    most = most or (max(1, CPU_TOKENS // length) if parallel.is_cpu() else count)
    return max(d for d in range(1, min(most, count) + 1) if count % d == 0)


def read_episodes(
    policy_config: Policy, params: Any, spec: Spec, trajectory: Trajectory
) -> tuple[Float[Array, "N G T A"], Float[Array, "N G T A"]]:
    """Returns the log-probability of each action token and the value before it."""

    def read(piece):
        token, valid, action = piece
        logits, value = transformer.apply(policy_config, params, spec, token, valid)
        return log_prob_of(logits, action), value

    inputs = *layout.tokens(trajectory), trajectory.action
    shape = trajectory.action.shape
    size = sequences_at_once(spec.context_length, shape[0] * shape[1])
    pieces = jax.tree.map(lambda x: x.reshape((-1, size) + x.shape[2:]), inputs)
    return jax.tree.map(lambda x: x.reshape(shape), jax.lax.map(read, pieces))
