"""Checkpoints of a run: written in the background by Orbax, each one complete or absent, the last two kept.

Each carries a checksum of its arrays, because Orbax notices a truncated file but not a flipped bit, and the logged row of its step, so
that a run whose log is lost still knows what it has spent. Of a damaged checkpoint nothing is used or erased: the one before it serves.
"""

import errno
import json
import logging
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from agentic_rl.config import ConfigError, check
from agentic_rl.records.background_errors import quieten
from agentic_rl.records.disk_errors import note, refusal

REFUSALS = (
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
)  # of the system: they do not tell of damage

logging.getLogger("absl").setLevel(
    logging.CRITICAL
)  # Orbax logs the traceback of every error it also raises


class Damaged(ConfigError):
    """A checkpoint that cannot be used, in one sentence."""


class Checkpoints:
    """The checkpoints in a folder, one subfolder per step. Nothing is created before the first `save`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._manager: ocp.CheckpointManager | None = None

    def save(self, step: int, state: PyTree, row: dict[str, Any] | None = None) -> None:
        """Copies `state` to the host and writes it in the background; a step not above the newest one is skipped.

        The first checkpoint is waited for, so that a run that has gone on from it can always go on again.
        Args: row: what was logged of this step.
        Raises: ConfigError if the disk refuses this checkpoint or (found out only now) the one before.
        """
        host = jax.device_get(state)
        with _writing(self.folder):
            if self._manager is None:
                quieten()
                latest = ocp.checkpoint_managers.LatestN(2)
                options = ocp.CheckpointManagerOptions(
                    preservation_policy=latest, cleanup_tmp_directories=True
                )
                self._manager = ocp.CheckpointManager(self.folder, options=options)
            is_first = self._manager.latest_step() is None
            about = {
                "crc32": checksum(host),
                "row": json.dumps(row),
            }  # as text: Orbax need not know NaN
            self._manager.save(step, args=ocp.args.StandardSave(host), custom_metadata=about)
            if is_first:
                self._manager.wait_until_finished()

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint that is complete; None if there is none."""
        steps = (
            [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]
            if self.folder.is_dir()
            else []
        )
        return max(steps, default=None)

    def restore(self, template: PyTree) -> tuple[int, PyTree] | None:
        """Step and state of the newest sound checkpoint, bitwise, as numpy arrays that the caller places; None if there is none.

        `template` is a tree of arrays (or `jax.ShapeDtypeStruct`) of the structure, shapes and dtypes to expect.
        Raises: ConfigError if the newest is of other shapes, or all are damaged.
        """
        self.wait()
        if not self.folder.is_dir():
            return None
        with self._reader() as manager:
            damaged = []
            for step in sorted(manager.all_steps(), reverse=True):
                try:
                    state = _read(manager, step, template)
                except Damaged as error:
                    damaged.append(error)
                    continue
                if damaged:
                    note(
                        f"{' '.join(map(str, damaged))} The one before it, of update {step}, is used instead."
                    )
                return step, state
            check(
                not damaged,
                f"{' '.join(map(str, damaged))} There is no other; put it back from a copy, or train in a new directory.",
            )
            return None

    def entry(self, step: int) -> dict[str, Any] | None:
        """What was logged of the step of a checkpoint; None if it does not say."""
        if not self.folder.is_dir():
            return None
        with self._reader() as manager:
            about = (
                manager.metadata(step).custom_metadata or {} if step in manager.all_steps() else {}
            )
        try:
            row = json.loads(str(about.get("row", "null")))
        except ValueError:
            row = None
        return row if isinstance(row, dict) and row.get("step") == step else None

    def _reader(self) -> ocp.CheckpointManager:
        quieten()
        options, handler = (
            ocp.CheckpointManagerOptions(read_only=True),
            ocp.StandardCheckpointHandler(),
        )
        return ocp.CheckpointManager(self.folder, options=options, item_handlers=handler)

    def set_aside(self, last: int) -> None:
        """Moves the checkpoints behind step `last`, which are damaged, into a folder beside, so that others can take their names."""
        self.close()
        beside = self.folder.with_name(f"{self.folder.name}.damaged")
        for folder in sorted(self.folder.glob("*")):
            if folder.is_dir() and folder.name.isdecimal() and int(folder.name) > last:
                beside.mkdir(exist_ok=True)
                names = (f"{folder.name}{f'.{i}' * bool(i)}" for i in count())
                folder.rename(next(beside / name for name in names if not (beside / name).exists()))

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
    checkpoint = Path(manager.directory) / str(step)
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
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{x.dtype}{list(x.shape)}"
        for path, x in leaves
    }


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
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # damage shows as almost any error
        for reason in (os.strerror(code) for code in REFUSALS):
            check(
                reason not in str(error),
                f"Cannot read the checkpoint {checkpoint} ({reason}); see to that, then start again.",
            )
        raise Damaged(f"The checkpoint {checkpoint} is damaged.") from error
