"""The exact value of everything that a policy can come to and can write, by enumeration and backward induction; differentiable.

In `markov` context a policy's value is a function of the task's state, so the states that can be told apart are enumerated and read by
the policy once, behind the prompt's cache; in `history` context what happened is a tree, which fits only where it is small.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from agentic_rl.config import check
from agentic_rl.exact.state_graph import (
    Actions,
    Graph,
    build_graph,
    enumerate_actions,
    identify,
    is_random,
)
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import Sampler, prefill
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Environment, Spec, State, Trajectory, Value


class ValueTable(NamedTuple):
    """What the policy does in each state, and what that is worth."""

    log_prob: Float[Array, "N T C S V"]  # of the next token, behind each prefix of an action
    value: Float[
        Array, "N T C places"
    ]  # the expected return from each place on: an action, or the prefix of one; NaN: too many states


class Places(NamedTuple):
    """Where an episode's tokens are written."""

    state: Int[Array, "N G T"]  # its number among the turn's
    before: Int[Array, "N G T A"]  # the place before the token
    behind: Int[Array, "N G T A"]  # and behind it
    found: Bool[
        Array, "N G T"
    ]  # False: the episode was in a state that is not among those enumerated


class Solution(NamedTuple):
    """Everything about some problems under a policy."""

    graph: Graph  # [N, ...]
    table: ValueTable
    places: Places  # of the episodes asked about


def check_possible(task: Environment, policy_config: Policy) -> None:
    """Nothing, if everything that can happen can be listed.

    Raises: ConfigError with what to do instead.
    """
    name, forks = type(task).__name__, "use --values forks"
    check(
        not is_random(task),
        f"{name} is random and does not list its outcomes, so it has no exact values: {forks}.",
    )
    single = task.spec.action_length == 1 or policy_config.context == "markov"
    check(
        single,
        f"{name} has actions of {task.spec.action_length} tokens: for exact values set --policy.context markov, or {forks}.",
    )
    alphabet(task, policy_config)


def alphabet(task: Environment, policy_config: Policy) -> Actions:
    """The actions to tell apart: all, if a policy remembers them or a task judges each token, whatever the others are."""
    return enumerate_actions(
        task.spec,
        lumped=policy_config.context == "markov" and not getattr(task, "judges_tokens", False),
    )


def solve(
    task: Environment,
    policy_config: Policy,
    params: transformer.Params,
    trajectory: Trajectory,
    capacity: int,
    chunk: int = 256,
) -> Solution:
    """All about the problems of episodes that kept their states. Differentiable by the weights."""
    state = jax.tree.map(lambda x: x[:, 0, 0], trajectory.state)
    found = explore(task, policy_config, state, trajectory.observation[:, 0, 0], capacity)
    table = tabulate(task, policy_config, params, trajectory.prompt[:, 0], found, chunk)
    return Solution(found, table, locate(task, policy_config, found, trajectory))


