"""Runs a study: measures the missing cells, and keeps each as soon as it is finished.

Table, figures and verdicts are then made from results.csv alone. So the same command goes on after
an interruption, and `--no-measure` only makes them again. What a study is, and the words for its
parts, are in experiments/harness/base_study.py.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np

from agentic_rl import parallel
from agentic_rl.config import check
from agentic_rl.progress import Progress
from agentic_rl.records import provenance
from agentic_rl.records.lock import Lock
from experiments.cli import console, interrupt
from experiments.cli.flags import from_flags
from experiments.cli.part_counter import PartCounter
from experiments.cli.progress import Line
from experiments.cli.progress_text import clock
from experiments.harness.base_study import Study, name, settings
from experiments.harness.outcome import (
    RESULTS,
    describe_outcome,
    read_provenance,
    show,
    with_measured_flags,
)
from experiments.reports import report
from experiments.reports.stats import Record, select


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
    made = read_provenance(folder) if path.exists() else {"settings": {}, "by": []}
    default = settings(type(study)())  # also the value of a flag that did not exist at that time
    other = [flag for flag in flags if made["settings"].get(flag, default[flag]) != flags[flag]]
    check(
        not other,
        f"{folder} was measured with other {', '.join(other)}: name another --out, or remove it.",
    )
    return report.read_csv(folder / "results.csv"), made | {"by": made["by"] + [now]}
