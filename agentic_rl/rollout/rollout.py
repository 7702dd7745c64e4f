"""Play episodes on the device: by the policy with its key-value cache, or by an actor without a network.

Every random number is derived by `fold_in` from the run's key, a problem's id, the attempt, the turn and the token, so that an
episode does not depend on the batch it is played in. The turn loop ends when every episode has.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from agentic_rl import problems, tokens
from agentic_rl.policy.sampler import Action, Sampler, act, close_turn, fold, prefill
from agentic_rl.rollout import actors
from agentic_rl.types import Environment, Spec, State, TimeStep, Trajectory

PROBLEM, ATTEMPT = range(2)  # streams of random numbers
UNLIMITED = 2**30  # tokens


class _Progress(NamedTuple):
    """What the turn loop carries; arrays are batched over B = N·G, `record`'s over [T, B]."""

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
    """`attempts` episodes at each problem. All attempts share the problem's instance; transitions and choices are their own.

    Args:
      axis_name: a vmapped axis over whose members the turn loop ends together (else XLA would copy the cache every turn).
      active: False for problems that are not to be played: their episodes have no turn.
      keep_states: whether the trajectory holds the task's states.
    """
    spec, count = task.spec, problem_id.shape[0]
    state, step = jax.vmap(lambda k: problems.draw(task, split, k))(
        fold(jax.random.fold_in(key, PROBLEM), problem_id)
    )
    step = step if active is None else step._replace(done=step.done | ~active)
    attempt_key = fold(jax.random.fold_in(key, ATTEMPT), problem_id)
    attempt_key = jax.vmap(lambda k: fold(k, jnp.arange(attempts)))(attempt_key).ravel()
    prompt, start = _start(task, actor, state, step, attempts, keep_states)

    def alive(progress):
        return (progress.turn < spec.num_turns) & jax.lax.pmax(
            jnp.any(~progress.step.done), axis_name
        )

    def turn(progress):
        keys = fold(attempt_key, progress.turn)
        action, cache = _choose(task, actor, keys, prompt, progress)
        return _advance(task, keys, progress._replace(cache=cache), action)

    end = jax.lax.while_loop(alive, turn, start)
    record = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), end.record)
    success = end.step.success & end.step.done
    record = record._replace(
        prompt=prompt, success=success, room=room(spec, record.action, record.mask, success)
    )
    return jax.tree.map(lambda x: x.reshape((count, attempts) + x.shape[1:]), record)


def _start(
    task, actor, state: State, step: TimeStep, attempts: int, keep_states: bool
) -> tuple[Int[Array, "B P"], _Progress]:
    """The prompt of every attempt, and the progress before the first turn; each prompt is read once."""
    prompt = jax.vmap(task.prompt)(state)
    cache = prefill(actor, task.spec, prompt) if isinstance(actor, Sampler) else ()
    state, step, prompt, cache = jax.tree.map(
        lambda x: jnp.repeat(x, attempts, axis=0), (state, step, prompt, cache)
    )
    record = _blank(task.spec, len(prompt), state if keep_states else ())
    return prompt, _Progress(jnp.int32(0), state, step, prompt[:, -1], cache, record)


def _blank(spec: Spec, batch: int, state: State) -> Trajectory:
    """The record of nothing: every token PAD, every mask False."""
    lead = (spec.num_turns, batch)
    token, one, each = (
        jnp.zeros(lead + (spec.action_length,), jnp.int32),
        jnp.zeros(lead),
        jnp.zeros(lead + (spec.action_length,)),
    )
    return Trajectory(
        prompt=(), observation=jnp.zeros(lead + (spec.observation_length,), jnp.int32), action=token, mask=token > 0,
        log_prob=each, collision=each, reference_log_prob=each, label=token, label_mask=token > 0, reward=one, penalty=each, success=(),
        room=(), anchor=jnp.zeros(lead, jnp.int32), potential=one, is_key=one > 0,
        state=jax.tree.map(lambda x: jnp.zeros((spec.num_turns,) + x.shape, x.dtype), state),
    )  # fmt: skip


