"""Plays episodes on the device, by a policy with its key-value cache or by an actor without one.

Every random number is derived by `fold_in` from the run's key, a problem's id, the attempt, the
turn and the token, so that an episode does not depend on the batch that it is played in. The turn
loop ends when every episode has ended.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from agentic_rl import problems, tokens
from agentic_rl.policy.sampler import Action, Sampler, act, close_turn, fold, prefill
from agentic_rl.rollout import actors
from agentic_rl.rollout.record import blank, room, turn_record, until_end
from agentic_rl.types import Environment, State, TimeStep, Trajectory

PROBLEM, ATTEMPT = range(2)  # streams of random numbers


class _Progress(NamedTuple):
    """The carry of the turn loop, batched over B = N·G; the record's arrays are [T, B, ...]."""

    turn: Int[Array, ""]
    state: State
    step: TimeStep
    before: Int[Array, " B"]  # the last token so far
    cache: Any
    record: Trajectory


def rollout(
    task: Environment,
    actor: Sampler | actors.Actor,
    key: PRNGKeyArray,
    problem_id: Int[Array, " N"],
    attempts: int = 1,
    split: problems.Split = "train",
    axis_name: tuple[str, ...] | str = (),
    active: Bool[Array, " N"] | None = None,
    keep_states: bool = False,
) -> Trajectory:
    """Plays `attempts` episodes at each problem.

    All attempts share the problem's instance; their transitions and choices are their own.

    Args:
      axis_name: a vmapped axis over whose members the turn loop ends together, because otherwise
        XLA would copy the cache in every turn.
      active: False for problems that are not to be played; their episodes have no turn.
      keep_states: whether the trajectory holds the task's states.
    """
    spec, count = task.spec, problem_id.shape[0]
    state, step = _draw(task, key, problem_id, split)
    step = step if active is None else step._replace(done=step.done | ~active)
    attempt_key = fold(jax.random.fold_in(key, ATTEMPT), problem_id)
    attempt_key = jax.vmap(lambda k: fold(k, jnp.arange(attempts)))(attempt_key).ravel()
    prompt, start = _start(task, actor, state, step, attempts, keep_states)

    def is_alive(progress):
        any_alive = jax.lax.pmax(jnp.any(~progress.step.done), axis_name)
        return (progress.turn < spec.num_turns) & any_alive

    def play_turn(progress):
        keys = fold(attempt_key, progress.turn)
        action, cache = _choose(task, actor, keys, prompt, progress)
        return _advance(task, keys, progress._replace(cache=cache), action)

    end = jax.lax.while_loop(is_alive, play_turn, start)
    record = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), end.record)
    success = end.step.success & end.step.done
    left = room(spec, record.action, record.mask, success)
    record = record._replace(prompt=prompt, success=success, room=left)
    return jax.tree.map(lambda x: x.reshape((count, attempts) + x.shape[1:]), record)


def _draw(task, key, problem_id, split: problems.Split) -> tuple[State, TimeStep]:
    """Returns each problem's first state and step, [N, ...]."""
    keys = fold(jax.random.fold_in(key, PROBLEM), problem_id)
    return jax.vmap(lambda k: problems.draw(task, split, k))(keys)


def _start(
    task, actor, state: State, step: TimeStep, attempts: int, keep_states: bool
) -> tuple[Int[Array, "B P"], _Progress]:
    """Returns the prompt of every attempt, and the progress before the first turn.

    Each prompt is read once.
    """
    prompt = jax.vmap(task.prompt)(state)
    cache = prefill(actor, task.spec, prompt) if isinstance(actor, Sampler) else None
    state, step, prompt, cache = jax.tree.map(
        lambda x: jnp.repeat(x, attempts, axis=0), (state, step, prompt, cache)
    )
    record = blank(task.spec, len(prompt), state if keep_states else ())
    return prompt, _Progress(jnp.int32(0), state, step, prompt[:, -1], cache, record)


def unless_done(done: Bool[Array, " B"], new, old):
    """Returns, for every leaf, `old` where an episode is done and `new` elsewhere."""

    def choose(x, y):
        return jnp.where(done.reshape((-1,) + (1,) * (x.ndim - 1)), y, x)

    return jax.tree.map(choose, new, old)


def respond(task: Environment, keys, state: State, step: TimeStep, action: Int[Array, "B A"]):
    """Returns the action up to its END, its mask, and the task's next state and step.

    Episodes that are done stay as they are.
    """
    mask = until_end(task.spec, action) & ~step.done[:, None]
    action = jnp.where(mask, action, tokens.PAD)
    after = jax.vmap(task.step)(fold(keys, task.spec.action_length), state, action)
    return action, mask, unless_done(step.done, after, (state, step))


def _choose(task, actor, keys, prompt, progress: _Progress):
    """Returns an action for every episode, and the cache after it."""
    turn, before, observation = progress.turn, progress.before, progress.step.observation
    if isinstance(actor, Sampler):
        return act(actor, task.spec, keys, progress.cache, turn, prompt, before, observation)
    token = jax.vmap(lambda k, s: actor.act(task, k, s))(fold(keys, 0), progress.state)
    return Action(token, jnp.zeros(token.shape), jnp.zeros(token.shape)), progress.cache


def _advance(task, keys, progress: _Progress, action: Action) -> _Progress:
    """Returns the progress after the task's answer to `action`, with the turn in the record."""
    spec, done, state = task.spec, progress.step.done, progress.state
    token, mask, (after, step) = respond(task, keys, state, progress.step, action.token)
    written = action._replace(token=token)
    turn = turn_record(task, state, progress.step, written, mask, step.reward)
    turn = turn._replace(state=state if progress.record.state else ())
    # An episode that is over leaves no trace, although others may play on.
    turn = unless_done(done, turn, jax.tree.map(jnp.zeros_like, turn))
    record = jax.tree.map(lambda all_, x: all_.at[progress.turn].set(x), progress.record, turn)
    cache = close_turn(spec, progress.cache, progress.turn, mask) if progress.cache else None
    return _Progress(progress.turn + 1, after, step, token[:, -1], cache, record)
