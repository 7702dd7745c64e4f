"""What a run leaves: its last state, and one row of metrics per update."""

from dataclasses import dataclass, field
from typing import Any

from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training import learner

Entry = dict[str, Any]


@dataclass
class RunLog:
    """The rows of a run: on disk if it has a directory, else in memory. The first and the newest ones are at hand."""

    directory: RunDirectory | None
    first: Entry = field(default_factory=dict)
    last: Entry = field(default_factory=dict)
    evaluated: Entry = field(default_factory=dict)  # the newest with an evaluation
    kept: list[Entry] = field(default_factory=list)

    @property
    def all(self) -> list[Entry]:
        """All rows; from the disk, if they are there."""
        return self.directory.metrics if self.directory else self.kept

    def read(self) -> None:
        """Takes up what the directory holds."""
        for row in self.directory.entries():
            self._note(row)

    def add(self, row: Entry) -> None:
        """Keeps one more row."""
        self._note(row)
        if self.directory:
            self.directory.log(row)
        else:
            self.kept.append(row)

    def _note(self, row: Entry) -> None:
        self.first, self.last = self.first or row, row
        self.evaluated = row if "eval_success" in row else self.evaluated


@dataclass(frozen=True)
class Result:
    """What a finished (or stopped) run leaves."""

    state: learner.State | None  # leading axis: seeds; None if it was stopped in the warm start
    log: RunLog
    finished: bool

    @property
    def first(self) -> Entry:
        """The row of before the first update."""
        return self.log.first

    @property
    def last(self) -> Entry:
        """The newest row."""
        return self.log.last

    @property
    def entries(self) -> list[Entry]:
        """All rows, as in metrics.jsonl; if the run has a directory, they are read from there."""
        return self.log.all
