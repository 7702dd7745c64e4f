"""Draws problems by their id from a training and a test split that share no instance.

An instance belongs to the test split if the hash of its initial state falls into a fixed quarter
of all hashes. A problem is drawn again until it lands in the requested split, so that the splits
of every task are disjoint.
"""

from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray, UInt

from agentic_rl.types import Environment, State, TimeStep

Split = Literal["train", "test"]
# Draws per instance that a task has. After them any instance is taken, so that a task with a single
# instance has it in both splits.
ROUNDS = 64


def instance_hash(state: State) -> UInt[Array, ""]:
    """Returns a 32-bit hash of the whole state."""
    return _mix(jnp.concatenate([_words(x) for x in jax.tree.leaves(state)]), jnp)


def is_test(words: UInt[np.ndarray, "instances words"]) -> Bool[np.ndarray, " instances"]:
    """Returns on the host which instances are in the test split, given their states as words."""
    return _mix(words, np) % 4 == 0


def _mix(word: Any, xp: ModuleType) -> Any:
    """Returns the sum over words [..., W], each mixed with its place by murmur3's finalizer."""
    mixed = word + xp.arange(1, word.shape[-1] + 1, dtype=xp.uint32) * xp.uint32(0x9E3779B9)
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        mixed = (mixed ^ (mixed >> 16)) * xp.uint32(factor)
    return (mixed ^ (mixed >> 13)).sum(-1, dtype=xp.uint32)


def _words(x: Array) -> UInt[Array, " size"]:
    """Returns the bits of an array as 32-bit words."""
    is_float = jnp.issubdtype(x.dtype, jnp.floating)
    return jnp.ravel(
        jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
        if is_float
        else x.astype(jnp.uint32)
    )


def draw(task: Environment, split: Split, key: PRNGKeyArray) -> tuple[State, TimeStep]:
    """Returns the first of the key's draws whose instance is in `split`, as state and time step."""
    rounds = ROUNDS * getattr(task, "num_instances", 1)

    def is_wrong(carry):
        count, (state, _) = carry
        in_test = instance_hash(state) % 4 == 0
        return (count == 0) | ((in_test != (split == "test")) & (count < rounds))

    def redraw(carry):
        return carry[0] + 1, task.reset(jax.random.fold_in(key, carry[0]))

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(task.reset, key))
    return jax.lax.while_loop(is_wrong, redraw, (jnp.int32(0), nothing))[1]
