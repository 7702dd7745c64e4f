"""Which problem is drawn: by its id alone, from the training or the test instances, which never meet.

An instance belongs to the test split if the hash of its initial state falls into one quarter of all hashes; a problem's draw is
repeated until it lands in the split asked for, so the splits of every task are disjoint by instance, whatever the task.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, UInt

from agentic_rl.types import Environment, State, TimeStep

Split = Literal["train", "test"]
ROUNDS = 64  # a task with a single instance has no test split: after this many draws, any instance is taken


def instance_hash(state: State) -> UInt[Array, ""]:
    """A 32-bit hash of everything in the state: the sum of its words, each mixed with its place. (murmur3's finalizer)"""
    word = jnp.concatenate([_words(x) for x in jax.tree.leaves(state)])
    mixed = word + jnp.arange(1, word.size + 1, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(factor)
    return (mixed ^ (mixed >> 13)).sum(dtype=jnp.uint32)


def _words(x: Array) -> UInt[Array, " size"]:
    is_float = jnp.issubdtype(x.dtype, jnp.floating)
    return jnp.ravel(jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32) if is_float else x.astype(jnp.uint32))


def draw(task: Environment, split: Split, key: PRNGKeyArray) -> tuple[State, TimeStep]:
    """The problem of `key`: the first of its draws whose instance is in `split`."""

    def is_wrong(carry):
        count, (state, _) = carry
        in_test = instance_hash(state) % 4 == 0
        return (count == 0) | ((in_test != (split == "test")) & (count < ROUNDS))

    def redraw(carry):
        return carry[0] + 1, task.reset(jax.random.fold_in(key, carry[0]))

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(task.reset, key))
    return jax.lax.while_loop(is_wrong, redraw, (jnp.int32(0), nothing))[1]
