"""Rotary positions and attention, as functions of arrays.

Shape suffixes: B sequences, H heads, L new positions, S positions attended to, R queries, K width
of a head. Heads come before positions: with the two swapped, decoding takes longer on a CPU.
"""

import jax
import jax.numpy as jnp
from einops import rearrange, repeat


def rotate(x_BHLK, position_L, base: int):
    """Returns `x` with its pairs of features turned by angles proportional to the position.

    (RoFormer, 2104.09864, eq. 34)
    """
    half = x_BHLK.shape[-1] // 2
    angle_LK = position_L[:, None] * base ** (-jnp.arange(half) / half)
    cos = jnp.cos(angle_LK).astype(x_BHLK.dtype)
    sin = jnp.sin(angle_LK).astype(x_BHLK.dtype)
    a, b = x_BHLK[..., :half], x_BHLK[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attend(q_BHRK, k_BHSK, v_BHSK, mask_BRS):
    """Returns softmax attention [B, H, R, K]; masked positions weigh exactly zero."""
    q_BHRK = q_BHRK * q_BHRK.shape[-1] ** -0.5
    score_BHRS = jnp.einsum("bhrk,bhsk->bhrs", q_BHRK, k_BHSK)
    score_BHRS = jnp.where(mask_BRS[:, None], score_BHRS, jnp.finfo(score_BHRS.dtype).min)
    wide = jnp.promote_types(score_BHRS.dtype, jnp.float32)
    weight_BHRS = jax.nn.softmax(score_BHRS.astype(wide), axis=-1).astype(v_BHSK.dtype)
    return jnp.einsum("bhrs,bhsk->bhrk", weight_BHRS, v_BHSK)


def attend_in_parts(prompt: int, parts: int, q_BHRK, k_BHLK, v_BHLK, mask_BTQS):
    """Returns the attention [B, H, R, K] of parts that see the prompt and themselves only.

    A sequence is a prompt of `prompt` tokens and `parts` parts of equal length. The queries are of
    all its tokens (R = L), or of some tokens of each part.

    Args:
      mask_BTQS: of each part's queries, which keys of the prompt and of the part they may see;
        with the prompt's queries first, if there are any.
    """
    is_all = q_BHRK.shape[2] == k_BHLK.shape[2]
    first_BHPK, rest_BHRK = jnp.split(q_BHRK, [prompt if is_all else 0], axis=2)
    rest = rearrange(rest_BHRK, "b h (t q) k -> (b t) h q k", t=parts)
    mask = rearrange(mask_BTQS[:, :, -rest.shape[2] :], "b t q s -> (b t) q s")
    keys, values = (_with_prompt(x, prompt, parts) for x in (k_BHLK, v_BHLK))
    out = attend(rest, keys, values, mask)
    out_BHRK = rearrange(out, "(b t) h q k -> b h (t q) k", t=parts)
    if not is_all:
        return out_BHRK
    mask_BPP = mask_BTQS[:, 0, :prompt, :prompt]
    first = attend(first_BHPK, k_BHLK[:, :, :prompt], v_BHLK[:, :, :prompt], mask_BPP)
    return jnp.concatenate([first, out_BHRK], axis=2)


def _with_prompt(x_BHLK, prompt: int, parts: int):
    """Returns each part with the prompt before it, [B·T, H, S, K]."""
    first, rest = jnp.split(x_BHLK, [prompt], axis=2)
    first = repeat(first, "b h p k -> (b t) h p k", t=parts)
    rest = rearrange(rest, "b h (t g) k -> (b t) h g k", t=parts)
    return jnp.concatenate([first, rest], axis=2)
