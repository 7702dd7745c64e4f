"""Who acts: the first of the two choices that part supervised and reinforcement learning."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from agentic_rl.config import config
from agentic_rl.config.ranges import Natural, Probability
from agentic_rl.types import Environment, State


@runtime_checkable
class Actor(Protocol):
    """An actor without a network: its action is a function of the task's state. A static object."""

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]: ...


@config
class Learner:
    """The policy being trained acts, on fresh problems in every update (on-policy)."""


@config
class Expert:
    """The task's expert demonstrates; with `noise` some of its actions are uniformly random."""

    # how many demonstrations exist, to be drawn again and again; 0: fresh ones in every update
    num_demos: Natural = 0
    noise: Probability = 0.0  # of each action: that it is a random one

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """Returns the demonstrated action."""
        slips = jax.random.uniform(jax.random.fold_in(key, 0)) < self.noise
        slip = Random().act(task, jax.random.fold_in(key, 1), state)
        return jnp.where(slips, slip, task.expert(state))


@config
class Random:
    """Every action token is drawn uniformly from the task's choices."""

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """Returns a random action."""
        return jax.random.choice(key, jnp.array(task.spec.choices), (task.spec.action_length,))
