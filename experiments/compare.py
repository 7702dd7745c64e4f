"""Compare runs by their logs: `python -m experiments.compare RUN_DIR... [--out DIR]`.

    python -m experiments.compare runs/*
    python -m experiments.compare runs/grpo runs/rloo --out results/grpo-rloo

A run is called by the name of its directory. An unfinished run is compared as far as it has come.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import tyro

from agentic_rl.config import check, checked
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.records.tensorboard.writer import write_seeds
from agentic_rl.training.run import Run, read_run
from agentic_rl.training.train import BUDGET
from experiments.cli import console, shell
from experiments.cli.flags import from_flags
from experiments.cli.tables import print_table
from experiments.reports import comparison_figures, figures, report
from experiments.reports.config_names import part_name, task_name
from experiments.reports.display_names import words
from experiments.reports.stats import Record, distinct, interval

Runs = dict[str, Run]  # by their names in the table
Directories = dict[str, RunDirectory]
Entry = dict[str, Any]  # of a run's log


@checked
class Command:
    """Compare runs: success before and after, what it cost, and with --out their curves."""

    # as `train` printed them
    run_dirs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN_DIR...")]
    # where to write table.md, curves.csv, the learning curves as PNG and SVG, and the curves of
    # each seed for TensorBoard; by default nowhere
    out: str = ""


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(()), arguments)
    check(bool(command.run_dirs), "Name the directories of one run or more, such as runs/*.")
    paths = unique_names(command.run_dirs)
    directories = {name: RunDirectory.open(path) for name, path in paths.items()}
    runs = {name: read_run(directory) for name, directory in directories.items()}
    lines = [summarize(name, runs[name], directories[name]) for name in runs]
    print_table(
        lines,
        "success on unseen problems: means over seeds [95% interval]; budgets: means over seeds",
    )
    curves = [record for name in runs for record in curve(name, runs[name], directories[name])]
    for sentence in cautions(runs, curves):
        print(sentence)
    if command.out:
        write_comparison(Path(command.out), lines, curves)
        write_seed_curves(Path(command.out) / "seeds", runs, directories)
    return 0


def unique_names(paths: tuple[str, ...]) -> dict[str, Path]:
    """Returns each directory once, by its name.

    It goes by its path if another one has the same name, or if the name is a number.

    >>> list(unique_names(("/a/x", "/b/x", "/b/y", "/b/../b/y/", "/b/7")))
    ['/a/x', '/b/x', 'y', '/b/7']
    """
    distinct_paths = list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
    count = Counter(path.name for path in distinct_paths)

    def unique_name(path: Path) -> str:
        is_text = isinstance(report.read_number(path.name), str)
        return path.name if is_text and count[path.name] == 1 else str(path)

    return {unique_name(path): path for path in distinct_paths}


def has_columns(entry: Entry, columns: tuple[str, ...], seeds: int) -> bool:
    """Returns whether an entry has a number for each seed in each of the columns."""
    values = [entry.get(column) for column in columns]
    return all(isinstance(value, list) and len(value) == seeds for value in values)


def last_and_evaluations(directory: RunDirectory, seeds: int) -> tuple[Entry | None, list[Entry]]:
    """Returns the last entry of a log, and its first and last evaluation, as far as it has them.

    Of a long log no other entry is kept in memory.
    """
    last, evaluations = None, []
    for entry in directory.entries():
        if has_columns(entry, BUDGET, seeds):
            last = entry
            if has_columns(entry, ("eval_success",), seeds):
                evaluations = [*evaluations[:1], entry]
    return last, evaluations


def summarize(name: str, run: Run, directory: RunDirectory) -> Record:
    """Returns a run's line of the table; a run without a log has no numbers."""
    last, evaluations = last_and_evaluations(directory, run.seeds)
    scores = [interval(entry["eval_success"]) for entry in evaluations] or [""]
    # The beginning of a log may be lost.
    has_start = evaluations and evaluations[0]["step"] == 0
    unfinished = "" if directory.result else " (unfinished)"
    line = {
        "run": name,
        "task": task_name(run.task),
        "acts": part_name(run.algorithm.actor),
        "credit": part_name(run.algorithm.credit),
        "seeds": run.seeds,
        "updates": f"{last['step'] if last else 0}/{run.updates}{unfinished}",
        "before": scores[0] if has_start else "",
        "after": scores[-1],
    }
    for budget in BUDGET:
        line[words(budget)] = f"{sum(last[budget]) / run.seeds:,.4g}" if last else ""
    return line


def curve(name: str, run: Run, directory: RunDirectory) -> list[Record]:
    """Returns a record for each evaluation and seed, for `comparison_figures.learning_curves`."""
    records = []
    for entry in directory.entries():
        if not has_columns(entry, ("eval_success", *BUDGET), run.seeds):
            continue
        for seed in range(run.seeds):
            record = {
                "task": task_name(run.task),
                "algorithm": name,
                "seed": run.seed + seed,
                "update": entry["step"],
                "success": entry["eval_success"][seed],
            }
            records.append(record | {budget: entry[budget][seed] for budget in BUDGET})
    return records


def cautions(runs: Runs, curves: list[Record]) -> list[str]:
    """Returns a sentence on each thing that cannot be compared."""
    sentences = []
    tasks = sorted({task_name(run.task) for run in runs.values()})
    if len(tasks) > 1:
        sentences.append(
            f"These runs are of different tasks ({', '.join(tasks)}): "
            "their successes do not compare."
        )
    logged = distinct(curves, "algorithm")
    silent = [name for name in runs if name not in logged]
    return sentences + [f"{name} has no logged updates (metrics.jsonl)." for name in silent]


def write_comparison(folder: Path, lines: list[Record], curves: list[Record]) -> None:
    """Writes the table, and the learning curves as numbers and pictures."""
    report.write(folder / "table.md", report.markdown(lines) + "\n")
    report.write_csv(folder / "curves.csv", curves)
    pictures = ""
    if curves:
        figure = comparison_figures.learning_curves(curves, label=str)
        figures.save(figure, folder / "learning_curves.png")
        pictures = " and learning_curves.png and .svg"
    print(f"table.md, curves.csv{pictures} in {folder}")


def write_seed_curves(folder: Path, runs: Runs, directories: Directories) -> None:
    """Writes each seed's curves for TensorBoard, beside which a run's own show means over seeds."""
    for name, directory in directories.items():
        write_seeds(folder / name.lstrip("/"), runs[name].seed, directory.entries())
    print(f"each seed's curves: {shell.tensorboard_command(folder)}")


if __name__ == "__main__":
    console.main(main)
