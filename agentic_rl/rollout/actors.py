"""Who acts: the first of the two cells in which supervised learning and reinforcement learning differ."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from agentic_rl.config import config
from agentic_rl.config.ranges import Natural, Probability
from agentic_rl.types import Environment, State


@runtime_checkable
class Actor(Protocol):
    """Who acts without a network, as a function of the task's state; a static object."""

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]: ...


@config
class Learner:
    """The policy being trained acts, on fresh problems in every update (on-policy)."""


@config
class Expert:
    """The task's expert demonstrates; with `noise` each of its actions is, with that probability, a uniformly random one."""

    num_demos: Natural = 0  # how many demonstrations exist, drawn from again and again; 0: fresh ones in every update
    noise: Probability = 0.0

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """The demonstrated action."""
        slips = jax.random.uniform(jax.random.fold_in(key, 0)) < self.noise
        return jnp.where(
            slips, Random().act(task, jax.random.fold_in(key, 1), state), task.expert(state)
        )


@config
class Random:
    """Every action token is drawn uniformly from the task's choices."""

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """A random action."""
        return jax.random.choice(key, jnp.array(task.spec.choices), (task.spec.action_length,))
