"""A run's directory: what the run was, what it measured, and from where it can go on. Only this, with its parts, touches the disk.

    config.json     the run's config, and under "made_by" the versions, git commit, devices and date
    metrics.jsonl   one row per logged step, with its time; the single truth, of which TensorBoard is a view; see `log.py`
    episodes.jsonl  rendered episodes
    lock            locked while a process writes; see `lock.py`
    NAME/           TensorBoard's view, named as the directory; see `tensorboard.py`
    checkpoints/    see `checkpoints.py`
    warm_start/     checkpoints of the warm start, if there is one
    result.json     written last: its presence means that the run is finished

Floats are written so that they read back exactly; NaN, Infinity and -Infinity stand as such, as in Python's `json`.
"""

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

from jaxtyping import PyTree

from agentic_rl import atomic
from agentic_rl.checkpoints import Checkpoints
from agentic_rl.config import ConfigError, check
from agentic_rl.disk import note, reading, writing
from agentic_rl.lock import Lock
from agentic_rl.log import Log, Row, has_numbers, has_texts, to_json
from agentic_rl.provenance import made_by
from agentic_rl.tensorboard import TensorBoard
from agentic_rl.thinning import thinned


class RunDirectory:
    """A run on disk. `create` it to write, `open` it to read.

    Reading changes nothing and needs no lock. Whoever writes has the directory's lock, from the first write (or the beginning of the
    `with` block) until `close`; another process is refused meanwhile.
    """

    def __init__(self, path: Path, config: dict, made_by: dict | None = None):
        self.path = path
        self.config = config
        self.made_by = made_by or {}  # versions, git commit, devices and date of the process that began the run
        self._newest: Row = {}
        self._lock = Lock(path)
        self._metrics = Log(path / "metrics.jsonl", partial(has_numbers, seeds=config.get("seeds")))
        self._episodes = Log(path / "episodes.jsonl", has_texts)
        self._checkpoints = Checkpoints(path / "checkpoints")
        self.warm_start = Checkpoints(path / "warm_start")
        self._tensorboard = TensorBoard(path)

    @classmethod
    def create(cls, path: str | Path, config: dict) -> "RunDirectory":
        """The directory of the run of this config: a new one, or the one that an earlier process left, to `resume`.

        Raises: ConfigError, with nothing changed, if `path` holds anything else or cannot be written.
        """
        path = Path(path).absolute()
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            if all(file.name == "lock" or file.name.startswith(".config.json.") for file in path.iterdir()):
                with Lock(path):
                    if not (path / "config.json").exists():  # another process may have come first
                        atomic.write(path / "config.json", to_json({"config": config, "made_by": made_by()}, indent=2))
        occupied = f"{path} is not the directory of a run, and not empty; name an empty or a new one."
        check((path / "config.json").exists(), occupied)
        run = cls.open(path)
        there, here = flat(run.config), flat(json.loads(to_json(config)))
        odd = sorted(name for name in there | here if there.get(name, "absent") != here.get(name, "absent"))
        if odd:
            old, new = (shorten(str(config.get(odd[0], "absent")), 80, placeholder=" ...") for config in (there, here))
            values = f"{odd[0]} is {old} there and {new} here"
            raise ConfigError(f"{path} holds a run of another config ({values}); choose another directory, or that config to resume it.")
        return run

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """The run in `path`.

        Raises: ConfigError if there is none, or if its config is damaged.
        """
        path = Path(path).absolute()
        file = path / "config.json"
        foreign = f"{path} is not the directory of a run, which holds a config.json; name one that is."
        with reading(file):
            check(file.is_file(), foreign)
            stored = _parse(file.read_bytes())
        is_foreign = isinstance(stored, dict) and not {"config", "made_by"} & set(stored)
        check(not is_foreign, foreign)
        is_whole = isinstance(stored, dict) and isinstance(stored.get("config"), dict)
        check(is_whole, f"{file} is damaged; put it back from a copy, such as that of another run with the same flags.")
        made_by = stored.get("made_by")
        return cls(path, stored["config"], made_by if isinstance(made_by, dict) else None)

    def rows(self) -> Iterator[Row]:
        """The logged rows, one by one in the order of their steps, so that not all need to be in memory."""
        return self._metrics.rows()

    @property
    def metrics(self) -> list[Row]:
        """All logged rows, in the order of their steps."""
        return list(self.rows())

    @property
    def episodes(self) -> list[Row]:
        """The logged episodes, in order: rows of `step`, `time` and `episodes`, a list of texts."""
        return list(self._episodes.rows())

    @property
    def result(self) -> dict | None:
        """What the run was finished with; None if it is not, or if a damaged file does not tell."""
        path = self.path / "result.json"
        if not path.exists():
            return None
        with reading(path):
            result = _parse(path.read_bytes())
        if not isinstance(result, dict):
            note(f"{path} is damaged; the run counts as unfinished, and going on with it writes that file anew.")
            return None
        return result

    def row(self, step: int) -> Row:
        """The logged row of a step; where the log has lost it, the copy in the checkpoint of that step.

        Raises: ConfigError if there is neither.
        """
        row = self._metrics.row(step) or self._checkpoints.row(step)
        sentence = f"{self._metrics.path} has no row of update {step}, of which the checkpoint is, so that nobody knows what was spent"
        check(row is not None, f"{sentence} until then; put that file back from a copy, or train in a new directory.")
        return row

    def reconfigure(self, config: dict) -> None:
        """Replaces the config of a run that is to go on with another one, such as more updates; "resumed_by" says who did.

        A result, which was of the old config, becomes `earlier_result.json`.
        Raises: ConfigError, with nothing changed, if another process writes here or the disk refuses it.
        """
        self._lock.acquire()
        with writing(self.path):
            stored = json.loads((self.path / "config.json").read_text())
            stored |= {"config": config, "resumed_by": [*stored.get("resumed_by", []), made_by()]}
            result, earlier = self.path / "result.json", self.path / "earlier_result.json"
            if was_finished := result.exists():
                os.replace(result, earlier)
            try:
                atomic.write(self.path / "config.json", to_json(stored, indent=2))
            except OSError:
                if was_finished:
                    os.replace(earlier, result)
                raise
        self.config = json.loads(to_json(config))

    def log(self, row: Row) -> None:
        """Writes a row: its `step`, numbers, and lists of one number per seed; adds its `time`, in seconds since 1970.

        Log a step before saving it: `resume` keeps the rows up to its checkpoint, and one not yet written would be lost.
        Raises: ConfigError if another process writes here or the disk refuses it.
        """
        self._lock.acquire()
        with writing(self.path):
            self._tensorboard.flush()  # a full disk shows here, not in TensorBoard's thread
            self._newest = self._metrics.append(row)
            self._tensorboard.add_row(self._newest)

    def log_episodes(self, step: int, texts: list[str]) -> None:
        """Writes rendered episodes; all else as `log`. A step that has episodes keeps those: a run killed soon after plays them again."""
        self._lock.acquire()
        with writing(self.path):
            self._tensorboard.flush()
            if self._episodes.row(step) is None:
                self._tensorboard.add_episodes(self._episodes.append({"step": step, "episodes": texts}))

    def save(self, step: int, state: PyTree) -> None:
        """Starts writing a checkpoint, with a copy of the row that was logged of this step; see `Checkpoints.save`."""
        self._lock.acquire()
        self._checkpoints.save(step, state, self._newest if self._newest.get("step") == step else None)

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint; None if there is none."""
        return self._checkpoints.newest

    def restore(self, template: PyTree) -> tuple[int, PyTree] | None:
        """Step and state of the newest sound checkpoint, or None; see `Checkpoints.restore`."""
        return self._checkpoints.restore(template)

    def resume(self, template: PyTree) -> tuple[int, PyTree] | None:
        """As `restore`, and drops all that was logged after that step, so that a run going on from it logs nothing twice.

        The row of that step is put back if the log has lost it. Damaged lines and checkpoints are moved aside, each with a `DiskNotice`.
        For runs without a `result`: it drops the summary that `finish` gave to TensorBoard, too.
        Raises: ConfigError, with nothing changed, as `restore` and `row` do, if updates are logged and no checkpoint is there, if another
          process writes here, or if the disk refuses.
        """
        self._lock.acquire()
        restored = self.restore(template)
        step = restored[0] if restored else -1
        row = self.row(step) if restored else None
        if restored is None:
            self._check_nothing_is_lost()
        with writing(self.path):
            self._checkpoints.set_aside(step)
            for log in (self._metrics, self._episodes):
                log.keep(step)
            if row and self._metrics.last() != step:
                self._metrics.put(row)
                note(f"{self._metrics.path} was behind the checkpoint of update {step}; the run goes on from there, without the lost rows.")
            self._tensorboard.rewrite(self.rows(), self._episodes.rows())
        self._newest = row or {}
        return restored

    def _check_nothing_is_lost(self) -> None:
        last = self._metrics.last() or 0
        what = f"{self.path} has logged {last} updates and holds no checkpoint to go on from; put checkpoints/ back from a copy"
        check(last == 0, f"{what}, or train in a new directory (or delete its metrics.jsonl, to start over in this one).")

    def finish(self, result: dict) -> None:
        """Waits for the last checkpoint, adds the config and the learning curves to TensorBoard, and writes the result.

        Raises: ConfigError if the disk refuses it.
        """
        self._lock.acquire()
        self._checkpoints.wait()
        with writing(self.path):
            if rows := thinned(self.rows()):
                self._tensorboard.add_summary(self.config, rows)
            self._tensorboard.close()
            atomic.write(self.path / "result.json", to_json(result, indent=2))

    def wait(self) -> None:
        """Returns when all checkpoints are on disk; see `Checkpoints.wait`."""
        self._checkpoints.wait()

    def close(self) -> None:
        """Writes what is still on its way, ends the writing threads, and gives the lock back; raises what `log` and `save` raise."""
        with writing(self.path):
            try:
                self.warm_start.close()
                self._checkpoints.close()
            finally:
                try:
                    self._tensorboard.close()
                finally:
                    self._lock.release()

    def __enter__(self) -> "RunDirectory":
        self._lock.acquire()
        return self

    def __exit__(self, *error) -> None:
        self.close()


def flat(config: dict, prefix: str = "") -> dict[str, Any]:
    """The config's values by their path.

    >>> flat({"seed": 0, "task": {"num_turns": 8}})
    {'seed': 0, 'task.num_turns': 8}
    """
    values = {}
    for name, value in config.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return values


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
