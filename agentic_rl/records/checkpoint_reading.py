"""Reads one checkpoint, and tells a damaged one from one of another model.

Each checkpoint carries a checksum of its arrays, because Orbax notices a truncated file but not a
flipped bit.
"""

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from agentic_rl.config import ConfigError, check

# Refusals of the operating system, which do not mean that a checkpoint is damaged.
REFUSALS = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Damaged(ConfigError):
    """A checkpoint that cannot be used, in one sentence."""


def read(manager: ocp.CheckpointManager, step: int, template: PyTree) -> PyTree:
    """Returns the state of a step as numpy arrays.

    Raises: Damaged; ConfigError if it is of another model than `template`, or cannot be read.
    """
    checkpoint = Path(manager.directory) / str(step)
    with _reading(checkpoint):
        _check_same_model(checkpoint, manager.item_metadata(step).tree, template)
        empty = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), template)
        state = manager.restore(step, args=ocp.args.StandardRestore(empty))
        if checksum(state) != manager.metadata(step).custom_metadata["crc32"]:
            raise ValueError("The checksum does not fit.")
        return state


def checksum(state: PyTree) -> int:
    """Returns the CRC-32 of the bytes of all leaves, in order."""
    crc = 0
    for leaf in jax.tree.leaves(state):
        crc = zlib.crc32(np.asarray(leaf).tobytes(), crc)
    return crc


def _check_same_model(checkpoint: Path, saved_tree: PyTree, template: PyTree) -> None:
    """Refuses arrays that do not fit the template, which Orbax would pad, cut or cast."""
    saved, expected = _layout(saved_tree), _layout(template)
    odd = sorted(name for name in saved | expected if saved.get(name) != expected.get(name))
    if odd:
        there, here = (layout.get(odd[0], "absent") for layout in (saved, expected))
        raise ConfigError(
            f"The checkpoint {checkpoint} is of another model ({odd[0]} is {there} there and"
            f" {here} here); use the config it was made with, or a new directory."
        )


def _layout(tree: PyTree) -> dict[str, str]:
    """Returns the dtype and shape of each leaf by its path."""
    layout = {}
    for path, leaf in jax.tree.flatten_with_path(tree)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        layout[name] = f"{leaf.dtype}{list(leaf.shape)}"
    return layout


@contextmanager
def _reading(checkpoint: Path) -> Iterator[None]:
    """Turns errors within this block into Damaged or, where the system refuses, ConfigError."""
    try:
        yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # damage shows as almost any error
        for reason in (os.strerror(code) for code in REFUSALS):
            check(
                reason not in str(error),
                f"Cannot read the checkpoint {checkpoint} ({reason}); see to that, then start"
                " again.",
            )
        raise Damaged(f"The checkpoint {checkpoint} is damaged.") from error
