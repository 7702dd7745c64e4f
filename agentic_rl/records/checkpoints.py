"""Checkpoints of a run: Orbax writes them in the background, and the last two are kept.

Each one is complete or absent. It carries the log entry of its step, so that a run whose log is
lost still knows its budgets. A damaged checkpoint is neither used nor erased: the one before it is
read instead.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from agentic_rl.config import ConfigError, check
from agentic_rl.records.background_errors import quieten
from agentic_rl.records.checkpoint_reading import Damaged, checksum, read
from agentic_rl.records.disk_errors import note, refusal

# Orbax logs the traceback of every error that it also raises.
logging.getLogger("absl").setLevel(logging.CRITICAL)


class Checkpoints:
    """The checkpoints in a folder, one subfolder per step. `save` creates it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._manager: ocp.CheckpointManager | None = None

    def save(self, step: int, state: PyTree, entry: dict[str, Any] | None = None) -> None:
        """Copies `state` to the host and writes it in the background.

        A step not above the newest one is skipped. The first checkpoint is waited for, so that a
        run that has gone on from it can always be resumed.

        Args:
          entry: the log entry of this step.

        Raises: ConfigError if the disk refuses this checkpoint, or has refused the one before.
        """
        host = jax.device_get(state)
        with _writing(self.folder):
            if self._manager is None:
                self._manager = self._open_to_write()
            is_first = self._manager.latest_step() is None
            # The entry is stored as text, since Orbax's metadata cannot hold NaN.
            about = {"crc32": checksum(host), "row": json.dumps(entry)}
            self._manager.save(step, args=ocp.args.StandardSave(host), custom_metadata=about)
            if is_first:
                self._manager.wait_until_finished()

    @property
    def newest(self) -> int | None:
        """The step of the newest complete checkpoint, or None if there is none."""
        if not self.folder.is_dir():
            return None
        names = [path.name for path in self.folder.iterdir()]
        return max((int(name) for name in names if name.isdecimal()), default=None)

    def restore(self, template: PyTree) -> tuple[int, PyTree] | None:
        """Returns step and state of the newest sound checkpoint, or None if there is none.

        The state is bitwise what was saved, as numpy arrays that the caller places on devices.

        Args:
          template: a tree of arrays (or `jax.ShapeDtypeStruct`) with the structure, shapes and
            dtypes to expect.

        Raises: ConfigError if the newest is of other shapes, or if all are damaged.
        """
        self.wait()
        if not self.folder.is_dir():
            return None
        with self._open_to_read() as manager:
            return _newest_sound(manager, template)

    def entry(self, step: int) -> dict[str, Any] | None:
        """Returns the log entry that the checkpoint of a step carries, or None."""
        if not self.folder.is_dir():
            return None
        about = {}
        with self._open_to_read() as manager:
            if step in manager.all_steps():
                about = manager.metadata(step).custom_metadata or {}
        try:
            entry = json.loads(str(about.get("row", "null")))
        except ValueError:
            return None
        return entry if isinstance(entry, dict) and entry.get("step") == step else None

    def _open_to_write(self) -> ocp.CheckpointManager:
        quieten()
        latest = ocp.checkpoint_managers.LatestN(2)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=latest, cleanup_tmp_directories=True
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def _open_to_read(self) -> ocp.CheckpointManager:
        quieten()
        options = ocp.CheckpointManagerOptions(read_only=True)
        handler = ocp.StandardCheckpointHandler()
        return ocp.CheckpointManager(self.folder, options=options, item_handlers=handler)

    def set_aside(self, last: int) -> None:
        """Moves the checkpoints after step `last`, which are damaged, into `NAME.damaged`.

        New checkpoints can then be saved under their steps.
        """
        self.close()
        aside = self.folder.with_name(f"{self.folder.name}.damaged")
        for folder in sorted(self.folder.glob("*")):
            if folder.is_dir() and folder.name.isdecimal() and int(folder.name) > last:
                aside.mkdir(exist_ok=True)
                names = (f"{folder.name}{f'.{i}' * bool(i)}" for i in count())
                folder.rename(next(aside / name for name in names if not (aside / name).exists()))

    def wait(self) -> None:
        """Returns once everything that was saved is on disk.

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


def _newest_sound(manager: ocp.CheckpointManager, template: PyTree) -> tuple[int, PyTree] | None:
    damaged = []
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            state = read(manager, step, template)
        except Damaged as error:
            damaged.append(str(error))
            continue
        if damaged:
            note(f"{' '.join(damaged)} The one before it, of update {step}, is used instead.")
        return step, state
    check(
        not damaged,
        f"{' '.join(damaged)} There is no other; put it back from a copy, or train in a new"
        " directory.",
    )
    return None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # TensorStore raises ValueError on a full disk
        raise ConfigError(refusal(error, folder, "a checkpoint")) from None