def explore(
    task: Environment,
    policy_config: Policy,
    state: State,
    observation: Int[Array, "N O"],
    capacity: int,
) -> Graph:
    """The graphs [N, ...] of the problems that begin like this, with up to `capacity` states a turn."""
    acts, merged = alphabet(task, policy_config), policy_config.context == "markov"
    return jax.vmap(lambda s, o: build_graph(task, acts, s, o, capacity, merged))(
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
    """What the policy does and may expect in every state of the graphs; `chunk` states are read at a time."""
    read = _read_markov if policy_config.context == "markov" else _read_history
    log_prob = jax.nn.log_softmax(read(task, policy_config, params, prompt, graph, chunk))
    value = jax.vmap(lambda g, p: back_up(alphabet(task, policy_config), g, p))(graph, log_prob)
    is_whole = (graph.states.count <= graph.states.alive.shape[-1]).all(-1)
    return ValueTable(log_prob, jnp.where(is_whole[:, None, None, None], value, jnp.nan))


def expected_return(table: ValueTable) -> Float[Array, " N"]:
    """Of each problem. Its gradient is the exact policy gradient."""
    return table.value[:, 0, 0, -1]


def visit_probabilities(
    acts: Actions, graph: Graph, log_prob: Float[Array, "T C S V"]
) -> tuple[Float[Array, "T C"], Float[Array, "T C places"]]:
    """How likely it is to come to each state of a problem, and there to each place."""

    def write(log_prob):
        reach = jnp.zeros((log_prob.shape[0], acts.root + 1)).at[:, acts.root].set(1.0)
        for s in reversed(range(len(acts.prefix))):
            behind = reach[:, len(acts.token) + s, None] * jnp.exp(log_prob[:, s])
            reach = reach.at[:, acts.child[s]].add(behind)
        return reach

    def turn(here, now):
        log_prob, chance, next_ = now
        reach = write(log_prob)
        flow = (here[:, None] * reach[:, : len(acts.token)])[..., None] * chance
        return jnp.zeros_like(here).at[next_].add(flow), (here, reach)

    start = (jnp.arange(log_prob.shape[1]) == 0).astype(log_prob.dtype)
    return jax.lax.scan(turn, start, (log_prob, graph.chance, graph.next))[1]


def back_up(
    acts: Actions, graph: Graph, log_prob: Float[Array, "T C S V"]
) -> Float[Array, "T C places"]:
    """The value of each place, from the last turn to the first; an action's is its expected reward and what comes after it."""

    def turn(after, now):
        reward, chance, next_, log_prob = now
        value = reward + (chance * after[next_]).sum(-1)
        for length in range(acts.token.shape[1] - 1, -1, -1):
            (rows,) = (acts.length == length).nonzero()
            behind = value[:, acts.child[rows]]
            value = jnp.concatenate([value, (jnp.exp(log_prob[:, rows]) * behind).sum(-1)], axis=1)
        return value[:, -1], value

    nothing = jnp.zeros(graph.reward.shape[1], log_prob.dtype)
    return jax.lax.scan(
        turn, nothing, (graph.reward, graph.chance, graph.next, log_prob), reverse=True
    )[1]


def _read_markov(
    task, policy_config: Policy, params, prompt: Int[Array, "N P"], graph: Graph, chunk: int
) -> Float[Array, "N T C S V"]:
    """Logits behind each prefix, from the last of the prompt, the observation and the tokens so far."""
    spec, acts = task.spec, alphabet(task, policy_config)
    longest = acts.prefix[acts.length == spec.action_length - 1][:, : spec.action_length - 1]
    row, column = _carriers(acts, longest)
    cache = prefill(Sampler(policy_config, params), spec, prompt)

    @jax.checkpoint
    def one(item):
        n, observation = item
        begin = jnp.concatenate([prompt[n, -1:], observation])
        token = jnp.concatenate(
            [jnp.broadcast_to(begin, (len(longest), len(begin))), longest], axis=1
        )
        mine = jax.tree.map(lambda x: jnp.broadcast_to(x[n], (len(longest), *x.shape[1:])), cache)
        logits = transformer.logits_behind(
            policy_config, params, mine, token, spec.prompt_length - 1, spec.action_length
        )
        return logits[row, column]

    shape = graph.identity.shape[:-1]
    problem = jnp.broadcast_to(jnp.arange(shape[0])[:, None, None], shape)
    items = problem.ravel(), graph.states.observation.reshape(-1, spec.observation_length)
    return _by_chunk(one, items, chunk).reshape(*shape, *acts.child.shape)


def _carriers(
    acts: Actions, longest: Int[np.ndarray, "Q _"]
) -> tuple[Int[Array, " S"], Int[Array, " S"]]:
    """For each prefix a longest one that begins with it, and where in it it ends."""
    found = [
        (longest[:, :n] == prefix[:n]).all(1).argmax()
        for prefix, n in zip(acts.prefix, acts.length)
    ]
    return jnp.array(found), jnp.asarray(acts.length)


def _read_history(
    task, policy_config: Policy, params, prompt: Int[Array, "N P"], graph: Graph, chunk: int
) -> Float[Array, "N T C 1 V"]:
    """Logits in each state, from everything that led to it."""
    spec, acts, shape = task.spec, alphabet(task, policy_config), graph.identity.shape[:-1]
    written = jax.vmap(lambda g: _written(spec, acts, g))(graph)
    problem, turn, _ = jnp.indices(shape)

    @jax.checkpoint
    def one(item):
        n, t, behind = item
        token = jnp.concatenate([prompt[n], behind])[None]
        return transformer.apply(policy_config, params, spec, token, token >= 0)[0][0, t]

    items = problem.ravel(), turn.ravel(), written.reshape(-1, written.shape[-1])
    return _by_chunk(one, items, chunk).reshape(*shape, *acts.child.shape)


def _written(spec: Spec, acts: Actions, graph: Graph) -> Int[Array, "T C L"]:
    """What stands behind the prompt when it comes to each state, up to its observation; of one problem."""
    length = spec.observation_length

    def turn(before, now):
        t, states = now
        here = before[states.origin].at[:, t - 1, length:].set(jnp.asarray(acts.token)[states.via])
        here = here.at[:, t, :length].set(states.observation)
        return here, here

    turns, count = graph.identity.shape[:-1]
    nothing = jnp.zeros((count, turns, length + spec.action_length), jnp.int32)
    return jax.lax.scan(turn, nothing, (jnp.arange(turns), graph.states))[1].reshape(
        turns, count, -1
    )


def _by_chunk(function, items, chunk: int):
    """`function` of each item, `chunk` at a time."""
    return jax.lax.map(function, items, batch_size=chunk)


def locate(
    task: Environment, policy_config: Policy, graph: Graph, trajectory: Trajectory
) -> Places:
    """Where the tokens of episodes at these problems are in the table."""
    acts = alphabet(task, policy_config)
    before, behind = _walk(acts, trajectory)

    def follow(graph, identity, alive, action):
        def turn(state, t):
            found = ~alive[t] | (
                graph.states.alive[t, state] & (graph.identity[t, state] == identity[t]).all()
            )
            later, options = jnp.minimum(t + 1, len(alive) - 1), graph.next[t, state, action[t]]
            fits = (graph.chance[t, state, action[t]] > 0) & (
                graph.identity[later, options] == identity[later]
            ).all(-1)
            return options[fits.argmax()], (state, found)

        return jax.lax.scan(turn, jnp.int32(0), jnp.arange(len(alive)))[1]

    each, identity = (
        jax.vmap(jax.vmap(follow, (None, 0, 0, 0))),
        identify(trajectory.anchor, trajectory.observation),
    )
    state, found = each(
        graph, identity, trajectory.mask.any(-1), jnp.minimum(behind[..., -1], len(acts.token) - 1)
    )
    return Places(state, before, behind, found)


def _walk(
    acts: Actions, trajectory: Trajectory
) -> tuple[Int[Array, "N G T A"], Int[Array, "N G T A"]]:
    """The places before and behind each token; a masked one does not move."""
    offset, place, walked = len(acts.token), jnp.full(trajectory.mask.shape[:-1], acts.root), []
    for a in range(trajectory.mask.shape[-1]):
        before, goes_on = (
            place,
            trajectory.mask[..., a] & (place >= offset),
        )  # behind a token that is no choice nothing matters
        place = jnp.where(
            goes_on,
            jnp.asarray(acts.child)[jnp.maximum(place - offset, 0), trajectory.action[..., a]],
            place,
        )
        walked.append((before, place))
    return tuple(jnp.stack(x, axis=-1) for x in zip(*walked))


def values(solution: Solution, trajectory: Trajectory) -> Value:
    """The exact value before and after each token; NaN where the episode's state is not in the table, 0 where masked."""
    places, value = solution.places, solution.table.value
    pick = jax.vmap(jax.vmap(lambda value, state: value[jnp.arange(len(state)), state], (None, 0)))
    at = pick(value, places.state)
    before, after = (
        jnp.take_along_axis(at, index, axis=-1) for index in (places.before, places.behind)
    )
    before, after = (jnp.where(places.found[..., None], x, jnp.nan) for x in (before, after))
    return Value(
        *(jnp.where(trajectory.mask, x, 0.0) for x in (before, after)), jnp.ones((), value.dtype)
    )
