"""Optimizers on optax: global-norm clipping, warm-up, decay. Learning rates are pytree data, so a sweep compiles once."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from agentic_rl.config import config
from agentic_rl.config.ranges import Bound, Memory, Natural, NonNegative, Positive

Decay = Literal["constant", "linear", "cosine"]


def schedule(step: Int[Array, ""], total: int, warmup: int, decay: Decay) -> Float[Array, ""]:
    """The factor on the learning rate at update `step` of `total`: rises linearly over `warmup` updates, then decays to 0."""
    rise = jnp.minimum((step + 1) / max(warmup, 1), 1.0)
    progress = jnp.clip((step - warmup) / max(total - warmup, 1), 0.0, 1.0)
    fall = {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": 0.5 * (1 + jnp.cos(jnp.pi * progress)),
    }[decay]
    return rise * fall


@config
class Adam:
    """Adam with decoupled weight decay. (1412.6980, 1711.05101)"""

    learning_rate: Positive = 3e-4  # at its highest, behind the warm-up
    warmup: Natural = 10  # updates over which the learning rate rises
    decay: Decay = "constant"  # of the learning rate, to 0 at the last update
    max_grad_norm: Bound = 0.5  # global norm, inf: not clipped; a group with one failure pushes hard on mostly right tokens
    b1: Memory = 0.9  # memory of the mean gradient
    b2: Memory = 0.95  # memory of the mean squared gradient
    eps: Positive = 1e-5  # added to the root of the mean squared gradient; at 1e-8 a policy without errors left collapses at the next one
    weight_decay: NonNegative = 0.0

    def transform(self, rate: Float[Array, ""]) -> optax.GradientTransformation:
        """The optax chain at this learning rate."""
        return optax.chain(
            optax.clip_by_global_norm(self.max_grad_norm),
            optax.scale_by_adam(self.b1, self.b2, self.eps),
            optax.add_decayed_weights(self.weight_decay),
            optax.scale(-rate),
        )


@config
class Sgd:
    """Plain gradient descent: for tests and theory, where a step must be proportional to its gradient."""

    learning_rate: Positive = 0.1  # at its highest, behind the warm-up
    warmup: Natural = 0  # updates over which the learning rate rises
    decay: Decay = "constant"  # of the learning rate, to 0 at the last update
    max_grad_norm: Bound = 1e9  # global norm; inf: not clipped

    def transform(self, rate: Float[Array, ""]) -> optax.GradientTransformation:
        """The optax chain at this learning rate."""
        return optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optax.scale(-rate))


def init(optimizer: Adam | Sgd, params: Any) -> optax.OptState:
    """The optimizer's state before the first step."""
    return optimizer.transform(jnp.float32(0)).init(params)


def step(
    optimizer: Adam | Sgd,
    gradient: Any,
    state: optax.OptState,
    params: Any,
    update: Int[Array, ""],
    total: int,
) -> tuple[Any, optax.OptState]:
    """New parameters and optimizer state after one gradient step at update number `update` of `total`."""
    rate = optimizer.learning_rate * schedule(update, total, optimizer.warmup, optimizer.decay)
    change, state = optimizer.transform(rate).update(gradient, state, params)
    return jax.tree.map(lambda p, c: p + c.astype(p.dtype), params, change), state
