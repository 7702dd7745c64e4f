"""Play on from a state that an episode passed through: what VinePPO's values and ReMax's baseline are made of."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from agentic_rl.policy import layout, transformer
from agentic_rl.policy.sampler import Sampler, act, close_turn, fold, prefill
from agentic_rl.rollout.rollout import respond
from agentic_rl.types import Environment, TimeStep, Trajectory


class ForkOutcome(NamedTuple):
    """What became of one fork of each episode."""

    total: Float[Array, "N G"]  # (discounted) return from the fork on
    turns: Int[Array, ""]  # played in all forks
    tokens: Int[Array, ""]  # written in all forks


class _Fork(NamedTuple):
    """What the turn loop carries, batched over B = N·G."""

    turn: Int[Array, ""]
    state: Any
    step: TimeStep
    before: Int[Array, " B"]
    cache: transformer.Cache
    outcome: ForkOutcome


def cache_episodes(
    task: Environment, sampler: Sampler, trajectory: Trajectory
) -> transformer.Cache:
    """The cache behind all of the episodes [B, ...]: read once, every fork begins with its part of it."""
    spec, prompt = task.spec, _flat(trajectory.prompt)
    if sampler.policy_config.context == "markov":
        return prefill(sampler, spec, prompt)
    token, valid = (_flat(x) for x in layout.tokens(trajectory))
    cache = transformer.empty_cache(
        sampler.policy_config, sampler.params, spec, len(token)
    )._replace(valid=valid)
    return transformer.decode(sampler.policy_config, sampler.params, cache, token, 0)[-1]


def fork(
    task: Environment, sampler: Sampler, cache: transformer.Cache, trajectory: Trajectory, turn: Int[Array, ""] | int, keys: Key[Array, " B"],
    discount: Float[Array, ""] | float = 1.0, axis_name: tuple[str, ...] | str = (),
) -> ForkOutcome:  # fmt: skip
    """Every episode once more from before its action at `turn`, by the policy; episodes that were over by then return 0.

    Args:
      cache: what `cache_episodes` gave.
      keys: [B], of each fork's transitions and choices.
      discount: of the return, per turn.
    """
    spec, here = task.spec, jax.tree.map(_flat, trajectory)
    alive = here.mask[:, turn].any(-1)
    nothing = jnp.zeros(len(alive))
    step = TimeStep(here.observation[:, turn], nothing, ~alive, nothing > 0)
    before = jnp.where(turn == 0, here.prompt[:, -1], here.action[:, turn - 1, -1])
    if cache.valid.shape[1] == spec.context_length:
        later = jnp.arange(spec.context_length) >= layout.start_of_turn(spec, turn)
        cache = cache._replace(valid=cache.valid | later)

    def is_alive(fork):
        return (fork.turn < spec.num_turns) & jax.lax.pmax(jnp.any(~fork.step.done), axis_name)

    def play(fork):
        now = fold(keys, fork.turn)
        action, cache = act(
            sampler,
            spec,
            now,
            fork.cache,
            fork.turn,
            here.prompt,
            fork.before,
            fork.step.observation,
        )
        token, mask, (state, step) = respond(task, now, fork.state, fork.step, action.token)
        gain = jnp.where(fork.step.done, 0.0, step.reward) * discount ** (fork.turn - turn)
        so_far = fork.outcome
        outcome = ForkOutcome(
            so_far.total + gain, so_far.turns + mask.any(-1).sum(), so_far.tokens + mask.sum()
        )
        return _Fork(
            fork.turn + 1,
            state,
            step,
            token[:, -1],
            close_turn(spec, cache, fork.turn, mask),
            outcome,
        )

    state = jax.tree.map(lambda x: x[:, turn], here.state)
    start = _Fork(
        jnp.int32(turn),
        state,
        step,
        before,
        cache,
        ForkOutcome(nothing, jnp.int32(0), jnp.int32(0)),
    )
    outcome = jax.lax.while_loop(is_alive, play, start).outcome
    return outcome._replace(total=outcome.total.reshape(trajectory.mask.shape[:2]))


def _flat(x: Array) -> Array:
    """[N, G, ...] as [B, ...]."""
    return x.reshape((-1,) + x.shape[2:])
