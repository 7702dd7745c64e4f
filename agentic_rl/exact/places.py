"""Where the tokens of episodes stand in the graphs of their problems."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from agentic_rl.exact.actions import Actions, alphabet
from agentic_rl.exact.state_graph import Graph, identify
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Environment, Trajectory


class Places(NamedTuple):
    """The state of each turn, and each token's place in the tree of actions."""

    state: Int[Array, "N G T"]  # its number among the turn's
    before: Int[Array, "N G T A"]  # the place before the token
    after: Int[Array, "N G T A"]  # and after it
    in_graph: Bool[Array, "N G T"]  # False: the state is not among those enumerated


def locate(
    task: Environment, policy_config: Policy, graph: Graph, trajectory: Trajectory
) -> Places:
    """Returns the places of episodes at the problems of the graphs [N, ...]."""
    actions = alphabet(task, policy_config)
    before, after = _walk(actions, trajectory)
    action = jnp.minimum(after[..., -1], len(actions.token) - 1)
    identity = identify(trajectory.anchor, trajectory.observation)
    follow = jax.vmap(jax.vmap(_follow, (None, 0, 0, 0)))
    state, in_graph = follow(graph, identity, trajectory.mask.any(-1), action)
    return Places(state, before, after, in_graph)


def _follow(
    graph: Graph, identity: Int[Array, "T I"], alive: Bool[Array, " T"], action: Int[Array, " T"]
) -> tuple[Int[Array, " T"], Bool[Array, " T"]]:
    """Returns one episode's states, and whether each is in the graph (True after the end)."""

    def turn(state, t):
        is_over, exists = ~alive[t], graph.states.alive[t, state]
        is_same = (graph.identity[t, state] == identity[t]).all()
        in_graph = is_over | (exists & is_same)
        later, options = jnp.minimum(t + 1, len(alive) - 1), graph.next[t, state, action[t]]
        is_possible = graph.chance[t, state, action[t]] > 0
        fits = is_possible & (graph.identity[later, options] == identity[later]).all(-1)
        return options[fits.argmax()], (state, in_graph)

    return jax.lax.scan(turn, jnp.int32(0), jnp.arange(len(alive)))[1]


def _walk(
    actions: Actions, trajectory: Trajectory
) -> tuple[Int[Array, "N G T A"], Int[Array, "N G T A"]]:
    """Returns the places before and after each token; a masked token does not move."""
    num_actions, child = len(actions.token), jnp.asarray(actions.child)
    place = jnp.full(trajectory.mask.shape[:-1], actions.root)
    before, after = [], []
    for a in range(trajectory.mask.shape[-1]):
        before.append(place)
        # An illegal token completes the action: what is written after it does not matter.
        goes_on = trajectory.mask[..., a] & (place >= num_actions)
        next_place = child[jnp.maximum(place - num_actions, 0), trajectory.action[..., a]]
        place = jnp.where(goes_on, next_place, place)
        after.append(place)
    return jnp.stack(before, axis=-1), jnp.stack(after, axis=-1)
