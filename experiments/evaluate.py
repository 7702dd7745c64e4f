"""Evaluate a trained run: `python -m experiments.evaluate RUN_DIR [flags]`.

    python -m experiments.evaluate runs/grpo-running_sum
    python -m experiments.evaluate runs/grpo-running_sum --horizons 1,2,4,8 --attempts 16
    python -m experiments.evaluate runs/grpo-running_sum --all

By default three lines on unseen problems: sampled and greedy actions at the trained horizon, and sampled ones at twice that.
`--shifts` adds the task `renamed`, its values and entities under other names, and, where a task has one, under another rule than
training showed; `--all` adds everything. Prints a table and writes `evaluation.json`, one record per seed and line of the table,
into the run's directory.
"""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from agentic_rl import parallel
from agentic_rl.config import check, checked
from agentic_rl.config.ranges import Count, Natural, Positive
from agentic_rl.envs.wrappers.renamed import Renamed
from agentic_rl.policy import layout
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, load
from agentic_rl.types import Environment, parts
from experiments.cli import console, interrupt, shell
from experiments.cli.flags import from_flags
from experiments.cli.part_counter import PartCounter
from experiments.cli.progress import Line
from experiments.cli.tables import print_table
from experiments.reports.report import write
from experiments.reports.stats import Record, interval, pass_at_k, select

SCORES = ("success", "return", "per_turn_accuracy")
SPLITS = ("train", "test")
HORIZONS = "1,2", "1,2,4"  # by default, and of everything


@checked
class Command:
    """Evaluate the newest checkpoint of a run: sampled and greedy actions on unseen problems, and a longer horizon."""

    run_dir: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN_DIR")
    ]  # as `train` printed it
    episodes: Count = 1024  # in each line of the table; sampled ones are attempts at fewer problems
    temperature: Positive = 1.0  # of the sampled episodes; 1: as trained
    attempts: Count = (
        8  # sampled episodes at each problem, from which pass@1, pass@2, pass@4, ... are estimated
    )
    horizons: str = HORIZONS[0]  # how many times as long as in training
    splits: str = (
        "test"  # test: instances that training never draws; test,train: also those that it may draw
    )
    shifts: bool = False  # also the task under other names and, where it has one, another rule
    all: bool = False  # both splits, more horizons, the shifts, and greedy actions at each of them
    devices: Natural = 0  # 0: all accelerators, or one virtual device per CPU core

    def __post_init__(self):
        check(
            self.episodes % self.attempts == 0,
            f"--episodes ({self.episodes}) must be a multiple of --attempts ({self.attempts}).",
        )
        horizons = self.horizons.split(",")
        check(
            all(h.isdecimal() and int(h) for h in horizons),
            f"--horizons are whole numbers such as 1,2,4, not {self.horizons}.",
        )
        known = set(self.splits.split(",")) <= set(SPLITS)
        check(
            known, f"--splits are {' and '.join(SPLITS)}, separated by a comma, not {self.splits}."
        )


def main(arguments: list[str]) -> int:
    check(bool(arguments), "Name the directory of a run, such as runs/grpo-running_sum.")
    command = everything(from_flags(Command, Command(tyro.MISSING), arguments))
    parallel.prepare(command.devices)
    run, state = load(command.run_dir)
    tasks = {
        name: layouts(task, command.horizons, command.shifts)
        for name, task in parts(run.task).items()
    }
    for task in [task for each in tasks.values() for task in each.values()]:
        layout.check_length(task.spec)
    console.keep_compiled_programs()
    interrupt.on_interrupt(
        lambda: "stopped; nothing was written, and the same command begins again."
    )
    records = measure(command, run, state.params, tasks)
    updates = int(state.step[0])
    name = Path(command.run_dir).resolve().name
    print_table(
        table(records),
        f"{name} after {updates} updates; {note(command, run)}",
    )
    path = Path(command.run_dir) / "evaluation.json"
    write(path, json.dumps([{"update": updates} | r for r in records], indent=2) + "\n")
    print(f"records in {path}")
    if not command.all:
        print(
            f"training problems, longer horizons, other names and rules: {shell.command('evaluate', command.run_dir, '--all')}"
        )
    return 0


