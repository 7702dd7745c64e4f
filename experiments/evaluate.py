"""Evaluate a trained run: `python -m experiments.evaluate RUN_DIR [flags]`.

    python -m experiments.evaluate runs/grpo-running_sum
    python -m experiments.evaluate runs/grpo-running_sum --horizons 1,2,4,8 --attempts 16
    python -m experiments.evaluate runs/grpo-running_sum --all

By default the table has three lines, all on unseen problems: sampled and greedy actions at the
trained horizon, and sampled ones at twice that. `--shifts` adds the task with other names for its
values and entities (`renamed`) and, where a task has one, with a rule that training never showed
(`other rule`). `--all` adds everything.

The table is printed. `evaluation.json` in the run's directory gets a record for each seed and line.
"""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Annotated, NamedTuple

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
from experiments.reports.display_names import quantity, words
from experiments.reports.report import write
from experiments.reports.stats import Record, interval, pass_at_k, select

SCORES = ("success", "return", "per_turn_accuracy")
SPLITS = ("train", "test")
HORIZONS, ALL_HORIZONS = "1,2", "1,2,4"  # by default, and with --all
TRAINED_HORIZON = "1x"


@checked
class Command:
    """Evaluate the newest checkpoint of a run on unseen problems and longer horizons."""

    # as `train` printed it
    run_dir: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN_DIR")]
    episodes: Count = 1024  # in each line of the table; sampled ones are attempts at fewer problems
    temperature: Positive = 1.0  # of the sampled episodes; 1: as trained
    attempts: Count = 8  # sampled episodes at each problem, from which pass@1, pass@2, ... follow
    horizons: str = HORIZONS  # how many times as long as in training
    splits: str = "test"  # test: problems that training never draws; test,train: others, too
    shifts: bool = False  # also the task under other names and, where it has one, another rule
    all: bool = False  # both splits, more horizons, the shifts, and greedy actions in all of them
    devices: Natural = 0  # 0: all accelerators, or one virtual device per CPU core

    def __post_init__(self):
        check(
            self.episodes % self.attempts == 0,
            f"--episodes ({self.episodes}) must be a multiple of --attempts ({self.attempts}).",
        )
        check(
            not self.devices or self.problems % self.devices == 0,
            f"--devices ({self.devices}) must divide the {self.problems} problems of a line, which"
            f" are --episodes ({self.episodes}) / --attempts ({self.attempts}).",
        )
        check(
            all(text.isdecimal() and int(text) for text in self.horizons.split(",")),
            f"--horizons are whole numbers such as 1,2,4, not {self.horizons}.",
        )
        check(
            set(self.splits.split(",")) <= set(SPLITS),
            f"--splits are {' and '.join(SPLITS)}, separated by a comma, not {self.splits}.",
        )

    @property
    def problems(self) -> int:
        """The number of problems of a line with sampled actions."""
        return self.episodes // self.attempts


class Condition(NamedTuple):
    """What a line of the table is about."""

    task: str  # of a mixture; "" if there is only one
    split: str  # "train" or "test"
    horizon: str  # such as "2x", "renamed" or "other rule"
    mode: str  # "sampled" or "greedy"


Variants = dict[str, dict[str, Environment]]  # each task's environments, by their horizon


def main(arguments: list[str]) -> int:
    check(bool(arguments), "Name the directory of a run, such as runs/grpo-running_sum.")
    command = spell_out_all(from_flags(Command, Command(tyro.MISSING), arguments))
    parallel.prepare(command.devices)
    run, state = load(command.run_dir)
    variants = {name: make_variants(task, command) for name, task in parts(run.task).items()}
    for environments in variants.values():
        for environment in environments.values():
            layout.check_length(environment.spec)
    console.keep_compiled_programs()
    interrupt.on_interrupt(
        lambda: "stopped; nothing was written, and the same command begins again."
    )
    records = measure(command, run, state.params, variants)
    show(command, run, records, int(state.step[0]))
    return 0


def show(command: Command, run: Run, records: list[Record], updates: int) -> None:
    """Prints the table, and writes the records into the run's directory."""
    folder = Path(command.run_dir)
    name = f"{folder.resolve().name} after {quantity(updates, 'update')}"
    print_table(table(records), f"{name}; {describe_sample(command, run)}")
    stored = [{"update": updates} | record for record in records]
    write(folder / "evaluation.json", json.dumps(stored, indent=2) + "\n")
    print(f"records in {folder / 'evaluation.json'}")
    if not command.all:
        more = shell.command("evaluate", command.run_dir, "--all")
        print(f"training problems, longer horizons, other names and rules: {more}")


