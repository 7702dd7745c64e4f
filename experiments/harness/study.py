"""A question asked of many cells: measured one after the other, kept as they come, then drawn and judged from what is kept.

A study is a dataclass whose fields are its flags. It says what its cells are, measures one, and makes of all records a table, figures and
verdicts; the rest is here. Interrupted at any time, the same command goes on behind the last cell that was finished.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure

from agentic_rl import parallel
from agentic_rl.config import check, checked, snake_case
from agentic_rl.config.ranges import Count
from agentic_rl.progress import Progress
from agentic_rl.records import provenance
from agentic_rl.records.lock import Lock
from experiments.cli import console, interrupt
from experiments.cli.flags import from_flags
from experiments.cli.progress import Line, clock
from experiments.cli.whole import Whole
from experiments.reports import figures, report
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, select
from experiments.reports.verdicts import together

WHERE = ("out", "measure")  # flags that do not change what is measured
NO_RULE = "None of the rules applies with these flags."


@checked
class Study:
    """The flags of all studies."""

    seeds: Count = 5  # policies, each with its own problems
    measure: bool = True  # --no-measure: only draw and judge what was measured, with the flags it was measured with
    quick: bool = False  # a smoke test: everything tiny
    out: str = ""  # a folder, where the same command continues what was interrupted; by default runs/ and the study's name

    claim: ClassVar[str] = ""  # whose, and what is predicted; written before the run
    legend: ClassVar[dict[str, str]] = {}  # what the table's columns are
    headline: ClassVar[str] = ""  # the column whose mean is shown on the way
    tiny: ClassVar[dict[str, Any]] = {}  # what --quick sets, unless another flag does
    fewest: ClassVar[int] = 2  # seeds that the rules need

    def __post_init__(self):
        few = f"With {self.seeds} seed{'s' * (self.seeds > 1)} no rule of this study can decide: give --seeds {self.fewest} or more."
        check(self.seeds >= self.fewest, few)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            twice = isinstance(value, tuple) and len(set(value)) < len(value)
            check(
                not twice,
                f"{field.name} names something twice: {_words(list(value)) if twice else ''}.",
            )

    def cells(self) -> list[Record]:
        """The columns that tell the cells apart."""
        raise NotImplementedError

    def records(self, cell: Record) -> list[Record]:
        """What is measured in a cell, without its own columns."""
        raise NotImplementedError

    def lines(self, records: list[Record]) -> list[Record]:
        """The table."""
        raise NotImplementedError

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        """By the name of their files."""
        raise NotImplementedError

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        """By rules that were written before the run."""
        raise NotImplementedError


def run(default: Study, arguments: list[str]) -> int:
    """Measures what is missing, then prints, draws and judges."""
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
    """The study with the flags that the results in `folder` were measured with.

    Raises: ConfigError if there are none, or some are missing.
    """
    check(
        (folder / "results.csv").exists(),
        f"There are no results in {folder}: leave out --no-measure.",
    )
    made = _read_provenance(folder)["settings"]
    gone = [k for k in made if k not in settings(study)]
    check(
        not gone,
        f"{folder} was measured with {', '.join(gone)}, which {name(study)} no longer has: check out the commit in made_by.json.",
    )
    study = dataclasses.replace(
        study, **{k: tuple(v) if isinstance(v, list) else v for k, v in made.items()}
    )
    kept, cells = report.read_csv(folder / "results.csv"), study.cells()
    there = sum(bool(select(kept, **cell)) for cell in cells)
    check(
        there == len(cells),
        f"{there} of {len(cells)} cells are measured in {folder}: the same command without --no-measure goes on.",
    )
    return study


def name(study: Study) -> str:
    """Of its module.

    >>> name(Study())
    'study'
    """
    return snake_case(type(study).__name__)


def settings(study: Study) -> Record:
    """The flags that decide what is measured."""
    fields = {
        f.name: getattr(study, f.name) for f in dataclasses.fields(study) if f.name not in WHERE
    }
    return json.loads(json.dumps(fields))


def measure(study: Study, folder: Path) -> None:
    """Adds the cells that are missing to `folder`/results.csv, which is whole at any time.

    Raises: ConfigError if what is kept there was measured with other flags.
    """
    kept, made = _read_results(study, folder)
    cells = study.cells()
    missing = [cell for cell in cells if not select(kept, **cell)]
    whole = Whole("cell", len(cells), len(cells) - len(missing))
    done = [cell for cell in cells if cell not in missing]
    interrupt.on_interrupt(
        lambda: (
            f"stopped; {len(done)} of {len(cells)} cells are kept in {folder}, and the same command goes on."
        )
    )
    with Line(name(study), whole, is_logged=False) as line:
        for cell in missing:
            whole.next()
            line(Progress("measuring"))
            start = time.perf_counter()
            found = study.records(cell)
            seconds = time.perf_counter() - start
            kept += [cell | record | {"seconds": round(seconds, 2)} for record in found]
            report.write(folder / "made_by.json", json.dumps(made, indent=1) + "\n")
            report.write_csv(folder / "results.csv", kept)
            done.append(cell)
            line.say(describe_cell(study, cell, found, seconds, whole), sys.stdout)


def describe_cell(
    study: Study, cell: Record, found: list[Record], seconds: float, whole: Whole
) -> str:
    """Returns a line on the cell that was just measured."""
    words = ", ".join(f"{k} {v}" for k, v in cell.items())
    mean = np.mean([x for record in found if (x := record[study.headline]) == x] or [np.nan])
    whole.end()
    left = f" | {clock(whole.seconds_left(0.0))} left"
    return f"{whole.number}/{whole.total} | {words} | {study.headline} {mean:.3g} | {seconds:.0f} s{left}"


def _read_results(study: Study, folder: Path) -> tuple[list[Record], Record]:
    """The records that are there, and how they and those to come were made."""
    wanted, now, path = settings(study), provenance.collect(), folder / "made_by.json"
    if not (folder / "results.csv").exists():
        return [], {"settings": wanted, "by": [now]}
    made = _read_provenance(folder) if path.exists() else {"settings": {}, "by": []}
    usual = settings(type(study)())  # a flag that came later had its default
    other = [k for k in wanted if made["settings"].get(k, usual[k]) != wanted[k]]
    check(
        not other,
        f"{folder} was measured with other {', '.join(other)}: name another --out, or remove it.",
    )
    return report.read_csv(folder / "results.csv"), made | {"by": made["by"] + [now]}


def _read_provenance(folder: Path) -> Record:
    """Returns the flags and processes that the results in `folder` were measured with.

    Raises: ConfigError if the file that says so is damaged.
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
    """Prints, draws and writes everything that follows from the records."""
    lines = study.lines(records)
    console.show(lines, name(study))
    print("\n".join(legend(study, lines)), end="\n\n")
    for file, figure in study.figures(records).items():
        figures.save(figure, folder / file)
    verdicts = [
        {k: x for k, x in v._asdict().items() if k != "p"} for v in family_verdicts(study, records)
    ]
    for verdict in verdicts:
        print(
            f"{verdict['outcome']}: {verdict['claim']}\n  rule: {verdict['rule']}\n  {verdict['evidence']}"
        )
    print("" if verdicts else NO_RULE)
    tables = [
        report.markdown(verdicts) if verdicts else NO_RULE,
        report.markdown(lines),
        "\n".join(f"- {line}" for line in legend(study, lines)),
    ]
    report.write(
        folder / "table.md",
        "\n\n".join([f"# {name(study)}", study.claim, source(study, records, folder), *tables])
        + "\n",
    )
    print(f"table.md, figures and results.csv are in {folder}")


