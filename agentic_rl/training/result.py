"""What a run leaves: its last state, and one row of metrics per update."""

from dataclasses import dataclass, field
from typing import Any

from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training import learner

Row = dict[str, Any]


@dataclass
class Rows:
    """The rows of a run: on disk if it has a directory, else in memory. The first and the newest ones are at hand."""

    directory: RunDirectory | None
    first: Row = field(default_factory=dict)
    last: Row = field(default_factory=dict)
    evaluated: Row = field(default_factory=dict)  # the newest with an evaluation
    kept: list[Row] = field(default_factory=list)

    @property
    def all(self) -> list[Row]:
        """All rows; from the disk, if they are there."""
        return self.directory.metrics if self.directory else self.kept

    def read(self) -> None:
        """Takes up what the directory holds."""
        for row in self.directory.entries():
            self._note(row)

    def add(self, row: Row) -> None:
        """Keeps one more row."""
        self._note(row)
        if self.directory:
            self.directory.log(row)
        else:
            self.kept.append(row)

    def _note(self, row: Row) -> None:
        self.first, self.last = self.first or row, row
        self.evaluated = row if "eval_success" in row else self.evaluated


@dataclass(frozen=True)
class Result:
    """What a finished (or stopped) run leaves."""

    state: learner.State | None  # leading axis: seeds; None if it was stopped in the warm start
    log: Rows
    finished: bool

    @property
    def first(self) -> Row:
        """The row of before the first update."""
        return self.log.first

    @property
    def last(self) -> Row:
        """The newest row."""
        return self.log.last

    @property
    def rows(self) -> list[Row]:
        """All rows, as in metrics.jsonl; if the run has a directory, they are read from there."""
        return self.log.all
