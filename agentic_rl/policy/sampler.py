"""How the policy acts: it reads what is new against its cache, and draws one token after the other."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from agentic_rl.policy import layout, transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Spec


class Sampler(NamedTuple):
    """How the policy turns logits into actions: its weights and a temperature (1: as trained, 0: greedy)."""

    policy_config: Policy
    params: transformer.Params
    temperature: Float[Array, ""] | float = 1.0


class Action(NamedTuple):
    """What was chosen in a turn, and how likely that was at temperature 1."""

    token: Int[Array, "B A"]
    log_prob: Float[Array, "B A"]
    collision: Float[Array, "B A"]  # Σ π²


def fold(key, data):
    """`fold_in` for a batch of keys or of data."""
    axes = (0 if key.ndim else None, 0 if jnp.ndim(data) else None)
    return jax.vmap(jax.random.fold_in, axes)(key, data)


def prefill(sampler: Sampler, spec: Spec, prompt: Int[Array, "N P"]) -> transformer.Cache:
    """The cache behind all of the prompt but its last token, which is read with the first observation."""
    cache = transformer.empty_cache(sampler.policy_config, sampler.params, spec, len(prompt))
    if spec.prompt_length == 1:
        return cache
    return transformer.decode(sampler.policy_config, sampler.params, cache, prompt[:, :-1], 0)[-1]


def act(
    sampler: Sampler, spec: Spec, keys, cache: transformer.Cache, turn: Int[Array, ""],
    prompt: Int[Array, "B P"], before: Int[Array, " B"], observation: Int[Array, "B O"],
) -> tuple[Action, transformer.Cache]:  # fmt: skip
    """An action for every episode at its `turn`, and the cache behind it. `before` is the last token of the turn before."""
    markov = sampler.policy_config.context == "markov"
    index = layout.start_of_turn(spec, 0 if markov else turn)
    chunk = jnp.concatenate([(prompt[:, -1] if markov else before)[:, None], observation], axis=1)
    logits, _, cache = transformer.decode(
        sampler.policy_config, sampler.params, cache, chunk, index - 1
    )
    first = _sample(fold(keys, 0), logits, sampler.temperature)

    def next_token(carry, a):
        token, cache = carry
        logits, _, cache = transformer.decode(
            sampler.policy_config,
            sampler.params,
            cache,
            token[:, None],
            index + spec.observation_length + a - 1,
        )
        drawn = _sample(fold(keys, a), logits, sampler.temperature)
        return (drawn.token, cache), drawn

    (_, cache), rest = jax.lax.scan(
        next_token, (first.token, cache), jnp.arange(1, spec.action_length)
    )
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]).T, first, rest), cache


def close_turn(
    spec: Spec, cache: transformer.Cache, turn: Int[Array, ""], mask
) -> transformer.Cache:
    """The cache in which later turns see only the tokens of this turn's action that count (`mask` [B, A])."""
    if cache.valid.shape[1] != spec.context_length:
        return cache  # of one turn: nothing comes later
    place = layout.start_of_turn(spec, turn) + spec.observation_length
    return cache._replace(valid=jax.lax.dynamic_update_slice(cache.valid, mask, (0, place)))


def _sample(keys, logits: Float[Array, "B V"], temperature) -> Any:
    """A token from softmax(logits / temperature), its log-probability and the collision probability at temperature 1."""
    noise = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[-1:], logits.dtype))(keys)
    token = jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.int32)
    log_prob = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_prob, token[:, None], axis=-1)[:, 0]
    return Action(token, chosen, jnp.exp(2 * log_prob).sum(-1))
