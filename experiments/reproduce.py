"""All studies one after the other, and one page of what came out.

    python -m experiments.reproduce --quick                       # a smoke test of each, in minutes
    python -m experiments.reproduce --only vine_budget success_crossover --jobs 2
    python -m experiments.reproduce --no-measure --out results    # only the page, from the results there are

Each study runs in a process of its own, into a folder of its own; interrupted, the same command goes on behind the last cell. Of several
side by side, each is shown when it is done.
"""

import inspect
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from agentic_rl.config import check, checked, registry
from agentic_rl.config.ranges import Count
from agentic_rl.progress import Progress
from experiments import studies as studies_folder
from experiments.cli import console, interrupt, progress
from experiments.cli.flags import from_flags, look_up
from experiments.cli.progress import Line, clock
from experiments.cli.whole import WITHIN
from experiments.harness import study
from experiments.reports import overview, report
from experiments.reports.report import Picture, Section, Verdict
from experiments.reports.stats import Record, distinct, select

TITLE = "What supervised learning gives an agent, and what credit assignment adds"
running: list[subprocess.Popen] = []  # studies
CARELESS = "--xla_backend_optimization_level=0"


@checked
class Command:
    """Run all studies, and write index.html and README.md on what came out."""

    only: tuple[str, ...] = ()  # names of studies; by default all
    quick: bool = False  # a smoke test of each
    measure: bool = True  # --no-measure: only write the pages, on the studies that have results
    jobs: Count = 1  # studies side by side
    out: str = ""  # a folder, with a folder for each study; by default runs/reproduce


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(), arguments)
    folder = Path(command.out or f"runs/reproduce{'_quick' * command.quick}")
    chosen = {name: look_up("study", name, studies()) for name in command.only or studies()}
    code = measure_all(list(chosen), command, folder) if command.measure else 0
    if code:
        return code
    done = {name: one for name, one in chosen.items() if (folder / name / "results.csv").exists()}
    check(bool(done), f"There are no results in {folder}: leave out --no-measure.")
    pages(done, folder)
    return 0


def studies() -> registry.Registry:
    """Returns every study by its name, as it is by default."""
    loaded, left_out = registry.modules(studies_folder)
    found = {}
    for here in loaded:
        file = here.__name__.rpartition(".")[2]
        try:
            found |= {study.name(one): one for one in own_studies(here) if study.name(one) == file}
        except Exception as error:  # a user's study that cannot be made
            left_out[file] = registry.import_failure(here.__name__, error)
    return registry.Registry(found, left_out)


def own_studies(module: ModuleType) -> list[study.Study]:
    """Returns the studies that a module itself defines, as they are by default."""
    classes = [
        x for _, x in inspect.getmembers(module, inspect.isclass) if issubclass(x, study.Study)
    ]
    return [
        cls() for cls in classes if cls.__module__ == module.__name__ and cls is not study.Study
    ]


def measure_all(names: list[str], command: Command, folder: Path) -> int:
    """The exit code of the first study that failed, behind which none begins; 0 if there is none."""
    failed, waiting, began, took = [], enumerate(names, 1), time.perf_counter(), []
    interrupt.on_interrupt(
        lambda: f"stopped; what is measured is kept in {folder}, and the same command goes on.",
        patience=10.0,
    )

    def work():
        while not failed and (following := next(waiting, None)):
            number, name = following
            start = time.perf_counter()
            left = (
                f", about {clock(np.mean(took) * (len(names) - number + 1) / command.jobs)} left"
                if took
                else ""
            )
            progress.say(
                f"== {number}/{len(names)} {name} | {clock(start - began)} since the start{left}",
                sys.stdout,
            )
            code, said = measure(name, command, folder, f"study {number} of {len(names)}")
            took.append(time.perf_counter() - start)
            if said:
                progress.say(said.rstrip("\n"), sys.stdout)
            failed.extend([code] * (code != 0))

    with progress_line(command), ThreadPoolExecutor(command.jobs) as pool:
        working = [pool.submit(work) for _ in range(command.jobs)]
        try:
            for each in working:
                each.result()
        finally:
            failed.append(0)  # interrupted: none begins any more
            for process in running:
                process.send_signal(
                    signal.SIGINT
                )  # from a terminal it came to them as well: they do not mind
    return failed[0]


def progress_line(command: Command) -> AbstractContextManager:
    """Returns what shows that studies side by side are measured; a single one shows its own line."""
    line = Line("reproduce", is_logged=False)
    line.now = Progress("measuring")
    return line if command.jobs > 1 else nullcontext()


