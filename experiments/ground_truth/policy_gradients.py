"""Gradients by the weights of a policy in markov context: of log-probabilities, of the return."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from agentic_rl.exact import dynamic_programming
from agentic_rl.policy import transformer
from agentic_rl.types import Trajectory


def log_prob_slopes(
    task, policy_config, params, pooled: Trajectory, index: Int[np.ndarray, " pairs"]
) -> Float[np.ndarray, "pairs W"]:
    """Returns ∇ log π of the tokens with these indices into [N, R·G, T, A]."""
    n, b, t, a = np.unravel_index(index, pooled.mask.shape)
    turn = pooled.observation[n, b, t], pooled.action[n, b, t], pooled.mask[n, b, t]
    tokens = (pooled.prompt[n, b], *turn, jnp.asarray(a))
    return np.asarray(
        _slope_of_each(policy_config, task.spec._replace(num_turns=1), params, tokens)
    )


@partial(jax.jit, static_argnums=(0, 1))
def _slope_of_each(policy_config, spec, params, tokens):
    def log_prob(params, prompt, observation, action, mask, a):
        token = jnp.concatenate([prompt, observation, action])[None]
        valid = jnp.concatenate([jnp.ones(len(prompt) + len(observation), bool), mask])[None]
        logits = transformer.apply(policy_config, params, spec, token, valid)[0]
        return jax.nn.log_softmax(logits[0, 0, a])[action[a]]

    def slope(x):
        return ravel_pytree(jax.grad(log_prob)(params, *x))[0]

    return jax.lax.map(slope, tokens, batch_size=16)


@partial(jax.jit, static_argnums=(0, 1))
def true_gradient(task, policy_config, params, prompt, graph) -> Float[Array, " W"]:
    """Returns the gradient of the exact expected return, a mean over the problems."""

    def expected_return(params):
        table = dynamic_programming.tabulate(task, policy_config, params, prompt, graph)
        return dynamic_programming.expected_return(table).mean()

    return ravel_pytree(jax.grad(expected_return)(params))[0]
