"""All that can happen in a problem: its states, turn by turn, and what every action leads to. No policy is asked.

Actions are written token by token, so they form a tree; a *place* is an action, or the prefix of one. States that have the same `anchor`
and look the same are one; or, for a policy that remembers, what happened is a tree as well.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from agentic_rl import tokens
from agentic_rl.config import check
from agentic_rl.types import Environment, Spec, State, TimeStep

MOST_ACTIONS = 100_000
NEVER = np.iinfo(np.int32).max  # behind all identities


class Actions(NamedTuple):
    """K actions and S prefixes of them; static. Place k < K is action k, place K + s is prefix s, the last of which is empty."""

    token: Int[np.ndarray, "K A"]  # PAD behind the end
    prefix: Int[np.ndarray, "S A"]  # the longest first; PAD behind
    length: Int[np.ndarray, " S"]  # tokens of each prefix
    child: Int[np.ndarray, "S V"]  # the place behind each next token

    @property
    def root(self) -> int:
        """The place before the first token."""
        return len(self.token) + len(self.prefix) - 1


def enumerate_actions(spec: Spec, lumped: bool = True) -> Actions:
    """All actions; `lumped`: those with a token that is no choice are one, as they all have the same outcome.

    Raises: ConfigError if there are too many.
    """
    choices = {t for t in (spec.choices if lumped else range(tokens.VOCABULARY)) if t != spec.end}
    counts = [len(choices) ** a for a in range(spec.action_length + 1)]
    count = sum(counts)
    sentence = f"There are {count:,} actions of up to {spec.action_length} tokens, {MOST_ACTIONS:,} at most can be enumerated"
    check(
        count <= MOST_ACTIONS,
        f"{sentence}: ask for a task with shorter actions, or estimate values by forks.",
    )
    prefixes = [()]
    for start in range(spec.action_length - 1):
        prefixes += [p + (t,) for p in prefixes if len(p) == start for t in sorted(choices)]
    prefixes.reverse()
    goes_on = {p: i for i, p in enumerate(prefixes)}
    illegal = (
        (next(t for t in range(tokens.VOCABULARY) if t not in choices and t != spec.end),)
        if lumped
        else ()
    )
    found = {illegal: 0} if lumped else {}
    child = np.zeros((len(prefixes), tokens.VOCABULARY), int)
    for (i, prefix), token in (
        (p, t) for p in enumerate(prefixes) for t in range(tokens.VOCABULARY)
    ):
        written = prefix + (token,) if token in choices or token == spec.end else illegal
        child[i, token] = (
            -goes_on[written] - 1 if written in goes_on else found.setdefault(written, len(found))
        )
    child = np.where(child < 0, len(found) - child - 1, child)
    return Actions(
        _padded(found, spec), _padded(prefixes, spec), np.array([len(p) for p in prefixes]), child
    )


def _padded(sequences, spec: Spec) -> Int[np.ndarray, "S A"]:
    return np.array(
        [[*s, *[tokens.PAD] * (spec.action_length - len(s))] for s in sequences], np.int32
    )


class States(NamedTuple):
    """Up to C states before the action of a turn."""

    state: State  # [C, ...]
    observation: Int[Array, "C O"]
    alive: Bool[Array, " C"]  # can it come to this state?
    origin: Int[Array, " C"]  # a state of the turn before that leads here
    via: Int[Array, " C"]  # the action that does
    count: Int[Array, ""]  # how many there are; above C, some are missing


class Graph(NamedTuple):
    """Of one problem: the states of each turn, and what each of K actions leads to, with up to M outcomes."""

    states: States  # [T, C, ...]
    identity: Int[Array, "T C I"]
    is_key: Bool[Array, "T C"]
    reward: Float[Array, "T C K"]  # expected
    chance: Float[Array, "T C K M"]  # of going on to `next`; 0 where the episode is over
    next: Int[Array, "T C K M"]  # the state at the next turn


def is_random(task: Environment) -> bool:
    """Does a step of the task draw random numbers, without the task listing what can follow?"""
    key = jax.random.key(0)
    shapes = jax.eval_shape(task.reset, key)[0]
    made = jax.make_jaxpr(task.step)(
        key, shapes, jax.ShapeDtypeStruct((task.spec.action_length,), jnp.int32)
    ).jaxpr
    return not hasattr(task, "outcomes") and any(
        made.invars[0] in step.invars for step in made.eqns
    )


def outcomes(
    task: Environment, state: State, action: Int[Array, " A"]
) -> tuple[Float[Array, " M"], State, TimeStep]:
    """All that an action can lead to, and how likely each is; rewards in expectation. One outcome where a task does not say more."""
    if hasattr(task, "outcomes"):
        return task.outcomes(state, action)
    later, step = task.step(jax.random.key(0), state, action)
    return jnp.ones(1), *jax.tree.map(lambda x: x[None], (later, step))


def build_graph(
    task: Environment,
    acts: Actions,
    state: State,
    observation: Int[Array, " O"],
    capacity: int,
    merged: bool = True,
) -> Graph:
    """All that can happen from the first state of a problem on; `merged`: states of the same identity are one."""
    first = jnp.arange(capacity) == 0
    state, observation = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (capacity, *jnp.shape(x))), (state, observation)
    )
    nothing = jnp.zeros(capacity, jnp.int32)
    start = States(state, observation, first, nothing, nothing, jnp.int32(1))

    def turn(now, _):
        reward, chance, identity = _play(task, acts, now)
        identity = identity if merged else jnp.arange(chance.size).reshape(*chance.shape, 1)
        later, next_ = _distinct(task, acts, now, jnp.where(chance[..., None] > 0, identity, NEVER))
        mine = identify(jax.vmap(task.anchor)(now.state), now.observation)
        return later, Graph(now, mine, jax.vmap(task.is_key)(now.state), reward, chance, next_)

    return jax.lax.scan(turn, start, length=task.spec.num_turns)[1]


def identify(anchor: Int[Array, "*b"], observation: Int[Array, "*b O"]) -> Int[Array, "*b I"]:
    """What a state is, and what a policy sees of it: the anchor, and tokens of 6 bits, five to a number."""
    length = observation.shape[-1]
    token = jnp.pad(observation, [(0, 0)] * anchor.ndim + [(0, -length % 5)]).reshape(
        *anchor.shape, -1, 5
    )
    return jnp.concatenate([anchor[..., None], (token << (6 * jnp.arange(5))).sum(-1)], axis=-1)


def _play(
    task, acts: Actions, now: States
) -> tuple[Float[Array, "C K"], Float[Array, "C K M"], Int[Array, "C K M I"]]:
    """For each state and action: the expected reward, the chance of each outcome that goes on, and what identifies it."""

    def one(state, alive, action):
        chance, later, step = outcomes(task, state, action)
        identity = identify(jax.vmap(task.anchor)(later), step.observation)
        return (
            alive * (chance * step.reward).sum(),
            jnp.where(alive & ~step.done, chance, 0.0),
            identity,
        )

    each = jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None))
    return each(now.state, now.alive, jnp.asarray(acts.token))


def _distinct(
    task, acts: Actions, now: States, identity: Int[Array, "C K M I"]
) -> tuple[States, Int[Array, "C K M"]]:
    """The states that are identified, each once, and which of them each outcome is."""
    capacity, shape = len(now.alive), identity.shape[:-1]
    row = identity.reshape(-1, identity.shape[-1])
    found, first, index = jnp.unique(
        row, axis=0, size=capacity, return_index=True, return_inverse=True, fill_value=NEVER
    )
    origin, via, which = jnp.unravel_index(first, shape)

    def again(origin, via, which):
        _, later, step = outcomes(
            task, jax.tree.map(lambda x: x[origin], now.state), jnp.asarray(acts.token)[via]
        )
        return jax.tree.map(lambda x: x[which], (later, step.observation))

    state, observation = jax.vmap(again)(origin, via, which)
    index = index.reshape(shape)
    count = jnp.where(identity[..., 0] < NEVER, index + 1, 0).max()
    later = States(state, observation, found[:, 0] < NEVER, origin, via, count)
    return jax.tree.map(lambda x, y: x.astype(y.dtype), later, now), jnp.minimum(
        index, capacity - 1
    ).astype(jnp.int32)
