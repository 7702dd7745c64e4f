"""All that can happen in a problem: its states, turn by turn, and what every action leads to.

No policy is asked. States that have the same `anchor` and look the same are one state. For a policy
that remembers, they stay apart, and the graph is a tree.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from agentic_rl.exact.actions import Actions
from agentic_rl.types import Environment, State, TimeStep

NEVER = np.iinfo(np.int32).max  # larger than all identities


class States(NamedTuple):
    """Up to C states before the action of a turn."""

    state: State  # [C, ...]
    observation: Int[Array, "C O"]
    alive: Bool[Array, " C"]  # whether there is such a state
    origin: Int[Array, " C"]  # a state of the turn before that leads to it
    via: Int[Array, " C"]  # the action that does
    count: Int[Array, ""]  # how many there are; above C, some are missing


class Graph(NamedTuple):
    """One problem's states, and what each of K actions leads to, with up to M outcomes."""

    states: States  # [T, C, ...]
    identity: Int[Array, "T C I"]
    is_key: Bool[Array, "T C"]
    reward: Float[Array, "T C K"]  # expected
    chance: Float[Array, "T C K M"]  # of going on to `next`; 0 where the episode is over
    next: Int[Array, "T C K M"]  # the state at the next turn


def is_random(task: Environment) -> bool:
    """Returns whether steps draw random numbers while the task does not list their outcomes."""
    key = jax.random.key(0)
    state = jax.eval_shape(task.reset, key)[0]
    action = jax.ShapeDtypeStruct((task.spec.action_length,), jnp.int32)
    program = jax.make_jaxpr(task.step)(key, state, action).jaxpr
    reads_key = any(program.invars[0] in equation.invars for equation in program.eqns)
    return reads_key and not hasattr(task, "outcomes")


def outcomes(
    task: Environment, state: State, action: Int[Array, " A"]
) -> tuple[Float[Array, " M"], State, TimeStep]:
    """Returns the probability of each outcome of an action, and the states and steps [M, ...].

    Rewards are expected ones. A task that lists no outcomes has one.
    """
    if hasattr(task, "outcomes"):
        return task.outcomes(state, action)
    later, step = task.step(jax.random.key(0), state, action)
    return jnp.ones(1), *jax.tree.map(lambda x: x[None], (later, step))


def build_graph(
    task: Environment,
    actions: Actions,
    state: State,
    observation: Int[Array, " O"],
    capacity: int,
    merged: bool = True,
) -> Graph:
    """Returns all that can happen from the first state of a problem on.

    Args:
      capacity: C, the most states of a turn.
      merged: whether states of the same identity are one.
    """

    def turn(states, _):
        reward, chance, identity = _try_actions(task, actions, states)
        if not merged:
            identity = jnp.arange(chance.size).reshape(*chance.shape, 1)
        identity = jnp.where(chance[..., None] > 0, identity, NEVER)
        later, next_ = _merge(task, actions, states, identity)
        own = identify(jax.vmap(task.anchor)(states.state), states.observation)
        is_key = jax.vmap(task.is_key)(states.state)
        return later, Graph(states, own, is_key, reward, chance, next_)

    start = _first_states(state, observation, capacity)
    return jax.lax.scan(turn, start, length=task.spec.num_turns)[1]


def _first_states(state: State, observation: Int[Array, " O"], capacity: int) -> States:
    """Returns the states of the first turn, of which there is one."""
    state, observation = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (capacity, *jnp.shape(x))), (state, observation)
    )
    zeros = jnp.zeros(capacity, jnp.int32)
    return States(state, observation, jnp.arange(capacity) == 0, zeros, zeros, jnp.int32(1))


def identify(anchor: Int[Array, "*b"], observation: Int[Array, "*b O"]) -> Int[Array, "*b I"]:
    """Returns numbers that tell states apart: the anchor, and what a policy sees of the state.

    Tokens have 6 bits, so five of them make one number.
    """
    padding = [(0, 0)] * anchor.ndim + [(0, -observation.shape[-1] % 5)]
    token = jnp.pad(observation, padding).reshape(*anchor.shape, -1, 5)
    return jnp.concatenate([anchor[..., None], (token << (6 * jnp.arange(5))).sum(-1)], axis=-1)


def _try_actions(
    task, actions: Actions, states: States
) -> tuple[Float[Array, "C K"], Float[Array, "C K M"], Int[Array, "C K M I"]]:
    """Takes every action in every state.

    Returns the expected reward, the chance of each outcome that goes on, and its identity.
    """

    def one(state, alive, action):
        chance, later, step = outcomes(task, state, action)
        identity = identify(jax.vmap(task.anchor)(later), step.observation)
        reward = alive * (chance * step.reward).sum()
        return reward, jnp.where(alive & ~step.done, chance, 0.0), identity

    each = jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None))
    return each(states.state, states.alive, jnp.asarray(actions.token))


def _merge(
    task, actions: Actions, states: States, identity: Int[Array, "C K M I"]
) -> tuple[States, Int[Array, "C K M"]]:
    """Returns the states of the next turn, each once, and which of them each outcome is."""
    capacity, shape = len(states.alive), identity.shape[:-1]
    unique, first, index = jnp.unique(
        identity.reshape(-1, identity.shape[-1]),
        axis=0,
        size=capacity,
        return_index=True,
        return_inverse=True,
        fill_value=NEVER,
    )
    origin, via, which = jnp.unravel_index(first, shape)

    def again(origin, via, which):
        state = jax.tree.map(lambda x: x[origin], states.state)
        _, later, step = outcomes(task, state, jnp.asarray(actions.token)[via])
        return jax.tree.map(lambda x: x[which], (later, step.observation))

    state, observation = jax.vmap(again)(origin, via, which)
    index = index.reshape(shape)
    count = jnp.where(identity[..., 0] < NEVER, index + 1, 0).max()
    later = States(state, observation, unique[:, 0] < NEVER, origin, via, count)
    later = jax.tree.map(lambda x, y: x.astype(y.dtype), later, states)
    return later, jnp.minimum(index, capacity - 1).astype(jnp.int32)
