"""Gradient steps: clipping, Adam, weight decay, and the schedule of the learning rate."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import optimizer
from agentic_rl.optimizer import Adam, Sgd, schedule


def gradient_step(config, gradient, update=0, total=10):
    """Returns what one step adds to parameters of 1."""
    params = jax.tree.map(jnp.ones_like, gradient)
    new, _ = optimizer.step(
        config, gradient, optimizer.init(config, params), params, jnp.int32(update), total
    )
    return jax.tree.map(lambda a, b: a - b, new, params)


def test_gradients_are_clipped_by_their_global_norm():
    gradient = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([4.0])}  # norm 5
    clipped = gradient_step(Sgd(learning_rate=1.0, max_grad_norm=0.5), gradient)
    chex.assert_trees_all_close(
        clipped, {"a": jnp.array([-0.3, 0.0]), "b": jnp.array([-0.4])}, atol=1e-6
    )
    short = gradient_step(Sgd(learning_rate=1.0, max_grad_norm=6.0), gradient)
    chex.assert_trees_all_close(
        short, {"a": jnp.array([-3.0, 0.0]), "b": jnp.array([-4.0])}, atol=1e-6
    )


def test_adams_first_step_is_the_rate_and_weight_decay_is_decoupled():
    gradient = {"a": jnp.array([0.3, -0.2])}
    step = gradient_step(Adam(learning_rate=0.1, warmup=0, eps=1e-8), gradient)
    np.testing.assert_allclose(step["a"], [-0.1, 0.1], rtol=1e-5)
    step = gradient_step(Adam(learning_rate=0.1, warmup=0, eps=1e-8, weight_decay=0.5), gradient)
    np.testing.assert_allclose(step["a"], [-0.15, 0.05], rtol=1e-5)


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_eps_holds_back_the_steps_of_small_gradients(eps):
    gradient = np.array([0.3, -1e-5])
    step = gradient_step(Adam(learning_rate=0.1, warmup=0, eps=eps), {"a": jnp.asarray(gradient)})
    np.testing.assert_allclose(
        step["a"], -0.1 * gradient / (abs(gradient) + eps), rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize(
    "step, warmup, decay, factor",
    [
        (0, 0, "constant", 1),
        (0, 4, "constant", 1 / 4),
        (9, 4, "constant", 1),
        (0, 0, "linear", 1),
        (2, 4, "linear", 3 / 4),
        (5, 0, "linear", 1 / 2),
        (7, 4, "linear", 1 / 2),
        (10, 0, "linear", 0),
        (12, 0, "linear", 0),
        (3, 4, "cosine", 1),
        (5, 0, "cosine", 1 / 2),
        (7, 4, "cosine", 1 / 2),
        (10, 4, "cosine", 0),
    ],
)
def test_the_learning_rate_rises_linearly_and_decays_to_zero(step, warmup, decay, factor):
    np.testing.assert_allclose(schedule(jnp.int32(step), 10, warmup, decay), factor, atol=1e-6)
