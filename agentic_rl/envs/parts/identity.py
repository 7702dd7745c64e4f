"""Hashes a state into one number, for anchors whose possible values are too many to enumerate."""

import jax.numpy as jnp
from jaxtyping import Array, Int


def identity(*parts: Array) -> Int[Array, ""]:
    """Returns a polynomial hash modulo 2^32 of all `parts`, which may have any shapes, as int32."""
    word = jnp.concatenate([jnp.ravel(x).astype(jnp.uint32) for x in parts])
    weight = jnp.array([pow(0x9E3779B1, i, 2**32) for i in range(word.size)], jnp.uint32)
    return jnp.sum(word * weight, dtype=jnp.uint32).astype(jnp.int32)
