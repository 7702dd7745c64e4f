"""A small decoder-only transformer with a value head, from scratch: pre-norm, rotary positions, SwiGLU, float32 logits.

Two ways through the same weights: `apply` reads whole sequences (training), `decode` reads a chunk of new tokens against a
cache of the earlier ones (rollout). The cache is a pytree of arrays that goes in and comes out.

Shape suffixes: B sequences, L new positions, S positions attended to, D width, H heads, K width of a head, F width of the MLP,
V vocabulary.
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
from agentic_rl.policy import layout
from agentic_rl.types import Spec

Params = Any


@checked
class Policy:
    """The size of the network; all of it is static."""

    width: Count = 64  # of the residual stream
    layers: Count = 2
    heads: Count = 4  # of the attention
    mlp: Count = 256  # hidden units of each layer's gated MLP
    context: Literal["history", "markov"] = (
        "history"  # what an action sees: the whole episode so far, or the prompt and its own turn
    )
    tied: bool = True  # the output head is the embedding
    dtype: Literal["float32", "bfloat16"] = (
        "float32"  # of the computation; weights and logits stay float32
    )
    remat: bool = False  # recompute each block in the backward pass: less memory, a third more work
    rope_base: Count = 10_000  # larger: slower rotations, for longer episodes

    def __post_init__(self):
        even = self.width % self.heads == 0 and (self.width // self.heads) % 2 == 0
        check(
            even,
            f"width ({self.width}) must be an even multiple of heads ({self.heads}): rotary positions turn pairs.",
        )


class Cache(NamedTuple):
    """Keys and values of what was read so far, one array per layer; `valid` is False where later tokens may not look."""

    key: tuple[Float[Array, "B S H K"], ...]
    value: tuple[Float[Array, "B S H K"], ...]
    valid: Bool[Array, "B S"]


def rotate(x_BLHK, position_L, base: int):
    """`x` with each pair of features turned by an angle proportional to its position. (RoFormer, 2104.09864, eq. 34)"""
    half = x_BLHK.shape[-1] // 2
    angle_LK = position_L[:, None] * base ** (-jnp.arange(half) / half)
    cos, sin = (f(angle_LK)[:, None].astype(x_BLHK.dtype) for f in (jnp.cos, jnp.sin))
    a, b = x_BLHK[..., :half], x_BLHK[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attend(q_BLHK, k_BSHK, v_BSHK, mask_BLS):
    """Softmax attention; masked positions weigh exactly zero.

    With a single query (decoding) the products are sums: on a CPU twice as fast as the matrix library's matrix-vector products.
    """
    single = q_BLHK.shape[1] == 1
    q_BLHK = q_BLHK * q_BLHK.shape[-1] ** -0.5
    score_BHLS = (
        rearrange((q_BLHK * k_BSHK).sum(-1), "b s h -> b h 1 s")
        if single
        else jnp.einsum("blhk,bshk->bhls", q_BLHK, k_BSHK)
    )
    score_BHLS = jnp.where(mask_BLS[:, None], score_BHLS, jnp.finfo(score_BHLS.dtype).min)
    weight_BHLS = jax.nn.softmax(
        score_BHLS.astype(jnp.promote_types(score_BHLS.dtype, jnp.float32)), axis=-1
    ).astype(v_BSHK.dtype)
    if single:
        return (rearrange(weight_BHLS, "b h 1 s -> b s h 1") * v_BSHK).sum(1, keepdims=True)
    return jnp.einsum("bhls,bshk->blhk", weight_BHLS, v_BSHK)


class Block(nn.Module):
    """Attention, then a gated MLP, each behind its norm."""

    config: Policy
    dtype: Any

    @nn.compact
    def __call__(self, x_BLD, position_L, mask_BLS, cache, index):
        c = self.config
        small = nn.initializers.normal(0.02 * (2 * c.layers) ** -0.5)

        def dense(features, name, init=nn.initializers.normal(0.02)):
            return nn.Dense(features, use_bias=False, dtype=self.dtype, kernel_init=init, name=name)

        h_BLD = nn.RMSNorm(dtype=self.dtype, name="norm_attention")(x_BLD)
        q, k, v = rearrange(
            dense(3 * c.width, "qkv")(h_BLD), "b l (n h k) -> n b l h k", n=3, h=c.heads
        )
        q, k = rotate(q, position_L, c.rope_base), rotate(k, position_L, c.rope_base)
        if cache is not None:
            k, v = (
                jax.lax.dynamic_update_slice(old, new, (0, index, 0, 0))
                for old, new in zip(cache, (k, v))
            )
        out_BLD = rearrange(attend(q, k, v, mask_BLS), "b l h k -> b l (h k)")
        x_BLD = x_BLD + dense(c.width, "out", small)(out_BLD)
        h_BLD = nn.RMSNorm(dtype=self.dtype, name="norm_mlp")(x_BLD)
        gate_BLF, up_BLF = jnp.split(dense(2 * c.mlp, "gate_up")(h_BLD), 2, axis=-1)
        return x_BLD + dense(c.width, "down", small)(nn.silu(gate_BLF) * up_BLF), (k, v)


class Transformer(nn.Module):
    """Tokens to the hidden features that the heads read, and the keys and values of every layer."""

    config: Policy
    dtype: Any

    def setup(self):
        c = self.config
        block = nn.remat(Block) if c.remat else Block
        self.embedding = nn.Embed(
            tokens.VOCABULARY,
            c.width,
            embedding_init=nn.initializers.normal(0.02),
            dtype=self.dtype,
        )
        self.blocks = [block(c, self.dtype) for _ in range(c.layers)]
        self.norm = nn.RMSNorm(dtype=self.dtype)
        if not c.tied:
            self.head = nn.Dense(
                tokens.VOCABULARY, use_bias=False, kernel_init=nn.initializers.normal(0.02)
            )
        self.value_head = nn.Dense(1, kernel_init=nn.initializers.zeros_init())

    def __call__(self, token_BL, position_L, mask_BLS, caches=None, index=0):
        x_BLD = self.embedding(token_BL)
        new = []
        for i, block in enumerate(self.blocks):
            x_BLD, kv = block(
                x_BLD, position_L, mask_BLS, None if caches is None else caches[i], index
            )
            new.append(kv)
        return self.norm(x_BLD), new

    def heads(self, x_D):
        """Logits and value, at least float32."""
        x_D = x_D.astype(jnp.promote_types(x_D.dtype, jnp.float32))
        logits_V = x_D @ self.embedding.embedding.T if self.config.tied else self.head(x_D)
        return logits_V, self.value_head(x_D)[..., 0]

    def init_all(self, token_BL, position_L, mask_BLS):
        """Touches all weights, for `init`."""
        return self.heads(self(token_BL, position_L, mask_BLS)[0])


def _network(policy_config: Policy, params: Params = None) -> Transformer:
    """The module; it computes in the policy's dtype, or in float64 where the weights are."""
    wide = params is not None and jax.tree.leaves(params)[0].dtype == jnp.float64
    return Transformer(policy_config, jnp.float64 if wide else jnp.dtype(policy_config.dtype))