def until_end(spec: Spec, action: Int[Array, "B A"]) -> Bool[Array, "B A"]:
    """True up to and including the first END."""
    ends = action == spec.end
    return jnp.cumsum(ends, axis=-1) - ends == 0


def room(
    spec: Spec, action: Int[Array, "B T A"], mask: Bool[Array, "B T A"], success: Bool[Array, " B"]
) -> Int[Array, " B"]:
    """Returns how many tokens the limit left to each episode when it ended, or -1 if the limit cut it off.

    A success has ended, and so has an episode with turns left. Where turns are a limit, any other ran out of them (a wrong answer
    in the last turn too: a task does not tell it from none). Where the last turn is the task's own end, the action must have
    come to its END; where actions have none, there is no limit, and more is left than any task has tokens.
    """
    is_limited, has_end = spec.limited and spec.num_turns > 1, spec.end in spec.choices
    if not (is_limited or has_end):
        return jnp.full(success.shape, UNLIMITED)
    most, turns = spec.num_turns * spec.action_length, mask.any(-1).sum(-1)
    closed = False if is_limited else (action[:, -1] == spec.end).any(-1)
    return jnp.where(success | (turns < spec.num_turns) | closed, most - mask.sum((1, 2)), -1)


def unless_done(done: Bool[Array, " B"], new, old):
    """`old` where an episode is done, `new` elsewhere; for every leaf."""
    return jax.tree.map(
        lambda x, y: jnp.where(done.reshape((-1,) + (1,) * (x.ndim - 1)), y, x), new, old
    )


def respond(task: Environment, keys, state: State, step: TimeStep, action: Int[Array, "B A"]):
    """The action without what stands behind its END, its mask, and the task's answer; what is done stays as it is."""
    mask = until_end(task.spec, action) & ~step.done[:, None]
    action = jnp.where(mask, action, tokens.PAD)
    after = jax.vmap(task.step)(fold(keys, task.spec.action_length), state, action)
    return action, mask, unless_done(step.done, after, (state, step))


def _choose(task, actor, keys, prompt, progress: _Progress):
    """An action for every episode, and the cache behind it."""
    if isinstance(actor, Sampler):
        return act(
            actor,
            task.spec,
            keys,
            progress.cache,
            progress.turn,
            prompt,
            progress.before,
            progress.step.observation,
        )
    token = jax.vmap(lambda k, s: actor.act(task, k, s))(fold(keys, 0), progress.state)
    return Action(token, jnp.zeros(token.shape), jnp.zeros(token.shape)), progress.cache


def _advance(task, keys, progress: _Progress, action: Action) -> _Progress:
    """The task's answer to `action`, and the turn written into the record."""
    spec, done, state = task.spec, progress.step.done, progress.state
    token, mask, (after, step) = respond(task, keys, state, progress.step, action.token)
    label = jax.vmap(task.expert)(state)
    label_mask, nothing = until_end(spec, label), jnp.zeros(mask.shape)
    written = Trajectory(
        prompt=(), observation=progress.step.observation, action=token, mask=mask, log_prob=action.log_prob * mask,
        collision=action.collision * mask, reference_log_prob=nothing, label=jnp.where(label_mask, label, tokens.PAD),
        label_mask=label_mask, reward=step.reward, penalty=nothing, success=(), room=(), anchor=jax.vmap(task.anchor)(state),
        potential=jax.vmap(task.potential)(state), is_key=jax.vmap(task.is_key)(state), state=state if progress.record.state else (),
    )  # fmt: skip
    written = unless_done(
        done, written, jax.tree.map(jnp.zeros_like, written)
    )  # as if the loop had ended: others may play on
    record = jax.tree.map(
        lambda all_, new: all_.at[progress.turn].set(new), progress.record, written
    )
    cache = close_turn(spec, progress.cache, progress.turn, mask) if progress.cache else ()
    return _Progress(progress.turn + 1, after, step, token[:, -1], cache, record)
