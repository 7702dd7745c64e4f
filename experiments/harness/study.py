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
The rest is here: `run` measures the missing cells, keeps each as soon as it is finished, and then
writes everything else from results.csv alone.
"""

import dataclasses
import json
import sys
import time
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from agentic_rl import parallel
from agentic_rl.config import ConfigError, check, checked, snake_case
from agentic_rl.config.ranges import Count
from agentic_rl.progress import Progress
from agentic_rl.records import provenance
from agentic_rl.records.lock import Lock
from experiments.cli import console, interrupt
from experiments.cli.flags import from_flags
from experiments.cli.part_counter import PartCounter
from experiments.cli.program_names import module_of
from experiments.cli.progress import Line
from experiments.cli.progress_text import clock
from experiments.cli.tables import print_table
from experiments.reports import figures, overview, report
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, select
from experiments.reports.verdicts import correct_family

RESULTS = Path(__file__).parents[2] / "results"  # those that are committed, by study
OUTPUT_FLAGS = ("out", "measure")  # flags that do not change what is measured
NO_RULE = "None of the rules applies with these flags."


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
                values = _as_flag(list(value))
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


def run(default: Study, arguments: list[str]) -> int:
    """Runs a study's command: measures the missing cells, then prints and writes the outcome.

    Args: default: the study without flags; arguments: the flags of the command line.
    Returns: the exit code.
    """
    if {"-h", "--help"}.intersection(arguments):
        print(f"{describe_outcome(default, RESULTS / name(default))}\n")
    study = from_flags(type(default), default, arguments)
    if study.quick:
        study = from_flags(
            type(default), dataclasses.replace(default, quick=True, **default.tiny), arguments
        )
    folder = Path(study.out or f"runs/{name(study)}{'_quick' * study.quick}")
    if study.quick:
        print("a smoke test: it shows that the study works; its numbers mean nothing")
    if study.measure:
        parallel.prepare(1)
        console.keep_compiled_programs()
        with Lock(folder):
            measure(study, folder)
    else:
        study = with_measured_flags(study, folder)
    show(study, report.read_csv(folder / "results.csv"), folder)
    return 0


def with_measured_flags(study: Study, folder: Path) -> Study:
    """Returns the study with the flags that the results in `folder` were measured with.

    Raises: ConfigError if there are no results, or cells are missing.
    """
    check(
        (folder / "results.csv").exists(),
        f"There are no results in {folder}: leave out --no-measure.",
    )
    flags = _read_provenance(folder)["settings"]
    unknown = [flag for flag in flags if flag not in settings(study)]
    check(
        not unknown,
        f"{folder} was measured with {', '.join(unknown)}, which {name(study)} no longer has: "
        "check out the commit in made_by.json.",
    )
    flags = {k: tuple(v) if isinstance(v, list) else v for k, v in flags.items()}
    study = dataclasses.replace(study, **flags)
    records, cells = report.read_csv(folder / "results.csv"), study.cells()
    num_measured = sum(bool(select(records, **cell)) for cell in cells)
    check(
        num_measured == len(cells),
        f"{num_measured} of {len(cells)} cells are measured in {folder}: "
        "the same command without --no-measure goes on.",
    )
    return study


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


def measure(study: Study, folder: Path) -> None:
    """Measures the missing cells and adds each to results.csv, which is whole at any time.

    Raises: ConfigError if the results there were measured with other flags.
    """
    kept, made = _read_results(study, folder)
    cells = study.cells()
    missing = [cell for cell in cells if not select(kept, **cell)]
    counter = PartCounter("cell", len(cells), len(cells) - len(missing))
    done = [cell for cell in cells if cell not in missing]
    interrupt.on_interrupt(
        lambda: (
            f"stopped; {len(done)} of {len(cells)} cells are kept in {folder}, "
            "and the same command goes on."
        )
    )
    with Line(name(study), counter, is_logged=False) as line:
        for cell in missing:
            counter.begin()
            line(Progress("measuring"))
            start = time.perf_counter()
            records = study.records(cell)
            seconds = time.perf_counter() - start
            kept += [cell | record | {"seconds": round(seconds, 2)} for record in records]
            report.write(folder / "made_by.json", json.dumps(made, indent=1) + "\n")
            report.write_csv(folder / "results.csv", kept)
            done.append(cell)
            line.say(describe_cell(study, cell, records, seconds, counter), sys.stdout)


def describe_cell(
    study: Study, cell: Record, records: list[Record], seconds: float, counter: PartCounter
) -> str:
    """Returns a line about the cell that was just measured, and counts it as done in `counter`."""
    conditions = ", ".join(f"{k} {v}" for k, v in cell.items())
    numbers = [x for record in records if not np.isnan(x := record[study.headline])]
    mean = np.mean(numbers or [np.nan])
    counter.end()
    parts = [
        f"{counter.number}/{counter.total}",
        conditions,
        f"{study.headline} {mean:.3g}",
        f"{seconds:.0f} s",
        f"{clock(counter.seconds_left(0.0))} left",
    ]
    return " | ".join(parts)


def _read_results(study: Study, folder: Path) -> tuple[list[Record], Record]:
    """Returns the records in `folder`, and how they and those to come are made.

    Raises: ConfigError if they were measured with other flags.
    """
    flags, now, path = settings(study), provenance.collect(), folder / "made_by.json"
    if not (folder / "results.csv").exists():
        return [], {"settings": flags, "by": [now]}
    made = _read_provenance(folder) if path.exists() else {"settings": {}, "by": []}
    default = settings(type(study)())  # also the value of a flag that did not exist at that time
    other = [flag for flag in flags if made["settings"].get(flag, default[flag]) != flags[flag]]
    check(
        not other,
        f"{folder} was measured with other {', '.join(other)}: name another --out, or remove it.",
    )
    return report.read_csv(folder / "results.csv"), made | {"by": made["by"] + [now]}


def _read_provenance(folder: Path) -> Record:
    """Returns the content of made_by.json: the flags and the processes that measured.

    Raises: ConfigError if the file is damaged.
    """
    path = folder / "made_by.json"
    try:
        made = json.loads(path.read_bytes())
    except ValueError:
        made = None
    is_whole = (
        isinstance(made, dict)
        and isinstance(made.get("settings"), dict)
        and isinstance(made.get("by"), list)
    )
    check(is_whole, f"{path} is damaged; put it back from a copy, or name another --out.")
    return made


def show(study: Study, records: list[Record], folder: Path) -> None:
    """Prints the table and the verdicts, and writes them to `folder` with the figures."""
    lines, verdicts = study.lines(records), family_verdicts(study, records)
    print_table(lines, name(study))
    print("\n".join(legend(study, lines)), end="\n\n")
    for file, figure in study.figures(records).items():
        figures.save(figure, folder / file)
    for verdict in verdicts:
        print(f"{verdict.outcome}: {verdict.claim}\n  rule: {verdict.rule}\n  {verdict.evidence}")
    print("" if verdicts else NO_RULE)
    report.write(folder / "table.md", page(study, records, folder))
    print(f"table.md, figures and results.csv are in {folder}")


def page(study: Study, records: list[Record], folder: Path) -> str:
    """Returns the page table.md: claim, command, verdicts, table and legend, in Markdown."""
    lines = study.lines(records)
    verdicts = [verdict._asdict() for verdict in family_verdicts(study, records)]
    for verdict in verdicts:
        del verdict["p"]
    parts = [
        f"# {name(study)}",
        study.claim,
        source(study, records, folder),
        report.markdown(verdicts) if verdicts else NO_RULE,
        report.markdown(lines),
        "\n".join(f"- {entry}" for entry in legend(study, lines)),
    ]
    return "\n\n".join(parts) + "\n"


def family_verdicts(study: Study, records: list[Record]) -> list[Verdict]:
    """Returns the study's verdicts, corrected for their number (Holm, 1979)."""
    return correct_family(study.verdicts(records))


