"""A study: one question, answered by measuring many cells and by a rule that was fixed beforehand.

A study is a dataclass whose fields are its flags. These words come up in every study:

- A *cell* is one combination of conditions, such as `{"delay": 16, "seed": 3}`. It is measured in
  one piece, so an interrupted study goes on after the last finished cell.
- An *arm* is a training variant that is compared with others from the same start, such as GRPO
  with a higher clip. It is one of the conditions of a cell.
- A *record* is a line of results.csv: the conditions of a cell, and numbers that were measured
  there, by the name of their column. A cell gives one record or several, for instance one a seed.
- A *claim* is what a paper or we predict. It is written before the run.
- A *rule* says in words which numbers support the claim, and which falsify it. It is also written
  before the run, and code applies it.
- A *verdict* is what the rule says of the records: supported, falsified or inconclusive.

A study lists its cells, measures one, and turns all records into a table, figures and verdicts.
Everything else is the same for all studies: experiments/harness/study.py runs the cells and keeps
the records, and experiments/harness/outcome.py shows what comes of them.
"""

import dataclasses
import json
from typing import Any, ClassVar

from matplotlib.figure import Figure

from agentic_rl.config import check, checked, snake_case
from agentic_rl.config.ranges import Count
from experiments.reports.report import Verdict
from experiments.reports.stats import Record

OUTPUT_FLAGS = ("out", "measure")  # flags that do not change what is measured


@checked
class Study:
    """The flags and methods of every study; a subclass answers one question."""

    seeds: Count = 5  # policies, each with its own problems
    measure: bool = True  # --no-measure: only write table, figures and verdicts again
    quick: bool = False  # a smoke test: everything tiny
    out: str = ""  # folder of the results, which the same command continues; "": runs/STUDY

    claim: ClassVar[str] = ""  # what is predicted, and by whom; written before the run
    legend: ClassVar[dict[str, str]] = {}  # the meaning of the table's columns
    headline: ClassVar[str] = ""  # the column whose mean is shown after each cell
    tiny: ClassVar[dict[str, Any]] = {}  # the flags that --quick sets, unless they are given
    fewest: ClassVar[int] = 2  # the smallest number of seeds with which the rules can decide

    def __post_init__(self):
        too_few = f"With {self.seeds} seed{'s' * (self.seeds > 1)} no rule of this study can decide"
        check(self.seeds >= self.fewest, f"{too_few}: give --seeds {self.fewest} or more.")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                values = as_flag(list(value))
                check(
                    len(set(value)) == len(value), f"{field.name} names something twice: {values}."
                )

    def cells(self) -> list[Record]:
        """Returns the conditions of each cell: the columns that tell the cells apart."""
        raise NotImplementedError

    def records(self, cell: Record) -> list[Record]:
        """Measures a cell and returns its records, without the cell's conditions."""
        raise NotImplementedError

    def lines(self, records: list[Record]) -> list[Record]:
        """Returns the lines of the table that shows the records."""
        raise NotImplementedError

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        """Returns the figures by the names of their files, without ending."""
        raise NotImplementedError

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        """Returns a verdict for each rule."""
        raise NotImplementedError


def name(study: Study) -> str:
    """Returns the name of a study, which is that of its module.

    >>> name(Study())
    'study'
    """
    return snake_case(type(study).__name__)


def settings(study: Study) -> Record:
    """Returns the flags that decide what is measured, as JSON gives them back."""
    fields = {
        f.name: getattr(study, f.name)
        for f in dataclasses.fields(study)
        if f.name not in OUTPUT_FLAGS
    }
    return json.loads(json.dumps(fields))


def as_flag(value: Any) -> str:
    """Returns the value of a flag as it is typed; that of a switch is empty."""
    if value is True:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