def init(policy_config: Policy, key: PRNGKeyArray) -> Params:
    """Fresh weights, float32."""
    token, position, mask = jnp.zeros((1, 1), int), jnp.zeros(1), jnp.ones((1, 1, 1), bool)
    return _network(policy_config).init(key, token, position, mask, method="init_all")["params"]


def num_params(policy_config: Policy) -> int:
    """How many weights the network has."""
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
    """Logits and values where action tokens (of the branch: label tokens) are predicted, from one pass over whole sequences."""
    mask = layout.attention_mask(spec, policy_config.context, branched) & valid[:, None]
    network = _network(policy_config, params)
    hidden, _ = network.apply(
        {"params": params}, token, layout.position(spec, policy_config.context, branched), mask
    )
    return network.apply(
        {"params": params}, hidden[:, layout.predictor_index(spec, branched)], method="heads"
    )


def empty_cache(policy_config: Policy, params: Params, spec: Spec, batch: int) -> Cache:
    """A cache for `batch` episodes; in `markov` context it holds the prompt and one turn."""
    block = spec.observation_length + spec.action_length
    length = spec.prompt_length + block * (
        1 if policy_config.context == "markov" else spec.num_turns
    )
    shape = (batch, length, policy_config.heads, policy_config.width // policy_config.heads)
    zeros = (jnp.zeros(shape, _network(policy_config, params).dtype),) * policy_config.layers
    return Cache(zeros, zeros, jnp.ones((batch, length), bool))


def decode(
    policy_config: Policy,
    params: Params,
    cache: Cache,
    token: Int[Array, "B L"],
    index: Int[Array, ""] | int,
) -> tuple[Float[Array, "B V"], Float[Array, " B"], Cache]:
    """Logits and value behind the last of `token`, which stand at `index`, `index`+1, ... of the cache; and the new cache.

    A token sees the valid positions up to its own.
    """
    hidden, cache = _read(policy_config, params, cache, token, index)
    return *_network(policy_config, params).apply(
        {"params": params}, hidden[:, -1], method="heads"
    ), cache


def logits_behind(
    policy_config: Policy,
    params: Params,
    cache: Cache,
    token: Int[Array, "B L"],
    index: Int[Array, ""] | int,
    count: int,
) -> Float[Array, "B count V"]:
    """Logits behind each of the last `count` of `token`, which `decode` would read."""
    hidden, _ = _read(policy_config, params, cache, token, index)
    return _network(policy_config, params).apply(
        {"params": params}, hidden[:, -count:], method="heads"
    )[0]


def _read(
    policy_config: Policy, params: Params, cache: Cache, token, index
) -> tuple[Float[Array, "B L D"], Cache]:
    """The features behind each token, and the cache behind them."""
    here, there = index + jnp.arange(token.shape[1]), jnp.arange(cache.valid.shape[1])
    mask = cache.valid[:, None] & (there <= here[:, None])
    layers = list(zip(cache.key, cache.value))
    hidden, new = _network(policy_config, params).apply(
        {"params": params}, token, here, mask, layers, index
    )
    return hidden, cache._replace(key=tuple(k for k, _ in new), value=tuple(v for _, v in new))