def describe_outcome(study: Study, folder: Path) -> str:
    """Returns what the rules say of the results in `folder`, and how these were measured.

    A study's docstring states question, prediction, command and cost. It need not repeat the
    outcome, which is computed here and printed by --help.
    """
    try:
        study = with_measured_flags(study, folder)
    except ConfigError as error:
        return f"No outcome yet. {error}"
    records = report.read_csv(folder / "results.csv")
    verdicts = overview.by_outcome(family_verdicts(study, records), attrgetter("outcome"))
    counts = overview.count_verdicts([{"verdict": verdict.outcome} for verdict in verdicts])
    lines = [f"  {verdict.outcome}: {verdict.claim}" for verdict in verdicts]
    return "\n".join([f"Outcome: {counts}.", *lines, f"  {source(study, records, folder)}"])


def legend(study: Study, lines: list[Record]) -> list[str]:
    """Returns the meaning of each column that the table has.

    A key of `study.legend` may name several columns, such as "before, learned".
    """
    columns = {*lines[0], "±"}
    return [
        f"{names}: {meaning}"
        for names, meaning in study.legend.items()
        if columns.intersection(names.split(", "))
    ]


def source(study: Study, records: list[Record], folder: Path) -> str:
    """Returns how the records were made: the command, its minutes, commits and versions."""
    made = _read_provenance(folder)
    commits = ", ".join(sorted({_commit(by["git"] or {}) for by in made["by"]}))
    last = made["by"][-1]
    machine = f"jax {last['versions']['jax']} on {last['devices']['kind']}, {last['date'][:10]}"
    minutes, rest = divmod(int(seconds(study, records)), 60)
    took = f"{minutes}:{rest:02d} minutes"
    return f"`{command(study, made['settings'])}`: {took}, commit {commits}, {machine}."


def command(study: Study, flags: Record) -> str:
    """Returns the command that measures the study with these flags; defaults are left out."""
    default = settings(type(study)())
    words = [
        f"--{flag.replace('_', '-')} {_as_flag(value)}".strip()
        for flag, value in flags.items()
        if value != default.get(flag)
    ]
    return " ".join([f"python -m {module_of(name(study))}", *words])


def _commit(git: Record) -> str:
    return str(git.get("commit"))[:12] + " with changes" * bool(git.get("dirty"))


def seconds(study: Study, records: list[Record]) -> float:
    """Returns the seconds that measuring the cells took, in all."""
    measured = [select(records, **cell) for cell in study.cells()]
    return sum(of_cell[0]["seconds"] for of_cell in measured if of_cell)


def _as_flag(value: Any) -> str:
    """Returns the value of a flag as it is typed; that of a switch is empty."""
    if value is True:
        return ""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
