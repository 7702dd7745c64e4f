"""Plays episodes of given actions, and collects what a task says about the states on the way."""

import functools
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agentic_rl import tokens

EXPERT, WRONG = -1, tokens.PAD  # as actions: the expert's, and one that is never right
NUM_PROBLEMS, NUM_EXPERT, NUM_RANDOM, NUM_FACTS = 512, 32, 4096, 64


class Turn(NamedTuple):
    """One turn of an episode, batched [E, T]. After the end the state stays, as in a rollout."""

    state: Any
    observation: Any
    action: Any
    reward: Any
    alive: Any  # was the episode not over before this turn?
    done: Any  # is it over after it?
    success: Any


class Facts(NamedTuple):
    """What the task says about the states of a walk, batched [E, T]."""

    prompt: Any
    expert: Any
    anchor: Any
    potential: Any
    is_key: Any
    best: Any  # return of the expert's action and of the expert after it, if nothing is random
    worst: Any  # the least of the same over other actions
    illegal: Any  # the outcomes of all illegal actions, stacked
    beyond: Any  # the time step two turns after this state, and the potential there


def compiled(function):
    """Returns `function`, compiled quickly, since it runs once or twice."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def pad_after_end(action, end):
    """Returns actions [..., A] with PAD after the first `end`, as a rollout writes them."""
    is_end = action == end
    return jnp.where(jnp.cumsum(is_end, axis=-1) - is_end > 0, tokens.PAD, action)


def always(task, action, episodes=NUM_EXPERT):
    """Returns actions [episodes, T, A] that are all the same."""
    return np.full((episodes, task.spec.num_turns, task.spec.action_length), action)


def play(task, action, num_problems=None):
    """Returns episodes of the actions [E, T, A], as numpy arrays.

    Episode number i is at problem i modulo `num_problems`.
    """
    action = np.asarray(action, np.int32)
    problem = np.arange(len(action)) % (num_problems or len(action))

    def turn(carry, xs):
        (state, before), (key, action) = carry, xs
        action = jnp.where(action == EXPERT, task.expert(state), action)
        action = pad_after_end(action, task.spec.end)
        new = task.step(key, state, action)
        after, step = jax.tree.map(
            lambda old, new: jnp.where(before.done, old, new), (state, before), new
        )
        reward = jnp.where(before.done, 0.0, step.reward)
        return (after, step), Turn(
            state, before.observation, action, reward, ~before.done, step.done, step.success
        )

    def episode(start, key, action):
        keys = jax.vmap(lambda t: jax.random.fold_in(key, t))(jnp.arange(len(action)))
        return jax.lax.scan(turn, start, (keys, action))[1]

    reset = jax.vmap(lambda i: task.reset(jax.random.fold_in(jax.random.key(0), i)))
    keys = jax.vmap(jax.random.key)(np.arange(len(action)))
    return jax.device_get(compiled(jax.vmap(episode))(compiled(reset)(problem), keys, action))


def follow(task, *actions):
    """Returns the rewards of the actions at problem 0, and the episode's length.

    After the given actions the expert goes on.
    """
    played = always(task, EXPERT, 1)
    for t, action in enumerate(actions):
        played[0, t] = action
    turns = play(task, played)
    return turns.reward[0].tolist(), turns.alive[0].sum()


@functools.cache
def play_together(task):
    """Returns random episodes that are all at one problem."""
    random = np.random.default_rng(1)
    action = random.choice(task.spec.choices, always(task, 0, NUM_FACTS).shape)
    return play(task, action, num_problems=1)


@functools.cache
def walk(task):
    """Returns episodes of the expert, then of random actions, and the facts of the first ones."""
    random = np.random.default_rng(0)
    actions = random.choice(task.spec.choices, always(task, 0, NUM_RANDOM).shape)
    turns = play(task, np.concatenate([always(task, EXPERT), actions]), NUM_PROBLEMS)
    states = jax.tree.map(lambda x: x[:NUM_FACTS], turns.state)
    return turns, jax.device_get(compiled(jax.vmap(jax.vmap(lambda s: facts(task, s))))(states))


def facts(task, state):
    """Returns the facts of one state."""
    wrong, key = jnp.full(task.spec.action_length, WRONG), jax.random.key(0)
    expert = task.expert(state)

    def value_of(action):
        after, step = task.step(key, state, action)
        return step.reward + jnp.where(step.done, 0.0, task.potential(after))

    step_with = jax.vmap(lambda action: task.step(key, state, action))
    later, step = task.step(key, task.step(key, state, expert)[0], wrong)
    return Facts(
        prompt=task.prompt(state),
        expert=expert,
        anchor=task.anchor(state),
        potential=task.potential(state),
        is_key=task.is_key(state),
        best=value_of(expert),
        worst=jax.vmap(value_of)(other_actions(task, expert)).min(),
        illegal=step_with(jnp.asarray(illegal_actions(task))),
        beyond=(step, task.potential(later)),
    )


def other_actions(task, expert):
    """Returns actions [E, A] to compare with the expert's.

    They are any token over and over, any two choices and END, and the expert's with another token.
    """
    length = task.spec.action_length
    token = jnp.arange(tokens.VOCABULARY)
    pairs = itertools.product(task.spec.choices, repeat=2)
    pairs = jnp.array([(*pair, tokens.END) for pair in pairs])[:, :length]
    pairs = pad_after_end(pairs, tokens.END)
    short = jnp.full((len(pairs), length), tokens.PAD).at[:, : pairs.shape[1]].set(pairs)
    same = jnp.broadcast_to(token[:, None], (tokens.VOCABULARY, length))
    changed = [jnp.tile(expert, (tokens.VOCABULARY, 1)).at[:, a].set(token) for a in range(length)]
    return jnp.concatenate([same, short, *changed])


def illegal_actions(task, num_mixed=64):
    """Returns illegal actions [E, A].

    They are one token that is no choice, over and over, and then choices but for one such token
    before any END.
    """
    random, length = np.random.default_rng(0), task.spec.action_length
    no_choice = np.setdiff1d(np.arange(tokens.VOCABULARY), task.spec.choices)
    mixed = random.choice(np.setdiff1d(task.spec.choices, task.spec.end), (num_mixed, length))
    place, at = random.integers(0, length, (num_mixed, 1)), np.arange(length)
    odd = random.choice(np.setdiff1d(no_choice, task.spec.end), (num_mixed, 1))
    mixed = np.where(at == place, odd, mixed)
    has_end = task.spec.end >= 0
    ends = random.integers(1, 2 * length, (num_mixed, 1)) if has_end else length
    ends = np.where(ends > place, ends, length)  # after the odd token, or not at all
    mixed = np.where(at < ends, mixed, np.where(at == ends, task.spec.end, tokens.PAD))
    return np.concatenate([np.repeat(no_choice[:, None], length, axis=1), mixed])
