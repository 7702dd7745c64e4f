"""Which problem is drawn: by its id alone, from the training or the test instances, which never meet.

An instance belongs to the test split if the hash of its initial state falls into one quarter of all hashes; a problem's draw is
repeated until it lands in the split asked for, so the splits of every task are disjoint by instance, whatever the task.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, UInt

from agentic_rl.types import Environment, State, TimeStep

Split = Literal["train", "test"]
ROUNDS = 64  # a task with a single instance has no test split: after this many draws, any instance is taken


def instance_hash(state: State) -> UInt[Array, ""]:
    """A 32-bit hash of everything in the state. (FNV-1a over words, with murmur3's finalizer)"""
    hashed = jnp.uint32(2166136261)
    for leaf in jax.tree.leaves(state):
        word = jnp.ravel(leaf)
        word = jax.lax.bitcast_convert_type(word.astype(jnp.float32), jnp.uint32) if word.dtype.kind == "f" else word.astype(jnp.uint32)
        hashed = jax.lax.fori_loop(0, word.size, lambda i, h: (h ^ word[i]) * jnp.uint32(16777619), hashed)
    hashed = (hashed ^ (hashed >> 16)) * jnp.uint32(0x85EBCA6B)
    return hashed ^ (hashed >> 13)


def draw(task: Environment, split: Split, key: PRNGKeyArray) -> tuple[State, TimeStep]:
    """The problem of `key`: the first of its draws whose instance is in `split`."""

    def is_wrong(carry):
        attempt, (state, _) = carry
        in_test = instance_hash(state) % 4 == 0
        return (in_test != (split == "test")) & (attempt < ROUNDS)

    def redraw(carry):
        return carry[0] + 1, task.reset(jax.random.fold_in(key, carry[0] + 1))

    return jax.lax.while_loop(is_wrong, redraw, (jnp.int32(0), task.reset(jax.random.fold_in(key, 0))))[1]


def ids(step: Int[Array, ""], count: int) -> Int[Array, " count"]:
    """Fresh problem ids of update `step`: no two updates share one."""
    return step * count + jnp.arange(count)