def spell_out_all(command: Command) -> Command:
    """Returns the command with all that `--all` stands for; horizons that were named stay."""
    if not command.all:
        return command
    horizons = ALL_HORIZONS if command.horizons == HORIZONS else command.horizons
    return dataclasses.replace(command, horizons=horizons, splits="test,train", shifts=True)


def make_variants(task: Environment, command: Command) -> dict[str, Environment]:
    """Returns the task at each horizon and, with --shifts, under other names and another rule."""
    variants = {f"{text}x": task.longer(int(text)) for text in command.horizons.split(",")}
    if command.shifts:
        variants["renamed"] = Renamed(task)
        if hasattr(task, "other_rule"):
            variants["other rule"] = task.other_rule()
    return variants


def conditions(command: Command, variants: Variants) -> list[Condition]:
    """Returns the conditions to measure; greedy actions at other horizons need --all."""
    conditions = []
    splits = dict.fromkeys(command.splits.split(","))
    for name, split in itertools.product(variants, splits):
        for horizon, mode in itertools.product(variants[name], ("sampled", "greedy")):
            if mode == "sampled" or horizon == TRAINED_HORIZON or command.all:
                conditions.append(Condition(name, split, horizon, mode))
    return conditions


def measure(command: Command, run: Run, params, variants: Variants) -> list[Record]:
    """Returns a record for each condition and seed."""
    wanted, records = conditions(command, variants), []
    counter = PartCounter("line", len(wanted))
    with Line("", counter) as line:
        # Programs choose the most devices that share these problems, too.
        shared = dict(devices=command.devices, eval_episodes=command.problems)
        programs = Programs(dataclasses.replace(run, **shared), line.phase)
        params = programs.place(params)
        for condition in wanted:
            counter.begin()
            line.title = " ".join(filter(None, condition))
            task = variants[condition.task][condition.horizon]
            records += measure_condition(command, run, programs, params, condition, task)
    return records


def measure_condition(
    command: Command,
    run: Run,
    programs: Programs,
    params,
    condition: Condition,
    task: Environment,
) -> list[Record]:
    """Returns a record for each seed, measured in one condition."""
    is_sampled = condition.mode == "sampled"
    temperature = command.temperature if is_sampled else 0.0
    attempts = command.attempts if is_sampled else 1
    problems = command.episodes // attempts
    log = programs.evaluate(params, task, problems, attempts, condition.split, temperature)
    head = {
        "task": condition.task,
        "split": condition.split,
        "horizon": condition.horizon,
        "num_turns": task.spec.num_turns,
        "mode": condition.mode,
        "temperature": temperature,
    }
    return [
        head | {"seed": run.seed + seed} | scores(log, seed, attempts) for seed in range(run.seeds)
    ]


def scores(log: dict[str, np.ndarray], seed: int, attempts: int) -> Record:
    """Returns one seed's means over its episodes, and its pass@k, means over its problems.

    k is 1, 2, 4, ... and the number of attempts; a single attempt has no pass@k.
    """
    record = {name: float(log[name][seed]) for name in SCORES}
    if attempts > 1:
        powers = {2**i for i in range(attempts.bit_length())}
        for k in sorted(powers | {attempts}):
            chance = pass_at_k(attempts, log["num_success"][seed], k)
            record[f"pass@{k}"] = float(chance.mean())
    return record


def table(records: list[Record]) -> list[Record]:
    """Returns a line for each condition, with means over seeds and their intervals."""
    names = dict.fromkeys(name for record in records for name in record)
    columns = [name for name in names if name in SCORES or name.startswith("pass@")]
    keys = [tuple(record[field] for field in Condition._fields) for record in records]
    lines = []
    for condition in map(Condition._make, dict.fromkeys(keys)):
        seeds = select(records, **condition._asdict())
        line = {"task": condition.task} if condition.task else {}
        line |= {
            "split": condition.split,
            "horizon": condition.horizon,
            "turns": seeds[0]["num_turns"],
            "actions": condition.mode,
        }
        for name in columns:
            values = [record[name] for record in seeds if name in record]
            line[words(name)] = interval(values, name != "return") if values else ""
        lines.append(line)
    return lines


def describe_sample(command: Command, run: Run) -> str:
    """Returns what the numbers are means over."""
    seeds = "one seed, hence no intervals"
    if run.seeds > 1:
        seeds = f"means over {run.seeds} seeds [95% interval]"
    episodes = quantity(command.episodes, "episode")
    return f"{seeds}; {episodes} a line, sampled at temperature {command.temperature:g}"


if __name__ == "__main__":
    console.main(main)
