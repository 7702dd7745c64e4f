"""The exact value of every state a policy can come to and of every prefix that it can write.

The states are enumerated, and values follow by backward induction; all is differentiable by the
policy's weights. In `markov` context a policy's value is a function of the task's state, so states
that look alike are one and are read once, after the prompt's cache. In `history` context the past
is a tree, which fits only where it is small.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from agentic_rl.config import check
from agentic_rl.exact.actions import Actions, alphabet
from agentic_rl.exact.places import Places, locate
from agentic_rl.exact.state_graph import Graph, build_graph, is_random
from agentic_rl.exact.state_reader import read_states
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Environment, State, Trajectory, Value


class ValueTable(NamedTuple):
    """What the policy does in each state, and what that is worth."""

    log_prob: Float[Array, "N T C S V"]  # of the next token, after each prefix of an action
    value: Float[Array, "N T C places"]  # expected return from each place; NaN: too many states


class Solution(NamedTuple):
    """Everything about some problems under a policy."""

    graph: Graph  # [N, ...]
    table: ValueTable
    places: Places  # of the episodes asked about


def check_possible(task: Environment, policy_config: Policy) -> None:
    """Checks that everything which can happen can be enumerated.

    Raises: ConfigError with what to do instead.
    """
    name, length = type(task).__name__, task.spec.action_length
    check(
        not is_random(task),
        f"{name} is random and does not list its outcomes, so it has no exact values:"
        " use --values forks.",
    )
    check(
        length == 1 or policy_config.context == "markov",
        f"{name} has actions of {length} tokens: for exact values set --policy.context markov,"
        " or use --values forks.",
    )
    alphabet(task, policy_config)


def solve(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    trajectory: Trajectory,
    capacity: int,
    chunk: int = 256,
) -> Solution:
    """Returns the solution of the problems of episodes that kept their states.

    Args:
      capacity: the most states of a turn.
      chunk: how many states are read at a time.
    """
    state = jax.tree.map(lambda x: x[:, 0, 0], trajectory.state)
    graph = explore(task, policy_config, state, trajectory.observation[:, 0, 0], capacity)
    table = tabulate(task, policy_config, params, trajectory.prompt[:, 0], graph, chunk)
    return Solution(graph, table, locate(task, policy_config, graph, trajectory))


def explore(
    task: Environment,
    policy_config: Policy,
    state: State,
    observation: Int[Array, "N O"],
    capacity: int,
) -> Graph:
    """Returns the graphs [N, ...] of the problems with these first states and observations."""
    actions, merged = alphabet(task, policy_config), policy_config.context == "markov"
    return jax.vmap(lambda s, o: build_graph(task, actions, s, o, capacity, merged))(
        state, observation
    )


def tabulate(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    prompt: Int[Array, "N P"],
    graph: Graph,
    chunk: int = 256,
) -> ValueTable:
    """Returns what the policy does, and what it may expect, in every state of the graphs."""
    actions = alphabet(task, policy_config)
    logits = read_states(task, policy_config, params, actions, prompt, graph, chunk)
    log_prob = jax.nn.log_softmax(logits)
    value = jax.vmap(lambda g, p: back_up(actions, g, p))(graph, log_prob)
    is_whole = (graph.states.count <= graph.states.alive.shape[-1]).all(-1)
    return ValueTable(log_prob, jnp.where(is_whole[:, None, None, None], value, jnp.nan))


def expected_return(table: ValueTable) -> Float[Array, " N"]:
    """Returns each problem's expected return; its gradient is the exact policy gradient."""
    return table.value[:, 0, 0, -1]


def visit_probabilities(
    actions: Actions, graph: Graph, log_prob: Float[Array, "T C S V"]
) -> tuple[Float[Array, "T C"], Float[Array, "T C places"]]:
    """Returns the probability of each state of a problem, and of each place given the state."""
    num_actions = len(actions.token)

    def write(log_prob):
        reach = jnp.zeros((log_prob.shape[0], actions.root + 1)).at[:, actions.root].set(1.0)
        for s in reversed(range(len(actions.prefix))):
            reached = reach[:, num_actions + s, None] * jnp.exp(log_prob[:, s])
            reach = reach.at[:, actions.child[s]].add(reached)
        return reach

    def turn(probability, now):
        log_prob, chance, next_ = now
        reach = write(log_prob)
        flow = (probability[:, None] * reach[:, :num_actions])[..., None] * chance
        return jnp.zeros_like(probability).at[next_].add(flow), (probability, reach)

    start = (jnp.arange(log_prob.shape[1]) == 0).astype(log_prob.dtype)
    return jax.lax.scan(turn, start, (log_prob, graph.chance, graph.next))[1]


def back_up(
    actions: Actions, graph: Graph, log_prob: Float[Array, "T C S V"]
) -> Float[Array, "T C places"]:
    """Returns the value of each place, computed from the last turn to the first.

    An action's value is its expected reward and the value of the state that follows.
    """

    def turn(after, now):
        reward, chance, next_, log_prob = now
        value = reward + (chance * after[next_]).sum(-1)
        for length in range(actions.token.shape[1] - 1, -1, -1):
            (prefixes,) = (actions.length == length).nonzero()
            below = value[:, actions.child[prefixes]]
            expected = (jnp.exp(log_prob[:, prefixes]) * below).sum(-1)
            value = jnp.concatenate([value, expected], axis=1)
        return value[:, -1], value

    zeros = jnp.zeros(graph.reward.shape[1], log_prob.dtype)
    turns = (graph.reward, graph.chance, graph.next, log_prob)
    return jax.lax.scan(turn, zeros, turns, reverse=True)[1]


def values(solution: Solution, trajectory: Trajectory) -> Value:
    """Returns the exact value before and after each token.

    It is NaN where the episode's state is not in the table, and 0 where the token is masked.
    """
    places, table = solution.places, solution.table.value
    look_up = jax.vmap(jax.vmap(lambda x, state: x[jnp.arange(len(state)), state], (None, 0)))
    at_state = look_up(table, places.state)

    def at(place):
        value = jnp.take_along_axis(at_state, place, axis=-1)
        value = jnp.where(places.in_graph[..., None], value, jnp.nan)
        return jnp.where(trajectory.mask, value, 0.0)

    return Value(at(places.before), at(places.after), jnp.ones((), table.dtype))
