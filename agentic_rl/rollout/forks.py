"""Forks: episodes played on from a state that an earlier episode passed through.

VinePPO's values and ReMax's baseline are computed from them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from agentic_rl.policy import layout, transformer
from agentic_rl.policy.sampler import Sampler, act, close_turn, fold, prefill
from agentic_rl.rollout.rollout import respond
from agentic_rl.types import Environment, Spec, TimeStep, Trajectory


class ForkOutcome(NamedTuple):
    """The return of one fork of each episode, and what the forks cost together."""

    total: Float[Array, "N G"]  # (discounted) return from the fork on
    turns: Int[Array, ""]  # played in all forks
    tokens: Int[Array, ""]  # written in all forks


class _Fork(NamedTuple):
    """The carry of the turn loop, batched over B = N·G."""

    turn: Int[Array, ""]
    state: Any
    step: TimeStep
    before: Int[Array, " B"]  # the last token so far
    cache: transformer.Cache
    outcome: ForkOutcome


def cache_episodes(
    task: Environment, sampler: Sampler, trajectory: Trajectory
) -> transformer.Cache:
    """Returns the cache after all of the episodes [B, ...].

    They are read once; a fork from any turn begins with a part of the cache.
    """
    spec, prompt = task.spec, _flat(trajectory.prompt)
    config, params = sampler.policy_config, sampler.params
    if config.context == "markov":
        return prefill(sampler, spec, prompt)
    token, valid = (_flat(x) for x in layout.tokens(trajectory))
    cache = transformer.empty_cache(config, params, spec, len(token))._replace(valid=valid)
    return transformer.decode(config, params, cache, token, 0)[-1]


def fork(
    task: Environment,
    sampler: Sampler,
    cache: transformer.Cache,
    trajectory: Trajectory,
    turn: Int[Array, ""] | int,
    keys: Key[Array, " B"],
    discount: Float[Array, ""] | float = 1.0,
    axis_name: tuple[str, ...] | str = (),
) -> ForkOutcome:
    """Plays every episode once more from before its action at `turn`.

    The return of an episode that was over by then is 0.

    Args:
      cache: the result of `cache_episodes`.
      keys: [B], for each fork's transitions and choices.
      discount: of the return, per turn.
      axis_name: a vmapped axis over whose members the turn loop ends together, as in `rollout`.
    """
    spec, flat = task.spec, jax.tree.map(_flat, trajectory)

    def is_alive(fork):
        return (fork.turn < spec.num_turns) & jax.lax.pmax(jnp.any(~fork.step.done), axis_name)

    def play(fork):
        turn_keys, observation = fold(keys, fork.turn), fork.step.observation
        action, cache = act(
            sampler, spec, turn_keys, fork.cache, fork.turn, flat.prompt, fork.before, observation
        )
        token, mask, (state, step) = respond(task, turn_keys, fork.state, fork.step, action.token)
        gain = jnp.where(fork.step.done, 0.0, step.reward) * discount ** (fork.turn - turn)
        total, turns, tokens = fork.outcome
        outcome = ForkOutcome(total + gain, turns + mask.any(-1).sum(), tokens + mask.sum())
        cache = close_turn(spec, cache, fork.turn, mask)
        return _Fork(fork.turn + 1, state, step, token[:, -1], cache, outcome)

    outcome = jax.lax.while_loop(is_alive, play, _start(spec, cache, flat, turn)).outcome
    return outcome._replace(total=outcome.total.reshape(trajectory.mask.shape[:2]))


def _start(spec: Spec, cache: transformer.Cache, flat: Trajectory, turn) -> _Fork:
    """Returns the forks before their first turn; the episodes are [B, ...]."""
    alive = flat.mask[:, turn].any(-1)
    zeros = jnp.zeros(len(alive))
    step = TimeStep(flat.observation[:, turn], zeros, ~alive, zeros > 0)
    before = jnp.where(turn == 0, flat.prompt[:, -1], flat.action[:, turn - 1, -1])
    if cache.valid.shape[1] == spec.context_length:
        later = jnp.arange(spec.context_length) >= layout.start_of_turn(spec, turn)
        cache = cache._replace(valid=cache.valid | later)
    state = jax.tree.map(lambda x: x[:, turn], flat.state)
    outcome = ForkOutcome(zeros, jnp.int32(0), jnp.int32(0))
    return _Fork(jnp.int32(turn), state, step, before, cache, outcome)


def _flat(x: Array) -> Array:
    """Returns [N, G, ...] as [B, ...]."""
    return x.reshape((-1,) + x.shape[2:])
