"""A small decoder-only transformer with a value head: pre-norm, rotary positions, SwiGLU.

There are two ways through the same weights: `apply` reads whole sequences (training), and `decode`
reads a chunk of new tokens against a cache of the earlier ones (rollout). The cache is a pytree of
arrays that goes in and comes out. Logits and values are float32.

Shape suffixes: B sequences, L new positions, R of them that are chosen, S positions attended to,
D width, H heads, K width of a head, F width of the MLP, V vocabulary.
"""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, checked
from agentic_rl.config.ranges import Count
from agentic_rl.policy import layout, view
from agentic_rl.policy.attention import rotate
from agentic_rl.policy.view import View
from agentic_rl.types import Spec

Params = Any


@checked
class Policy:
    """The size of the network and what it sees; all of it is static."""

    width: Count = 64  # width of the residual stream
    layers: Count = 2  # layers of attention and MLP
    heads: Count = 4  # attention heads
    mlp: Count = 256  # hidden units of each layer's gated MLP
    # what an action sees: the whole episode so far, or the prompt and its own turn
    context: Literal["history", "markov"] = "history"
    tied: bool = True  # the output head is the embedding
    # of the computation; weights and logits stay float32
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False  # recompute each block in the backward pass: less memory, a third more work
    rope_base: Count = 10_000  # larger: slower rotations, for longer episodes

    def __post_init__(self):
        check(
            self.width % self.heads == 0 and (self.width // self.heads) % 2 == 0,
            f"width ({self.width}) must be an even multiple of heads ({self.heads}),"
            " because rotary positions turn pairs of features.",
        )


class Cache(NamedTuple):
    """Keys and values of the tokens read so far, one array per layer."""

    key: tuple[Float[Array, "B H S K"], ...]
    value: tuple[Float[Array, "B H S K"], ...]
    valid: Bool[Array, "B S"]  # False where later tokens may not look


class Block(nn.Module):
    """A layer: attention, then a gated MLP, each after its norm."""

    config: Policy
    dtype: Any

    @nn.compact
    def __call__(self, x_BLD, position_L, attend, choose, cache, index):
        c = self.config
        small = nn.initializers.normal(0.02 * (2 * c.layers) ** -0.5)

        def dense(features, name, init=nn.initializers.normal(0.02)):
            return nn.Dense(features, use_bias=False, dtype=self.dtype, kernel_init=init, name=name)

        h_BLD = nn.RMSNorm(dtype=self.dtype, name="norm_attention")(x_BLD)
        qkv = dense(3 * c.width, "qkv")(h_BLD)
        q, k, v = rearrange(qkv, "b l (n h k) -> n b h l k", n=3, h=c.heads)
        q, k = rotate(q, position_L, c.rope_base), rotate(k, position_L, c.rope_base)
        if cache is not None:
            start = (0, 0, index, 0)
            k = jax.lax.dynamic_update_slice(cache[0], k, start)
            v = jax.lax.dynamic_update_slice(cache[1], v, start)
        chosen_BHRK = jax.vmap(choose, in_axes=1, out_axes=1)(q)
        out_BRD = rearrange(attend(chosen_BHRK, k, v), "b h r k -> b r (h k)")
        x_BRD = choose(x_BLD) + dense(c.width, "out", small)(out_BRD)
        h_BRD = nn.RMSNorm(dtype=self.dtype, name="norm_mlp")(x_BRD)
        gate_BRF, up_BRF = jnp.split(dense(2 * c.mlp, "gate_up")(h_BRD), 2, axis=-1)
        return x_BRD + dense(c.width, "down", small)(nn.silu(gate_BRF) * up_BRF), (k, v)


class Transformer(nn.Module):
    """The network: from tokens to the features that the heads read, and to keys and values."""

    config: Policy
    dtype: Any

    def setup(self):
        c, normal = self.config, nn.initializers.normal(0.02)
        block = nn.remat(Block) if c.remat else Block
        self.embedding = nn.Embed(
            tokens.VOCABULARY, c.width, embedding_init=normal, dtype=self.dtype
        )
        self.blocks = [block(c, self.dtype) for _ in range(c.layers)]
        self.norm = nn.RMSNorm(dtype=self.dtype)
        if not c.tied:
            self.head = nn.Dense(tokens.VOCABULARY, use_bias=False, kernel_init=normal)
        self.value_head = nn.Dense(1, kernel_init=nn.initializers.zeros_init())

    def __call__(self, token_BL, seen: View, caches=None, index=0):
        x_BLD = self.embedding(token_BL)
        new = []
        for i, block in enumerate(self.blocks):
            is_last = i == self.config.layers - 1
            how = (seen.attend_last, seen.choose) if is_last else (seen.attend, view.EVERY)
            cache = None if caches is None else caches[i]
            x_BLD, key_and_value = block(x_BLD, seen.position, *how, cache, index)
            new.append(key_and_value)
        return self.norm(x_BLD), new

    def heads(self, x_D):
        """Returns logits and value of the features, in float32 at least."""
        x_D = x_D.astype(jnp.promote_types(x_D.dtype, jnp.float32))
        logits_V = x_D @ self.embedding.embedding.T if self.config.tied else self.head(x_D)
        return logits_V, self.value_head(x_D)[..., 0]

    def init_all(self, token_BL, seen: View):
        """Touches all weights, so that `init` makes all of them."""
        return self.heads(self(token_BL, seen)[0])


def _network(policy_config: Policy, params: Params = None) -> Transformer:
    """Returns the module; it computes in the policy's dtype, or in float64 if the weights are."""
    wide = params is not None and jax.tree.leaves(params)[0].dtype == jnp.float64
    return Transformer(policy_config, jnp.float64 if wide else jnp.dtype(policy_config.dtype))


def init(policy_config: Policy, key: PRNGKeyArray) -> Params:
    """Returns fresh weights in float32."""
    inputs = jnp.zeros((1, 1), int), view.of_first_token()
    variables = _network(policy_config).init(key, *inputs, method="init_all")
    return variables["params"]


def num_params(policy_config: Policy) -> int:
    """Returns how many weights the network has."""
    shapes = jax.eval_shape(lambda: init(policy_config, jax.random.key(0)))
    return sum(x.size for x in jax.tree.leaves(shapes))


def apply(
    policy_config: Policy,
    params: Params,
    spec: Spec,
    token: Int[Array, "B L"],
    valid: Bool[Array, "B L"],
    branched: bool = False,
) -> tuple[Float[Array, "B T A V"], Float[Array, "B T A"]]:
    """Returns the logits that predict each action token, and the values, from one pass.

    The sequences are as `layout.tokens` lays them out; with `branched` label tokens are predicted.
    """
    network, variables = _network(policy_config, params), {"params": params}
    seen = view.of_episodes(spec, policy_config.context, valid, branched)
    hidden, _ = network.apply(variables, token, seen)
    shape = (-1, spec.num_turns, spec.action_length, policy_config.width)
    return network.apply(variables, hidden.reshape(shape), method="heads")


def empty_cache(policy_config: Policy, params: Params, spec: Spec, batch: int) -> Cache:
    """Returns a cache for `batch` episodes, in `markov` context of the prompt and one turn."""
    c = policy_config
    turns = 1 if c.context == "markov" else spec.num_turns
    length = spec.prompt_length + turns * layout.turn_length(spec)
    shape = (batch, c.heads, length, c.width // c.heads)
    zeros = (jnp.zeros(shape, _network(c, params).dtype),) * c.layers
    return Cache(zeros, zeros, jnp.ones((batch, length), bool))


def decode(
    policy_config: Policy,
    params: Params,
    cache: Cache,
    token: Int[Array, "B L"],
    index: Int[Array, ""] | int,
) -> tuple[Float[Array, "B V"], Float[Array, " B"], Cache]:
    """Returns logits and value after the last of the new tokens, and the new cache.

    The new tokens stand at `index`, `index` + 1, ... of the cache. Each sees the valid tokens up
    to its own.
    """
    hidden, cache = _read(policy_config, params, cache, token, index, 1)
    network = _network(policy_config, params)
    return *network.apply({"params": params}, hidden[:, -1], method="heads"), cache


def logits_after(
    policy_config: Policy,
    params: Params,
    cache: Cache,
    token: Int[Array, "B L"],
    index: Int[Array, ""] | int,
    count: int,
) -> Float[Array, "B count V"]:
    """Returns the logits after each of the last `count` tokens, which are read as in `decode`."""
    hidden, _ = _read(policy_config, params, cache, token, index, count)
    network = _network(policy_config, params)
    return network.apply({"params": params}, hidden, method="heads")[0]


def _read(
    policy_config: Policy, params: Params, cache: Cache, token, index, count: int
) -> tuple[Float[Array, "B count D"], Cache]:
    """Returns the features of the last `count` new tokens, and the cache with all new tokens."""
    seen = view.of_next_tokens(cache.valid, index, token.shape[1], count)
    layers = list(zip(cache.key, cache.value))
    network = _network(policy_config, params)
    hidden, new = network.apply({"params": params}, token, seen, layers, index)
    return hidden, cache._replace(key=tuple(k for k, _ in new), value=tuple(v for _, v in new))
