"""Checkpoints of a run: written in the background by Orbax, each one complete or absent, the last two kept.

Each carries a checksum of its arrays, because Orbax notices a truncated file but not a flipped bit.
"""

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from agentic_rl.config import ConfigError
from agentic_rl.disk import refusal

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs the traceback of every error it also raises


class Checkpoints:
    """The checkpoints in a folder, one subfolder per step. Nothing is created before the first `save`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._manager: ocp.CheckpointManager | None = None

    def save(self, step: int, state: PyTree) -> None:
        """Copies `state` to the host and writes it in the background; a step not above the newest one is skipped.

        Raises: ConfigError if the disk refuses this checkpoint or (found out only now) the one before.
        """
        host = jax.device_get(state)
        with _writing(self.folder):
            if self._manager is None:
                latest = ocp.checkpoint_managers.LatestN(2)
                options = ocp.CheckpointManagerOptions(preservation_policy=latest, cleanup_tmp_directories=True)
                self._manager = ocp.CheckpointManager(self.folder, options=options)
            self._manager.save(step, args=ocp.args.StandardSave(host), custom_metadata={"crc32": checksum(host)})

    def restore(self, template: PyTree) -> tuple[int, PyTree] | None:
        """Step and state of the newest checkpoint, bitwise, as numpy arrays that the caller places; None if there is none.

        `template` is a tree of arrays (or `jax.ShapeDtypeStruct`) of the structure, shapes and dtypes to expect.
        Raises: ConfigError if the checkpoint is damaged or of other shapes.
        """
        self.wait()
        if not self.folder.is_dir():
            return None
        options, handler = ocp.CheckpointManagerOptions(read_only=True), ocp.StandardCheckpointHandler()
        with ocp.CheckpointManager(self.folder, options=options, item_handlers=handler) as manager:
            step = manager.latest_step()
            return None if step is None else (step, _read(manager, step, template))

    def wait(self) -> None:
        """Returns when all that was saved is on disk.

        Raises: ConfigError if the disk refused it.
        """
        if self._manager is not None:
            with _writing(self.folder):
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits as `wait` does, and ends Orbax's threads."""
        if self._manager is not None:
            with _writing(self.folder):
                self._manager.close()
            self._manager = None


def checksum(state: PyTree) -> int:
    """The CRC-32 of the bytes of all leaves, in order."""
    crc = 0
    for leaf in jax.tree.leaves(state):
        crc = zlib.crc32(np.asarray(leaf).tobytes(), crc)
    return crc


def _read(manager: ocp.CheckpointManager, step: int, template: PyTree) -> PyTree:
    # Orbax would pad, cut or cast what does not fit the template.
    checkpoint = Path(manager.directory / str(step))
    with _reading(checkpoint):
        saved, expected = _layout(manager.item_metadata(step).tree), _layout(template)
        odd = sorted(name for name in saved | expected if saved.get(name) != expected.get(name))
        if odd:
            values = f"{odd[0]} is {saved.get(odd[0], 'absent')} there and {expected.get(odd[0], 'absent')} here"
            sentence = f"The checkpoint {checkpoint} is of another model ({values}); use the config it was made with, or a new directory."
            raise ConfigError(sentence)
        empty = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), template)
        state = manager.restore(step, args=ocp.args.StandardRestore(empty))
        if checksum(state) != manager.metadata(step).custom_metadata["crc32"]:
            raise ValueError("The checksum does not fit.")
        return state


def _layout(tree: PyTree) -> dict[str, str]:
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}" for path, x in leaves}


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: what TensorStore makes of a full disk
        raise ConfigError(refusal(error, folder, "a checkpoint")) from None


@contextmanager
def _reading(checkpoint: Path) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # damage shows as almost any error
        raise ConfigError(f"The checkpoint {checkpoint} is damaged; delete that folder to go on from the one before it.") from error
