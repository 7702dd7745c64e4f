"""The gain in exact expected return of one step along a gradient, at a fixed KL divergence."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from agentic_rl.exact import dynamic_programming
from agentic_rl.exact.actions import alphabet

DIVERGENCE = 0.001  # nats a decision; at .01 the exact gradient overshoots at times
LENGTHS = (1e-5, 10.0)  # the step of that divergence is searched for between these lengths
HALVINGS = 18  # of that interval, on a logarithmic scale


@partial(jax.jit, static_argnums=(0, 1))
def gains(
    task,
    policy_config,
    params,
    prompt,
    solution: dynamic_programming.Solution,
    directions: Float[Array, "K W"],
) -> Float[Array, " K"]:
    """Returns the exact change of the expected return after a step along each direction.

    The length of a step is searched for by bisection, so that the mean KL of the old policy from
    the new one is DIVERGENCE nats a decision. It is NaN where no step between LENGTHS has that.
    """
    flat, unravel = ravel_pytree(params)
    old, acts = solution.table.log_prob, alphabet(task, policy_config)
    state, place = jax.vmap(lambda g, p: dynamic_programming.visit_probabilities(acts, g, p))(
        solution.graph, old
    )
    weight = state[..., None] * place[..., len(acts.token) :]

    def step(direction, length):
        new = dynamic_programming.tabulate(
            task, policy_config, unravel(flat + length * direction), prompt, solution.graph
        )
        divergence = (jnp.exp(old) * (old - new.log_prob)).sum(-1)
        mean = (weight * divergence).sum() / weight.sum()
        return dynamic_programming.expected_return(new).mean(), mean

    def halve(direction, ends, _):
        middle = ends.mean()
        is_long = step(direction, jnp.exp(middle))[1] > DIVERGENCE
        return jnp.where(is_long, ends.at[1].set(middle), ends.at[0].set(middle)), None

    def gain(direction):
        ends = jnp.log(jnp.array(LENGTHS))
        ends = jax.lax.scan(partial(halve, direction), ends, length=HALVINGS)[0]
        value, divergence = step(direction, jnp.exp(ends.mean()))
        is_right = jnp.abs(divergence / DIVERGENCE - 1) < 0.05
        before = dynamic_programming.expected_return(solution.table).mean()
        return jnp.where(is_right, value - before, jnp.nan)

    return jax.lax.map(gain, directions)
