"""One number for a state with too many parts to count: what anchors are made of where a product of ranges would overflow."""

import jax.numpy as jnp
from jaxtyping import Array, Int


def identity(*parts: Array) -> Int[Array, ""]:
    """An int32 that tells apart the values of `parts`, whatever their shapes: their polynomial hash modulo 2^32."""
    word = jnp.concatenate([jnp.ravel(x).astype(jnp.uint32) for x in parts])
    weight = jnp.array([pow(0x9E3779B1, i, 2**32) for i in range(word.size)], jnp.uint32)
    return jnp.sum(word * weight, dtype=jnp.uint32).astype(jnp.int32)
