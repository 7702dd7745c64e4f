"""What a run returns: its last state, and one log entry per update."""

from dataclasses import dataclass, field

from agentic_rl.records.log import Entry
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training import learner


@dataclass
class RunLog:
    """The entries of a run: on disk if it has a directory, else in memory.

    The first and the newest ones are always in memory.
    """

    directory: RunDirectory | None
    first: Entry = field(default_factory=dict)
    last: Entry = field(default_factory=dict)
    evaluated: Entry = field(default_factory=dict)  # the newest one with an evaluation
    in_memory: list[Entry] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        """All entries, read from the disk if they are there."""
        return self.directory.metrics if self.directory else self.in_memory

    def read(self) -> None:
        """Takes up the entries that the directory already holds."""
        for entry in self.directory.entries():
            self._note(entry)

    def add(self, entry: Entry) -> None:
        """Adds an entry."""
        self._note(entry)
        if self.directory:
            self.directory.log(entry)
        else:
            self.in_memory.append(entry)

    def _note(self, entry: Entry) -> None:
        self.first, self.last = self.first or entry, entry
        self.evaluated = entry if "eval_success" in entry else self.evaluated


@dataclass(frozen=True)
class Result:
    """The result of a finished (or stopped) run."""

    state: learner.State | None  # leading axis: seeds; None if it was stopped in the warm start
    log: RunLog
    finished: bool

    @property
    def first(self) -> Entry:
        """The entry from before the first update."""
        return self.log.first

    @property
    def last(self) -> Entry:
        """The newest entry."""
        return self.log.last

    @property
    def entries(self) -> list[Entry]:
        """All entries, as in metrics.jsonl, which is read if the run has a directory."""
        return self.log.entries