def family_verdicts(study: Study, records: list[Record]) -> list[Verdict]:
    """Returns the study's verdicts as a family."""
    return together(study.verdicts(records))


def legend(study: Study, lines: list[Record]) -> list[str]:
    """What the columns of the table are; of "a, b" either must be one."""
    return [
        f"{what}: {meaning}"
        for what, meaning in study.legend.items()
        if what == "±" or {*what.split(", ")} & {*lines[0]}
    ]


def source(study: Study, records: list[Record], folder: Path) -> str:
    """How the records were made: the command, how long it took, commits and versions."""
    made = _read_provenance(folder)
    default = settings(type(study)())
    flags = [
        f"--{k.replace('_', '-')} {_words(v)}".strip()
        for k, v in made["settings"].items()
        if v != default.get(k)
    ]
    commits = sorted(
        {
            str((by["git"] or {}).get("commit"))[:12]
            + " with changes" * bool((by["git"] or {}).get("dirty"))
            for by in made["by"]
        }
    )
    versions = made["by"][-1]["versions"]
    words = f"jax {versions['jax']} on {made['by'][-1]['devices']['kind']}, {made['by'][-1]['date'][:10]}"
    command = " ".join([f"python -m experiments.studies.{name(study)}", *flags])
    return f"`{command}`: {clock(seconds(study, records))} minutes, commit {', '.join(commits)}, {words}."


def seconds(study: Study, records: list[Record]) -> float:
    """That the measured cells took."""
    return sum(some[0]["seconds"] for cell in study.cells() if (some := select(records, **cell)))


def _words(value: Any) -> str:
    return (
        ""
        if value is True
        else " ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )
