"""The record of episodes that are being played: one turn's entries, and how episodes ended."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from agentic_rl import tokens
from agentic_rl.policy.sampler import Action
from agentic_rl.types import Environment, Spec, State, TimeStep, Trajectory

UNLIMITED = 2**30  # tokens


def blank(spec: Spec, batch: int, state: State) -> Trajectory:
    """Returns a record in which nothing was played: every token PAD, every mask False."""
    lead = (spec.num_turns, batch)
    token = jnp.zeros(lead + (spec.action_length,), jnp.int32)
    per_token, per_turn = jnp.zeros(lead + (spec.action_length,)), jnp.zeros(lead)
    return Trajectory(
        prompt=None,
        observation=jnp.zeros(lead + (spec.observation_length,), jnp.int32),
        action=token,
        mask=token > 0,
        log_prob=per_token,
        collision=per_token,
        reference_log_prob=per_token,
        label=token,
        label_mask=token > 0,
        reward=per_turn,
        penalty=per_token,
        success=None,
        room=None,
        anchor=jnp.zeros(lead, jnp.int32),
        potential=per_turn,
        is_key=per_turn > 0,
        state=jax.tree.map(lambda x: jnp.zeros((spec.num_turns,) + x.shape, x.dtype), state),
    )


def turn_record(
    task: Environment, state: State, step: TimeStep, action: Action, mask, reward
) -> Trajectory:
    """Returns what a trajectory holds of one turn, [B, ...]; `state` is before the action."""
    label = jax.vmap(task.expert)(state)
    label_mask, zeros = until_end(task.spec, label), jnp.zeros(mask.shape)
    return Trajectory(
        prompt=None,
        observation=step.observation,
        action=action.token,
        mask=mask,
        log_prob=action.log_prob * mask,
        collision=action.collision * mask,
        reference_log_prob=zeros,
        label=jnp.where(label_mask, label, tokens.PAD),
        label_mask=label_mask,
        reward=reward,
        penalty=zeros,
        success=None,
        room=None,
        anchor=jax.vmap(task.anchor)(state),
        potential=jax.vmap(task.potential)(state),
        is_key=jax.vmap(task.is_key)(state),
    )


def until_end(spec: Spec, action: Int[Array, "B A"]) -> Bool[Array, "B A"]:
    """Returns a mask that is True up to and including the first END."""
    ends = action == spec.end
    return jnp.cumsum(ends, axis=-1) - ends == 0


def room(
    spec: Spec, action: Int[Array, "B T A"], mask: Bool[Array, "B T A"], success: Bool[Array, " B"]
) -> Int[Array, " B"]:
    """Returns how many tokens the limit left to each episode, or -1 if the limit cut it off.

    A success has ended, and so has an episode with turns left. Where turns are a limit, any other
    episode ran out of them; a wrong answer in the last turn counts so too, because a task does not
    tell it from no answer. Where the last turn is the task's own end, the action must have come to
    its END. Where actions have no END either, there is no limit: the result is UNLIMITED.
    """
    is_limited, has_end = spec.limited and spec.num_turns > 1, spec.end in spec.choices
    if not (is_limited or has_end):
        return jnp.full(success.shape, UNLIMITED)
    most, turns = spec.num_turns * spec.action_length, mask.any(-1).sum(-1)
    closed = False if is_limited else (action[:, -1] == spec.end).any(-1)
    return jnp.where(success | (turns < spec.num_turns) | closed, most - mask.sum((1, 2)), -1)
