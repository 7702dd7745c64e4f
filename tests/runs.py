"""A small run directory, written without any training, which tests of records share."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agentic_rl.records.run_directory import RunDirectory

CONFIG = {
    "seed": 0,
    "task": {"class": "agentic_rl.envs.running_sum.RunningSum", "num_turns": 8},
    "betas": (0.9, 0.95),
}


class Learner(NamedTuple):
    """The state of some training."""

    params: dict
    optimizer: optax.OptState
    num_updates: jax.Array


def learner(step: int, width: int = 3) -> Learner:
    """Returns a state like that of training.

    It has a leading axis of 2 seeds, several dtypes, and a NaN among its values.
    """
    w = np.random.default_rng(step).normal(size=(2, width, 4)).astype(np.float32)
    w[0, 0, 0] = np.nan
    params = {"w": jnp.asarray(w), "b": jnp.full((2, 4), 0.1 * step, jnp.bfloat16)}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return Learner(params, optimizer.init(params), jnp.full(2, step, jnp.int32))


def same_bits(a, b) -> bool:
    """Returns whether two trees are equal in structure, dtypes, shapes and bits."""

    def bits(x):
        return x.dtype, x.shape, np.asarray(x).tobytes()

    same_structure = jax.tree.structure(a) == jax.tree.structure(b)
    return same_structure and [*map(bits, jax.tree.leaves(a))] == [*map(bits, jax.tree.leaves(b))]


def contents(path: Path) -> dict[str, bytes]:
    """Returns the content of each file in a folder, by its path there."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def write_run(path: Path, steps: range, width: int = 3) -> None:
    """Writes a run directory with a log entry, episodes and a checkpoint for each step."""
    with RunDirectory.create(path, CONFIG) as run:
        for step in steps:
            run.log({"step": step, "success": [step / 10, step / 5], "loss": 1 / (step or 1)})
            run.log_episodes(step, [f"start with {step}\n{step} + 1 -> {step + 1}", "success"])
            run.save(step, learner(step, width))
