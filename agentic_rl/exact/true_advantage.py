"""The true advantage of each token, for the policy as it is.

It is enumerated where that is possible, and else estimated from very many forks.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import ConfigError, check
from agentic_rl.exact import dynamic_programming
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import Sampler, fold
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.forks import cache_episodes, fork
from agentic_rl.types import Environment, Trajectory, Value


class Truth(NamedTuple):
    """The value before and after each token; their difference is the true advantage."""

    value: Value
    error: Float[Array, "N G T A"]  # the standard error of the difference; 0 where it is exact
    method: str  # how the values were found, and why so

    @property
    def advantage(self) -> Float[Array, "N G T A"]:
        """The true advantage of each token; 0 where masked."""
        return self.value.after - self.value.before


def true_advantage(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    trajectory: Trajectory,
    capacity: int = 256,
    chunk: int = 256,
    forks: int = 1024,
) -> Truth:
    """Returns the truth about episodes of a rollout with `keep_states=True`.

    If no problem has more than `capacity` states in a turn, they are enumerated. Otherwise `forks`
    episodes are played from before each turn, with the same random numbers for all turns and
    attempts of a problem. The last token of an action then has all of its turn's difference, and
    where transitions are random it is the difference for the transition that happened.

    Args:
      chunk: how many states are read at a time, which bounds the memory.

    Raises: ConfigError if the episodes kept no states.
    """
    check(
        bool(jax.tree.leaves(trajectory.state)),
        "These episodes kept no states: roll them out with keep_states=True.",
    )
    is_markov = policy_config.context == "markov"
    one, several = ("state", "states") if is_markov else ("history", "histories")
    try:
        dynamic_programming.check_possible(task, policy_config)
        value, most = _enumerate_values(task, policy_config, params, trajectory, capacity, chunk)
        check(
            int(most) <= capacity,
            f"there are {int(most):,} {several} a turn, and capacity is {capacity:,}",
        )
    except ConfigError as reason:
        value, error = _fork_values(task, policy_config, params, trajectory, forks)
        return Truth(value, error, f"{forks:,} forks from before each turn ({reason})")
    kind = one if most == 1 else several
    method = f"exact, by enumeration of up to {int(most):,} {kind} a turn"
    return Truth(value, jnp.zeros(trajectory.mask.shape), method)


@jax.jit(static_argnames=("policy_config", "capacity", "chunk"))
def _enumerate_values(
    task, policy_config, params, trajectory: Trajectory, capacity: int, chunk: int
):
    """Returns the values, and the largest number of states in a turn."""
    solution = dynamic_programming.solve(task, policy_config, params, trajectory, capacity, chunk)
    most = solution.graph.states.count.max()
    return dynamic_programming.values(solution, trajectory), most


@jax.jit(static_argnames=("policy_config", "forks"))
def _fork_values(
    task, policy_config, params, trajectory: Trajectory, forks: int
) -> tuple[Value, Float[Array, "N G T A"]]:
    """Returns values as means of forks, and the standard error of their difference."""
    sampler = Sampler(policy_config, params)
    cache, attempts = cache_episodes(task, sampler, trajectory), trajectory.mask.shape[1]
    problem = jnp.repeat(fold(jax.random.key(0), jnp.arange(len(trajectory.mask))), attempts)
    alive, last = trajectory.mask.any(-1), trajectory.mask.sum(-1, keepdims=True) - 1

    def one(so_far, k):
        keys = fold(problem, k)
        total = jax.lax.map(
            lambda t: fork(task, sampler, cache, trajectory, t, keys).total,
            jnp.arange(task.spec.num_turns),
        )
        before = jnp.moveaxis(total, 0, -1)
        after = trajectory.reward + jnp.pad(before, [(0, 0), (0, 0), (0, 1)])[..., 1:]
        new = before, after, (after - before) ** 2
        return jax.tree.map(jnp.add, so_far, new), None

    zeros = (jnp.zeros(alive.shape),) * 3
    before, after, square = (x / forks for x in jax.lax.scan(one, zeros, jnp.arange(forks))[0])
    error = jnp.sqrt(jnp.maximum(square - (after - before) ** 2, 0.0) / (forks - 1))
    is_last = (jnp.arange(trajectory.mask.shape[-1]) == last) & alive[..., None]
    spread = jnp.where(trajectory.mask, before[..., None], 0.0)
    value = Value(spread, jnp.where(is_last, after[..., None], spread), jnp.float32(1))
    return value, jnp.where(is_last, error[..., None], 0.0)
