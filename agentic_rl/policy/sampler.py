"""How the policy acts: it reads the new tokens against its cache and draws one token at a time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from agentic_rl.policy import layout, transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.types import Spec


class Sampler(NamedTuple):
    """A policy that acts: its config, its weights, and a temperature (1: as trained, 0: greedy)."""

    policy_config: Policy
    params: transformer.Params
    temperature: Float[Array, ""] | float = 1.0


class Action(NamedTuple):
    """Actions of one turn, with the policy's probabilities at temperature 1."""

    token: Int[Array, "B A"]
    log_prob: Float[Array, "B A"]
    collision: Float[Array, "B A"]  # Σ π² over the vocabulary


def fold(key, data):
    """Returns `jax.random.fold_in` for a batch of keys, a batch of data, or both."""
    axes = (0 if key.ndim else None, 0 if jnp.ndim(data) else None)
    return jax.vmap(jax.random.fold_in, axes)(key, data)


def prefill(sampler: Sampler, spec: Spec, prompt: Int[Array, "N P"]) -> transformer.Cache:
    """Returns the cache after all of the prompt but its last token.

    That one is read together with the first observation.
    """
    config, params = sampler.policy_config, sampler.params
    cache = transformer.empty_cache(config, params, spec, len(prompt))
    if spec.prompt_length == 1:
        return cache
    return transformer.decode(config, params, cache, prompt[:, :-1], 0)[-1]


def act(
    sampler: Sampler,
    spec: Spec,
    keys,
    cache: transformer.Cache,
    turn: Int[Array, ""],
    prompt: Int[Array, "B P"],
    before: Int[Array, " B"],
    observation: Int[Array, "B O"],
) -> tuple[Action, transformer.Cache]:
    """Returns an action for every episode, and the cache after it.

    Args:
      keys: [B], one for each episode and turn.
      before: the last token of the turn before (of the prompt, in the first turn).
    """
    config, params = sampler.policy_config, sampler.params
    markov = config.context == "markov"
    index = layout.start_of_turn(spec, 0 if markov else turn)
    chunk = jnp.concatenate([(prompt[:, -1] if markov else before)[:, None], observation], axis=1)
    logits, _, cache = transformer.decode(config, params, cache, chunk, index - 1)
    first = _sample(fold(keys, 0), logits, sampler.temperature)

    def next_token(carry, a):
        token, cache = carry
        place = index + spec.observation_length + a - 1
        logits, _, cache = transformer.decode(config, params, cache, token[:, None], place)
        sampled = _sample(fold(keys, a), logits, sampler.temperature)
        return (sampled.token, cache), sampled

    numbers = jnp.arange(1, spec.action_length)
    (_, cache), rest = jax.lax.scan(next_token, (first.token, cache), numbers)
    return jax.tree.map(lambda x, xs: jnp.concatenate([x[None], xs]).T, first, rest), cache


def close_turn(
    spec: Spec, cache: transformer.Cache, turn: Int[Array, ""], mask: Bool[Array, "B A"]
) -> transformer.Cache:
    """Returns the cache in which later turns see this turn's action only where `mask` is True."""
    if cache.valid.shape[1] != spec.context_length:
        return cache  # it holds one turn only, which no later turn sees
    place = layout.start_of_turn(spec, turn) + spec.observation_length
    return cache._replace(valid=jax.lax.dynamic_update_slice(cache.valid, mask, (0, place)))


def _sample(keys, logits: Float[Array, "B V"], temperature) -> Action:
    """Returns a token drawn from softmax(logits / temperature), with its probabilities [B]."""
    noise = jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[-1:], logits.dtype))(keys)
    token = jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.int32)
    log_prob = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_prob, token[:, None], axis=-1)[:, 0]
    return Action(token, chosen, jnp.exp(2 * log_prob).sum(-1))
