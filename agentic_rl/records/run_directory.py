"""A run's directory: its config and measurements, and the checkpoints from which it can go on.

    config.json     the run's config, and under "made_by" the versions, commit, devices and date
    metrics.jsonl   one entry per update, with its time; TensorBoard is a view of it; see `log`
    episodes.jsonl  rendered episodes
    lock            locked while a process writes; see `lock`
    NAME/           TensorBoard's view, named after the directory; see `tensorboard`
    checkpoints/    see `checkpoints`
    warm_start/     checkpoints of the warm start, if there is one
    result.json     written last: its presence means that the run is finished

Floats are written so that they read back exactly. NaN, Infinity and -Infinity stand as such, as in
Python's `json`.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from jaxtyping import PyTree

from agentic_rl.config import check
from agentic_rl.records import atomic_files, config_file
from agentic_rl.records.checkpoints import Checkpoints
from agentic_rl.records.disk_errors import note, reading, writing
from agentic_rl.records.lock import Lock
from agentic_rl.records.log import Entry, Log, has_numbers, has_texts, to_json
from agentic_rl.records.tensorboard.writer import TensorBoard
from agentic_rl.records.thinning import thin


class RunDirectory:
    """A run on disk. `create` it to write, `open` it to read.

    Reading changes nothing and needs no lock. A writer holds the directory's lock from its first
    write (or the beginning of the `with` block) until `close`, and other processes are refused
    meanwhile.
    """

    def __init__(self, path: Path, config: dict, made_by: dict | None = None):
        self.path = path
        self.config = config
        self.made_by = made_by or {}  # versions, commit, devices and date of the first process
        self._newest: Entry = {}
        self._lock = Lock(path)
        is_entry = partial(has_numbers, seeds=config.get("seeds"))
        self._metrics = Log(path / "metrics.jsonl", is_entry)
        self._episodes = Log(path / "episodes.jsonl", has_texts)
        self._checkpoints = Checkpoints(path / "checkpoints")
        self.warm_start = Checkpoints(path / "warm_start")
        self._tensorboard = TensorBoard(path)

    @classmethod
    def create(cls, path: str | Path, config: dict) -> "RunDirectory":
        """Returns the directory of the run of this config.

        It is a new one, or the one that an earlier process left, which `resume` continues.

        Raises: ConfigError, with nothing changed, if `path` holds anything else or cannot be
          written.
        """
        path = Path(path).absolute()
        with writing(path):
            config_file.create(path, config)
        run = cls.open(path)
        config_file.check_same(path, run.config, config)
        return run

    @classmethod
    def open(cls, path: str | Path) -> "RunDirectory":
        """Returns the run in `path`.

        Raises: ConfigError if there is none, or if its config is damaged.
        """
        path = Path(path).absolute()
        return cls(path, *config_file.read(path))

    def entries(self) -> Iterator[Entry]:
        """Yields the logged entries one by one, ordered by step, without holding them all."""
        return self._metrics.entries()

    @property
    def metrics(self) -> list[Entry]:
        """All logged entries, ordered by step."""
        return list(self.entries())

    @property
    def episodes(self) -> list[Entry]:
        """The logged episodes, ordered by step; each entry holds a list of texts, "episodes"."""
        return list(self._episodes.entries())

    @property
    def result(self) -> dict | None:
        """What the run was finished with; None if it is unfinished or the file is damaged."""
        path = self.path / "result.json"
        if not path.exists():
            return None
        with reading(path):
            result = config_file.parse(path.read_bytes())
        if not isinstance(result, dict):
            note(
                f"{path} is damaged; the run counts as unfinished, and going on with it writes"
                " that file anew."
            )
            return None
        return result

    def entry(self, step: int) -> Entry:
        """Returns the logged entry of a step, or the copy in that step's checkpoint.

        Raises: ConfigError if there is neither.
        """
        entry = self._metrics.entry(step) or self._checkpoints.entry(step)
        check(
            entry is not None,
            f"{self._metrics.path} has no entry of update {step}, at which the checkpoint was"
            " saved, so that the budgets until then are unknown; put that file back from a copy,"
            " or train in a new directory.",
        )
        return entry

    def reconfigure(self, config: dict) -> None:
        """Replaces the config of a run that is to go on with another one, such as more updates.

        The file's "resumed_by" tells who did so. A result becomes `earlier_result.json`.

        Raises: ConfigError, with nothing changed, if another process writes here or the disk
          refuses it.
        """
        self._lock.acquire()
        with writing(self.path):
            config_file.replace(self.path, config)
        self.config = json.loads(to_json(config))

    def log(self, entry: Entry) -> None:
        """Writes an entry: its `step`, numbers, and lists of one number per seed.

        The `time` is added, in seconds since 1970. Log a step before saving it: `resume` keeps the
        entries up to its checkpoint, and one not yet written would be lost.

        Raises: ConfigError if another process writes here or the disk refuses it.
        """
        self._lock.acquire()
        with writing(self.path):
            self._tensorboard.flush()  # a full disk shows here, not in TensorBoard's thread
            self._newest = self._metrics.append(entry)
            self._tensorboard.add_entry(self._newest)

    def log_episodes(self, step: int, texts: list[str]) -> None:
        """Writes rendered episodes, as `log` does, unless the step already has some.

        (A run that was killed soon afterwards plays them again.)
        """
        self._lock.acquire()
        with writing(self.path):
            self._tensorboard.flush()
            if self._episodes.entry(step) is None:
                entry = self._episodes.append({"step": step, "episodes": texts})
                self._tensorboard.add_episodes(entry)

    def save(self, step: int, state: PyTree) -> None:
        """Starts writing a checkpoint with a copy of this step's entry; see `Checkpoints.save`."""
        self._lock.acquire()
        is_logged = self._newest.get("step") == step
        self._checkpoints.save(step, state, self._newest if is_logged else None)

    @property
    def newest(self) -> int | None:
        """The step of the newest checkpoint, or None if there is none."""
        return self._checkpoints.newest

    def restore(self, template: PyTree) -> tuple[int, PyTree] | None:
        """Returns step and state of the newest sound checkpoint; see `Checkpoints.restore`."""
        return self._checkpoints.restore(template)

    def resume(self, template: PyTree) -> tuple[int, PyTree] | None:
        """Restores the newest sound checkpoint and drops all that was logged after it.

        A run that goes on from there logs nothing twice. The entry of that step is put back if the
        log has lost it. Damaged lines and checkpoints are moved aside, each with a `DiskNotice`.
        The summary that `finish` gave to TensorBoard is dropped too: resume unfinished runs only.

        Raises: ConfigError, with nothing changed, as `restore` and `entry` do; if updates are
          logged and there is no checkpoint; if another process writes here; if the disk refuses.
        """
        self._lock.acquire()
        restored = self.restore(template)
        if restored is None:
            self._check_nothing_is_lost()
        step = restored[0] if restored else -1
        entry = self.entry(step) if restored else {}
        with writing(self.path):
            self._checkpoints.set_aside(step)
            self._cut_logs_after(step, entry)
            self._tensorboard.rewrite(self.entries(), self._episodes.entries())
        self._newest = entry
        return restored

    def _check_nothing_is_lost(self) -> None:
        last = self._metrics.last() or 0
        check(
            last == 0,
            f"{self.path} has logged {last} updates and holds no checkpoint to go on from; put"
            " checkpoints/ back from a copy, or train in a new directory (or delete its"
            " metrics.jsonl, to start over in this one).",
        )

    def _cut_logs_after(self, step: int, entry: Entry) -> None:
        for log in (self._metrics, self._episodes):
            log.cut_after(step)
        if entry and self._metrics.last() != step:
            self._metrics.write(entry)
            note(
                f"{self._metrics.path} was behind the checkpoint of update {step}; the run goes on"
                " from there, without the lost entries."
            )

    def finish(self, result: dict) -> None:
        """Writes the result, after the last checkpoint, the settings and the learning curves.

        Raises: ConfigError if the disk refuses it.
        """
        self._lock.acquire()
        self._checkpoints.wait()
        with writing(self.path):
            if entries := thin(self.entries()):
                self._tensorboard.add_summary(self.config, entries)
            self._tensorboard.close()
            atomic_files.write(self.path / "result.json", to_json(result, indent=2))

    def wait(self) -> None:
        """Returns once all checkpoints are on disk; see `Checkpoints.wait`."""
        self._checkpoints.wait()

    def close(self) -> None:
        """Finishes all writing, ends the writing threads and releases the lock.

        Raises: ConfigError as `log` and `save` do.
        """
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
