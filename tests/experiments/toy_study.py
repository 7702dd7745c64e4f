"""A study that squares numbers in no time, for tests of what all studies share."""

from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from experiments.harness import study
from experiments.reports.report import Verdict

MEASURED = []  # the numbers that any Toy has squared


@dataclass(frozen=True)
class Toy(study.Study):
    """Squares numbers."""

    numbers: tuple[int, ...] = (1, 2, 3)
    stop_at: int = 0  # interrupted before this number

    claim: ClassVar[str] = "Squares are positive."
    headline: ClassVar[str] = "square"
    tiny: ClassVar[dict] = dict(numbers=(7,))

    def cells(self):
        return [dict(number=n) for n in self.numbers]

    def records(self, cell):
        if cell["number"] == self.stop_at:
            raise KeyboardInterrupt
        MEASURED.append(cell["number"])
        return [{"way": way, "square": float(cell["number"] ** 2)} for way in ("a", "b")]

    def lines(self, records):
        return [{"number": r["number"], "square": r["square"]} for r in records]

    def figures(self, records):
        return {"toy": Figure()}

    def verdicts(self, records):
        all_positive = all(r["square"] > 0 for r in records)
        kind = "supported" if all_positive else "falsified"
        return [Verdict(self.claim, "All.", kind, "Seen.")]
