"""The book of everything that was measured about the tasks, with the setting of each number."""

import dataclasses
from pathlib import Path

from experiments.pages.task_settings import Setting, setting_of
from experiments.reports import report
from experiments.reports.stats import Record, select

WHO = {  # who played: title of the column
    "random": "random",
    "expert": "expert",
    "sft": "SFT",
    "grpo": "SFT, then GRPO",
    "default": "`train grpo`",
}
NO_TRAINING = Setting(0, 0, 0.0, 0)


@dataclasses.dataclass
class Book:
    """Everything that was measured; its two files are whole at any time."""

    folder: Path
    searched: list[Record]  # search.csv: what the settings are chosen from
    measured: list[Record]  # results.csv: what the page shows

    @classmethod
    def read(cls, folder: Path) -> "Book":
        """Returns what the files hold, if they are there."""
        paths = (folder / "search.csv", folder / "results.csv")
        return cls(folder, *(report.read_csv(path) if path.exists() else [] for path in paths))

    def add_search(self, records: list[Record]) -> None:
        """Adds the records of one run of the search."""
        self.searched = sorted([*self.searched, *records], key=lambda r: r["task"])
        report.write_csv(self.folder / "search.csv", self.searched)

    def add(self, name: str, who: str, seed: int, setting: Setting, success: float) -> None:
        """Adds a measurement.

        As soon as there are as many with a new setting as with old ones, the old ones go.
        """
        self.measured.append(
            {"task": name, "who": who, "seed": seed, **setting._asdict(), "success": float(success)}
        )
        now, old = self.cell(name, who, setting)
        self.measured = [r for r in self.measured if r not in old or len(now) < len(old)]
        self.measured.sort(key=lambda r: (r["task"], list(WHO).index(r["who"])))
        report.write_csv(self.folder / "results.csv", self.measured)

    def cell(
        self, name: str, who: str, setting: Setting | None
    ) -> tuple[list[Record], list[Record]]:
        """Returns what was measured with this setting, and with others."""
        both = select(self.measured, task=name, who=who)
        now = [r for r in both if setting_of(r) == setting]
        return now, [r for r in both if r not in now]

    def missing(self, name: str, who: str, setting: Setting, seeds: int) -> list[int]:
        """Returns the seeds that were not measured with this setting."""
        there = {r["seed"] for r in self.cell(name, who, setting)[0]}
        return [seed for seed in range(seeds) if seed not in there]
