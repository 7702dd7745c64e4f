"""Rotary positions and attention, as functions of arrays.

Shape suffixes: B sequences, L new positions, S positions attended to, H heads, K width of a head.
"""

import jax
import jax.numpy as jnp
from einops import rearrange


def rotate(x_BLHK, position_L, base: int):
    """Returns `x` with its pairs of features turned by angles proportional to the position.

    (RoFormer, 2104.09864, eq. 34)
    """
    half = x_BLHK.shape[-1] // 2
    angle_LK = position_L[:, None] * base ** (-jnp.arange(half) / half)
    cos = jnp.cos(angle_LK)[:, None].astype(x_BLHK.dtype)
    sin = jnp.sin(angle_LK)[:, None].astype(x_BLHK.dtype)
    a, b = x_BLHK[..., :half], x_BLHK[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attend(q_BLHK, k_BSHK, v_BSHK, mask_BLS):
    """Returns softmax attention [B, L, H, K]; masked positions weigh exactly zero.

    With a single query (decoding) the products are written as sums, which on a CPU takes half the
    time of the matrix library's matrix-vector products.
    """
    single = q_BLHK.shape[1] == 1
    q_BLHK = q_BLHK * q_BLHK.shape[-1] ** -0.5
    if single:
        score_BHLS = rearrange((q_BLHK * k_BSHK).sum(-1), "b s h -> b h 1 s")
    else:
        score_BHLS = jnp.einsum("blhk,bshk->bhls", q_BLHK, k_BSHK)
    score_BHLS = jnp.where(mask_BLS[:, None], score_BHLS, jnp.finfo(score_BHLS.dtype).min)
    wide = jnp.promote_types(score_BHLS.dtype, jnp.float32)
    weight_BHLS = jax.nn.softmax(score_BHLS.astype(wide), axis=-1).astype(v_BSHK.dtype)
    if single:
        return (rearrange(weight_BHLS, "b h 1 s -> b s h 1") * v_BSHK).sum(1, keepdims=True)
    return jnp.einsum("bhls,bshk->blhk", weight_BHLS, v_BSHK)
