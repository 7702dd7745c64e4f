"""Optimizers built on optax: clipping by global norm, then Adam or SGD at a scheduled rate.

Learning rates are pytree data, so that a sweep over them compiles once.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from agentic_rl.config import config
from agentic_rl.config.ranges import Bound, Memory, Natural, NonNegative, Positive

Decay = Literal["constant", "linear", "cosine"]


def schedule(step: Int[Array, ""], total: int, warmup: int, decay: Decay) -> Float[Array, ""]:
    """Returns the factor on the learning rate at update `step` of `total`.

    It rises linearly to 1 over `warmup` updates, then stays there or decays to 0.
    """
    rise = jnp.minimum((step + 1) / max(warmup, 1), 1.0)
    progress = jnp.clip((step - warmup) / max(total - warmup, 1), 0.0, 1.0)
    decays = {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": 0.5 * (1 + jnp.cos(jnp.pi * progress)),
    }
    return rise * decays[decay]


@config
class Adam:
    """Adam with decoupled weight decay. (Kingma and Ba, 1412.6980; AdamW, 1711.05101)"""

    learning_rate: Positive = 3e-4  # at its highest, after the warm-up
    warmup: Natural = 10  # updates over which the learning rate rises
    decay: Decay = "constant"  # of the learning rate, to 0 at the last update
    # Global norm; inf: not clipped. A group with one failure pushes hard on mostly right tokens.
    max_grad_norm: Bound = 0.5
    b1: Memory = 0.9  # memory of the mean gradient
    b2: Memory = 0.95  # memory of the mean squared gradient
    # Added to the root of the mean squared gradient. At 1e-8 a policy that no longer makes errors
    # collapses at its next one.
    eps: Positive = 1e-5
    weight_decay: NonNegative = 0.0  # decoupled from the gradient; 0: none

    def transform(self, rate: Float[Array, ""]) -> optax.GradientTransformation:
        """Returns the optax transformation at this learning rate."""
        return optax.chain(
            optax.clip_by_global_norm(self.max_grad_norm),
            optax.scale_by_adam(self.b1, self.b2, self.eps),
            optax.add_decayed_weights(self.weight_decay),
            optax.scale(-rate),
        )


@config
class Sgd:
    """Plain gradient descent, for tests and theory: a step is proportional to its gradient."""

    learning_rate: Positive = 0.1  # at its highest, after the warm-up
    warmup: Natural = 0  # updates over which the learning rate rises
    decay: Decay = "constant"  # of the learning rate, to 0 at the last update
    max_grad_norm: Bound = 1e9  # global norm; inf: not clipped

    def transform(self, rate: Float[Array, ""]) -> optax.GradientTransformation:
        """Returns the optax transformation at this learning rate."""
        return optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optax.scale(-rate))


def init(optimizer: Adam | Sgd, params: Any) -> optax.OptState:
    """Returns the optimizer's state before the first step."""
    return optimizer.transform(jnp.float32(0)).init(params)


def step(
    optimizer: Adam | Sgd,
    gradient: Any,
    state: optax.OptState,
    params: Any,
    update: Int[Array, ""],
    total: int,
) -> tuple[Any, optax.OptState]:
    """Returns parameters and optimizer state after one gradient step at update `update`.

    Args:
      total: updates of the whole run, over which the learning rate decays.
    """
    rate = optimizer.learning_rate * schedule(update, total, optimizer.warmup, optimizer.decay)
    change, state = optimizer.transform(rate).update(gradient, state, params)
    return jax.tree.map(lambda p, c: p + c.astype(p.dtype), params, change), state
