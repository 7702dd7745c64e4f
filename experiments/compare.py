"""Compare runs by what they logged: `python -m experiments.compare RUN_DIR... [--out DIR]`.

    python -m experiments.compare runs/*
    python -m experiments.compare runs/grpo runs/rloo --out results/grpo-rloo

A run is called by the name of its directory. Unfinished runs are compared as far as they have come.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import tyro

from agentic_rl.config import check, checked, snake_case
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.records.tensorboard.writer import write_seeds
from agentic_rl.training.run import Run, read_run
from agentic_rl.training.train import BUDGET
from experiments.cli import console, shell
from experiments.cli.flags import from_flags
from experiments.cli.tables import print_table
from experiments.reports import comparison_figures, figures, report
from experiments.reports.display_names import task_name
from experiments.reports.stats import Record, distinct, interval


@checked
class Command:
    """Compare runs: success before and after, what it cost, and with --out the learning curves, also of each seed."""

    run_dirs: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN_DIR...")
    ]  # as `train` printed them
    out: str = ""  # where to write table.md, curves.csv, the learning curves as PNG and SVG, and for TensorBoard each seed's; by default nowhere


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(()), arguments)
    check(bool(command.run_dirs), "Name the directories of one run or more, such as runs/*.")
    directories = {name: RunDirectory.open(path) for name, path in names(command.run_dirs).items()}
    runs = {name: read_run(directory) for name, directory in directories.items()}
    lines = [line(name, runs[name], directories[name]) for name in runs]
    print_table(
        lines,
        "success on unseen problems: means over seeds [95% interval]; budgets: means over seeds",
    )
    curves = [record for name in runs for record in curve(name, runs[name], directories[name])]
    for sentence in cautions(runs, curves):
        print(sentence)
    if command.out:
        keep(Path(command.out), lines, curves)
        keep_seeds(Path(command.out) / "seeds", runs, directories)
    return 0


def names(paths: tuple[str, ...]) -> dict[str, Path]:
    """Returns each directory once, by its name.

    It goes by its path where another one has the same name, or where the name is a number.

    >>> list(names(("/a/x", "/b/x", "/b/y", "/b/../b/y/", "/b/7")))
    ['/a/x', '/b/x', 'y', '/b/7']
    """
    found = list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
    count = Counter(path.name for path in found)
    is_clear = {
        path: count[path.name] == 1 and isinstance(report.read_number(path.name), str)
        for path in found
    }
    return {path.name if is_clear[path] else str(path): path for path in found}


def has_columns(row: dict[str, Any], columns: tuple[str, ...], seeds: int) -> bool:
    """Returns whether the row has a number for each seed in each of the columns."""
    return all(
        isinstance(row.get(column), list) and len(row[column]) == seeds for column in columns
    )


def ends(directory: RunDirectory, seeds: int) -> tuple[list[dict], list[dict]]:
    """Returns the run's last row and its first and last evaluation, each if there is one, without keeping the others."""
    last, evaluations = [], []
    for row in directory.entries():
        if has_columns(row, BUDGET, seeds):
            last = [row]
            if has_columns(row, ("eval_success",), seeds):
                evaluations = [*evaluations[:1], row]
    return last, evaluations


def line(name: str, run: Run, directory: RunDirectory) -> Record:
    """One run's line of the table; of a run that has logged nothing, what it is."""
    rows, evaluations = ends(directory, run.seeds)
    scores = [interval(row["eval_success"]) for row in evaluations] or [""]
    before = (
        scores[0] if evaluations and evaluations[0]["step"] == 0 else ""
    )  # the beginning of a log may be lost
    done = f"{rows[-1]['step'] if rows else 0}/{run.updates}" + (
        "" if directory.result else " (unfinished)"
    )
    parts = {"acts": run.algorithm.actor, "credit": run.algorithm.credit}
    cells = {what: snake_case(type(part).__name__) for what, part in parts.items()}
    spent = {
        what.replace("_", " "): f"{sum(rows[-1][what]) / run.seeds:,.4g}" if rows else ""
        for what in BUDGET
    }
    head = (
        {"run": name, "task": task_name(run.task)} | cells | {"seeds": run.seeds, "updates": done}
    )
    return head | {"before": before, "after": scores[-1]} | spent


def curve(name: str, run: Run, directory: RunDirectory) -> list[Record]:
    """A record for every evaluation and seed, as `comparison_figures.learning_curves` wants them."""
    evaluations = [
        row for row in directory.entries() if has_columns(row, ("eval_success", *BUDGET), run.seeds)
    ]
    return [
        {"task": task_name(run.task), "algorithm": name, "seed": run.seed + s, "update": row["step"], "success": row["eval_success"][s]}
        | {what: row[what][s] for what in BUDGET}
        for row in evaluations for s in range(run.seeds)
    ]  # fmt: skip


def cautions(runs: dict[str, Run], curves: list[Record]) -> list[str]:
    """Sentences on what cannot be compared."""
    tasks = {task_name(run.task) for run in runs.values()}
    empty = [name for name in runs if name not in distinct(curves, "algorithm")]
    different = f"These runs are of different tasks ({', '.join(sorted(tasks))}): their successes do not compare."
    return [different] * (len(tasks) > 1) + [
        f"{name} has no logged updates (metrics.jsonl)." for name in empty
    ]


def keep(folder: Path, lines: list[Record], curves: list[Record]) -> None:
    """Writes the table, and the learning curves as numbers and pictures."""
    report.write(folder / "table.md", report.markdown(lines) + "\n")
    report.write_csv(folder / "curves.csv", curves)
    if curves:
        figures.save(
            comparison_figures.learning_curves(curves, label=str), folder / "learning_curves.png"
        )
    print(
        f"table.md, curves.csv{' and learning_curves.png and .svg' if curves else ''} in {folder}"
    )


def keep_seeds(folder: Path, runs: dict[str, Run], directories: dict[str, RunDirectory]) -> None:
    """Writes each seed's curves for TensorBoard, which shows the means only: it knows no lines that are off until asked for."""
    for name, directory in directories.items():
        write_seeds(folder / name.lstrip("/"), runs[name].seed, directory.entries())
    print(f"each seed's curves: {shell.tensorboard_command(folder)}")


if __name__ == "__main__":
    console.main(main)
