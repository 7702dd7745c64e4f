"""Which problem is drawn: by its id alone, from the training or the test instances, which never meet.

An instance belongs to the test split if the hash of its initial state falls into one quarter of all hashes; a problem's draw is
repeated until it lands in the split asked for, so the splits of every task are disjoint by instance, whatever the task.
"""

from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, UInt

from agentic_rl.types import Environment, State, TimeStep

Split = Literal["train", "test"]
ROUNDS = 64  # draws for each instance that a task has; after them any instance is taken, so that a single one stands in both splits


def instance_hash(state: State) -> UInt[Array, ""]:
    """Returns a 32-bit hash of everything in the state."""
    return _mixed(jnp.concatenate([_words(x) for x in jax.tree.leaves(state)]), jnp)


def is_test(words: UInt[np.ndarray, "instances words"]) -> Bool[np.ndarray, " instances"]:
    """Returns which instances, given as the words of their states, are in the test split; on the host."""
    return _mixed(words, np) % 4 == 0


def _mixed(word: Any, xp: ModuleType) -> Any:
    """Returns the sum over the words [..., W], each mixed with its place. (murmur3's finalizer)"""
    mixed = word + xp.arange(1, word.shape[-1] + 1, dtype=xp.uint32) * xp.uint32(0x9E3779B9)
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        mixed = (mixed ^ (mixed >> 16)) * xp.uint32(factor)
    return (mixed ^ (mixed >> 13)).sum(-1, dtype=xp.uint32)


def _words(x: Array) -> UInt[Array, " size"]:
    is_float = jnp.issubdtype(x.dtype, jnp.floating)
    return jnp.ravel(
        jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
        if is_float
        else x.astype(jnp.uint32)
    )


def draw(task: Environment, split: Split, key: PRNGKeyArray) -> tuple[State, TimeStep]:
    """Returns the problem of `key`: the first of its draws whose instance is in `split`."""
    rounds = ROUNDS * getattr(task, "num_instances", 1)

    def is_wrong(carry):
        count, (state, _) = carry
        in_test = instance_hash(state) % 4 == 0
        return (count == 0) | ((in_test != (split == "test")) & (count < rounds))

    def redraw(carry):
        return carry[0] + 1, task.reset(jax.random.fold_in(key, carry[0]))

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(task.reset, key))
    return jax.lax.while_loop(is_wrong, redraw, (jnp.int32(0), nothing))[1]