def everything(command: Command) -> Command:
    """Returns the command with all that `--all` stands for; horizons that were named stay."""
    if not command.all:
        return command
    horizons = HORIZONS[1] if command.horizons == HORIZONS[0] else command.horizons
    return dataclasses.replace(command, horizons=horizons, splits="test,train", shifts=True)


def layouts(task: Environment, horizons: str, shifts: bool) -> dict[str, Environment]:
    """The task at each horizon, with other names for its values and entities, and under a rule that training never showed."""
    longer = {f"{h}x": task.longer(int(h)) for h in horizons.split(",")}
    shifted = {"renamed": Renamed(task)} | (
        {"other rule": task.other_rule()} if hasattr(task, "other_rule") else {}
    )
    return longer | (shifted if shifts else {})


def lines(
    command: Command, tasks: dict[str, dict[str, Environment]]
) -> list[tuple[str, str, str, str]]:
    """Returns task, split, layout and mode of each line: greedy actions only at the trained horizon, unless everything is asked for."""
    splits = dict.fromkeys(command.splits.split(","))
    return [
        (name, split, layout_, mode)
        for (name, each), split in itertools.product(tasks.items(), splits)
        for layout_ in each
        for mode in ("sampled", "greedy")
        if mode == "sampled" or layout_ == "1x" or command.all
    ]


def measure(
    command: Command, run: Run, params, tasks: dict[str, dict[str, Environment]]
) -> list[Record]:
    """Returns a record for every line and seed."""
    wanted, records = lines(command, tasks), []
    counter = PartCounter("line", len(wanted))
    with Line("", counter) as line:
        machine = Programs(dataclasses.replace(run, devices=command.devices), line.phase)
        params = machine.place(params)
        for name, split, horizon, mode in wanted:
            counter.begin()
            line.title = " ".join(filter(None, (name, split, horizon, mode)))
            task = tasks[name][horizon]
            temperature, attempts = (
                (command.temperature, command.attempts) if mode == "sampled" else (0.0, 1)
            )
            cell = {
                "task": name,
                "split": split,
                "horizon": horizon,
                "num_turns": task.spec.num_turns,
            }
            cell |= {"mode": mode, "temperature": temperature}
            log = machine.evaluate(
                params, task, command.episodes // attempts, attempts, split, temperature
            )
            records += [
                cell | {"seed": run.seed + s} | scores(log, s, attempts) for s in range(run.seeds)
            ]
    return records


def scores(log: dict[str, np.ndarray], seed: int, attempts: int) -> Record:
    """One seed's means over its episodes, and pass@1, pass@2, pass@4, ... up to all attempts, means over its problems."""
    chances = (
        sorted({2**i for i in range(attempts.bit_length())} | {attempts}) if attempts > 1 else []
    )
    passes = {
        f"pass@{k}": float(pass_at_k(attempts, log["num_success"][seed], k).mean()) for k in chances
    }
    return {name: float(log[name][seed]) for name in SCORES} | passes


def table(records: list[Record]) -> list[Record]:
    """A line for every task, split, layout and mode: means over seeds with their intervals."""
    columns = list(
        dict.fromkeys(
            name for r in records for name in r if name in SCORES or name.startswith("pass@")
        )
    )
    cells, lines = ("task", "split", "horizon", "mode"), []
    for values in dict.fromkeys(tuple(r[c] for c in cells) for r in records):
        seeds = select(records, **dict(zip(cells, values)))
        task, split, horizon, mode = values
        head = {"task": task} if task else {}
        head |= {
            "split": split,
            "horizon": horizon,
            "turns": seeds[0]["num_turns"],
            "actions": mode,
        }
        shown = {
            name: interval([r[name] for r in seeds], name != "return") if name in seeds[0] else ""
            for name in columns
        }
        lines.append(head | shown)
    return lines


def note(command: Command, run: Run) -> str:
    """What the numbers are means over."""
    seeds = (
        f"means over {run.seeds} seeds [95% interval]"
        if run.seeds > 1
        else "one seed, hence no intervals"
    )
    return f"{seeds}; {command.episodes} episodes a line, sampled at temperature {command.temperature:g}"


if __name__ == "__main__":
    console.main(main)
