"""A run's directory: what the run was, what it measured, and from where it can go on. Only this, with its two parts, touches the disk.

    config.json     the run's config, and under "made_by" the versions, git commit, devices and date
    metrics.jsonl   one row per logged step, with its time; the single truth, of which TensorBoard is a view
    episodes.jsonl  rendered episodes
    tensorboard/    see `tensorboard.py`
    checkpoints/    see `checkpoints.py`
    result.json     written last: its presence means that the run is finished

Floats are written so that they read back exactly; NaN, Infinity and -Infinity stand as such, as in Python's `json`.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import PyTree

from agentic_rl.checkpoints import Checkpoints
from agentic_rl.config import ConfigError, check
from agentic_rl.provenance import made_by
from agentic_rl.tensorboard import TensorBoard


class RunDirectory:
    """A run on disk. `create` it to write (a context manager, so that it is closed), `open` it to read: reading changes nothing."""

    def __init__(self, path: Path, config: dict):
        self.path = path
        self.config = config
        self._checkpoints = Checkpoints(path / "checkpoints")
        self._tensorboard = TensorBoard(path / "tensorboard")

    @classmethod
    def create(cls, path: str | Path, config: dict) -> "RunDirectory":
        """The directory of the run of this config: a new one, or the one that an earlier process left, to `resume`.

        Raises: ConfigError, with nothing changed, if `path` holds anything else or cannot be written.
        """
        path = Path(path).absolute()
        with _writing(path):
            path.mkdir(parents=True, exist_ok=True)
            if all(file.name == "config.json.tmp" for file in path.iterdir()):
                _replace(path / "config.json", _json({"config": config, "made_by": made_by()}, indent=2))
        run = cls.open(path)
        there, here = flat(run.config), flat(json.loads(_json(config)))
        odd = sorted(name for name in there | here if there.get(name, "absent") != here.get(name, "absent"))
        if odd:
            values = f"{odd[0]} is {there.get(odd[0], 'absent')} there and {here.get(odd[0], 'absent')} here"
            raise ConfigError(f"{path} holds a run of another config ({values}); choose another directory, or that config to resume it.")
        return run

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """The run in `path`.

        Raises: ConfigError if there is none.
        """
        path = Path(path).absolute()
        try:
            stored = json.loads((path / "config.json").read_text())
        except (OSError, ValueError):
            stored = None
        is_run = isinstance(stored, dict) and "made_by" in stored
        check(is_run, f"{path} is not the directory of a run; name one that is or, for a new run, an empty or new one.")
        return cls(path, stored["config"])

    @property
    def made_by(self) -> dict:
        """Versions, git commit, devices and date of the process that began the run."""
        return json.loads((self.path / "config.json").read_text())["made_by"]

    @property
    def metrics(self) -> list[dict]:
        """The logged rows, in order."""
        return rows(self.path / "metrics.jsonl")

    @property
    def episodes(self) -> list[dict]:
        """The logged episodes, in order: rows of `step`, `time` and `episodes`, a list of texts."""
        return rows(self.path / "episodes.jsonl")

    @property
    def result(self) -> dict | None:
        """What the run was finished with; None if it is not."""
        path = self.path / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def log(self, row: dict) -> None:
        """Writes a row: its `step`, numbers, and lists of one number per seed; adds its `time`, in seconds since 1970.

        Log a step before saving it: `resume` keeps the rows up to its checkpoint, and one not yet written would be lost.
        Raises: ConfigError if the disk refuses it.
        """
        with _writing(self.path):
            self._tensorboard.add_row(self._append("metrics.jsonl", row))

    def log_episodes(self, step: int, texts: list[str]) -> None:
        """Writes rendered episodes; all else as `log`."""
        with _writing(self.path):
            self._tensorboard.add_episodes(self._append("episodes.jsonl", {"step": step, "episodes": texts}))

    def _append(self, name: str, row: dict) -> dict:
        self._tensorboard.flush()  # a full disk shows here, not in TensorBoard's thread
        line = _json({**row, "time": time.time()})
        with open(self.path / name, "a") as file:
            file.write(line + "\n")
        return json.loads(line)

    def save(self, step: int, state: PyTree) -> None:
        """Starts writing a checkpoint; see `Checkpoints.save`."""
        self._checkpoints.save(step, state)

    def restore(self, template: PyTree) -> tuple[int, PyTree] | None:
        """Step and state of the newest checkpoint, or None; see `Checkpoints.restore`."""
        return self._checkpoints.restore(template)

    def resume(self, template: PyTree) -> tuple[int, PyTree] | None:
        """As `restore`, and drops all that was logged after that step, so that a run going on from it logs nothing twice.

        For runs without a `result`: it drops the summary that `finish` gave to TensorBoard, too.
        Raises: ConfigError as `restore` does (then nothing is dropped), or if the disk refuses.
        """
        restored = self.restore(template)
        last = restored[0] if restored else -inf
        with _writing(self.path):
            for name in ("metrics.jsonl", "episodes.jsonl"):
                kept = [row for row in rows(self.path / name) if row["step"] <= last]
                if (self.path / name).exists():
                    _replace(self.path / name, "".join(_json(row) + "\n" for row in kept))
            self._tensorboard.rewrite(self.metrics, self.episodes)
        return restored

    def finish(self, result: dict) -> None:
        """Waits for the last checkpoint, adds the config and the learning curves to TensorBoard, and writes the result.

        Raises: ConfigError if the disk refuses it.
        """
        self._checkpoints.wait()
        with _writing(self.path):
            if self.metrics:
                self._tensorboard.add_summary(flat(self.config), self.metrics)
            self._tensorboard.close()
            _replace(self.path / "result.json", _json(result, indent=2))

    def wait(self) -> None:
        """Returns when all checkpoints are on disk; see `Checkpoints.wait`."""
        self._checkpoints.wait()

    def close(self) -> None:
        """Writes what is still on its way, and ends the writing threads; raises what `log` and `save` raise."""
        with _writing(self.path):
            try:
                self._checkpoints.close()
            finally:
                self._tensorboard.close()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *error) -> None:
        self.close()


def rows(path: Path) -> list[dict]:
    """The rows of a JSONL file, [] if there is none; a last line that a kill left unfinished is not one."""
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def flat(config: dict, prefix: str = "") -> dict[str, Any]:
    """The config's values by their path.

    >>> flat({"seed": 0, "task": {"num_turns": 8}})
    {'seed': 0, 'task.num_turns': 8}
    """
    values = {}
    for name, value in config.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return values


def _json(value: Any, **options) -> str:
    return json.dumps(value, default=lambda array: np.asarray(array).tolist(), **options)


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"Cannot write to {path} ({error.strerror or error}); make that possible or choose another directory.") from None