def measure(name: str, command: Command, folder: Path, place: str = "") -> tuple[int, str]:
    """The exit code of the study's own command, and what it said if it is one of several; a smoke test compiles with less care."""
    words = console.process(name, *["--quick"] * command.quick, "--out", folder / name)
    flags = os.environ.get("XLA_FLAGS", "") + f" {CARELESS}" * command.quick
    told = (
        dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if command.jobs > 1
        else {}
    )
    with subprocess.Popen(
        words, env=os.environ | {"XLA_FLAGS": flags, WITHIN: place}, **told
    ) as process:
        running.append(process)
        said, _ = process.communicate()
        running.remove(process)
    return process.returncode, said or ""


def pages(done: dict[str, study.Study], folder: Path) -> None:
    """Writes the page and the table."""
    measured = {name: study.with_measured_flags(one, folder / name) for name, one in done.items()}
    records = {name: report.read_csv(folder / name / "results.csv") for name in done}
    sources = {
        name: study.source(one, records[name], folder / name) for name, one in measured.items()
    }
    sections = [section(one, records[name], sources[name]) for name, one in measured.items()]
    lines = [
        line for name, one in measured.items() for line in verdict_lines(name, one, records[name])
    ]
    seconds = sum(study.seconds(one, records[name]) for name, one in measured.items())
    shown = [
        {k: x for k, x in line.items() if k != "evidence"} for line in lines
    ]  # that stands in the sections
    links = {
        name: f"s{i}" for i, name in enumerate(measured, 1)
    }  # behind the section of all verdicts
    first = Section("Verdicts", [overview.DEFINITIONS, overview.verdict_list(shown, links)])
    said = f"{summary(lines, len(measured), seconds)} {overview.summarize_verdicts(lines)}"
    answer = [
        said,
        Picture(
            overview.figure(lines),
            "How many claims of each study are supported, falsified and inconclusive.",
        ),
    ]
    report.write(
        folder / "index.html",
        report.html(TITLE, provenance(sources, records), [first, *sections], answer),
    )
    report.write(folder / "README.md", readme(said, lines))
    print(f"index.html and README.md are in {folder}")


def verdict_lines(name: str, one: study.Study, records: list[Record]) -> list[Record]:
    """The study's verdicts, for the overview."""
    return [
        {"study": name, "verdict": v.outcome, "claim": v.claim, "evidence": v.evidence}
        for v in sorted_verdicts(one, records)
    ]


def sorted_verdicts(one: study.Study, records: list[Record]) -> list[Verdict]:
    """Returns the study's verdicts as a family, what is decided first."""
    return overview.by_outcome(study.family_verdicts(one, records), attrgetter("outcome"))


def readme(said: str, lines: list[Record]) -> str:
    """Returns the verdicts as Markdown: how many each study came to, then all, what is decided first."""
    counts = [
        {"study": study} | overview.count(select(lines, study=study))
        for study in distinct(lines, "study")
    ]
    parts = [f"# {TITLE}", said, overview.DEFINITIONS, report.markdown(counts)]
    for kind, number in overview.count(lines).items():
        some = [
            {k: x for k, x in line.items() if k != "verdict"}
            for line in select(lines, verdict=kind)
        ]
        parts += [f"## {kind.capitalize()} ({number})", report.markdown(some)] if some else []
    return "\n\n".join(parts) + "\n"


def summary(lines: list[Record], studies: int, seconds: float) -> str:
    """How many verdicts there are of each kind, and what they cost.

    >>> summary([{"verdict": "supported"}, {"verdict": "falsified"}, {"verdict": "supported"}], 2, 5400)
    '2 studies, measured in 1.5 hours; of 3 claims 2 are supported, 1 falsified and 0 inconclusive.'
    """
    return f"{studies} studies, measured in {seconds / 3600:.1f} hours; {overview.count_verdicts(lines)}."


def section(one: study.Study, records: list[Record], source: str) -> Section:
    """All about a study."""
    about, lines = " ".join(inspect.getdoc(type(one)).split()), one.lines(records)
    pictures = [
        Picture(figure, f"{about} ({name.replace('_', ' ')})")
        for name, figure in one.figures(records).items()
    ]
    notes = ". ".join(study.legend(one, lines))
    return Section(
        study.name(one).replace("_", " "),
        [about, one.claim, *sorted_verdicts(one, records), *pictures, lines, notes, source],
    )


def provenance(sources: dict[str, str], records: dict[str, list[Record]]) -> dict[str, Any]:
    """What `report.html` asks for; the studies' own are in their sections."""
    seeds = {name: len({r.get("seed") for r in some}) for name, some in records.items()}
    return {
        "command": "python -m experiments.reproduce", "commit": "in each section", "versions": "in each section",
        "seeds": ", ".join(f"{name}: {count}" for name, count in seeds.items()), "budget": " ".join(sources.values()),
    }  # fmt: skip


if __name__ == "__main__":
    console.main(main)
