"""Train one algorithm on one task: `python -m experiments.train <algorithm> <task> [flags]`.

    python -m experiments.train demo         # a small run that visibly learns within two minutes
    python -m experiments.train grpo running_sum
    python -m experiments.train ppo running_sum --task.num-turns 16 --algorithm.credit.lambda_ 0.9
    python -m experiments.train rloo key_door --credit reward_to_go --surrogate clipped_ratio
    python -m experiments.train sft running_sum --num-demos 200 --expert-noise 0.05 --seeds 5
    python -m experiments.train grpo running_sum+key_door --task.key-door.delay 4
    python -m experiments.train --resume runs/grpo-running_sum
    python -m experiments.train --resume runs/grpo-running_sum --updates 400 --devices 2

The two names pick an algorithm and a task, whose fields become the flags:
`train grpo running_sum --help` lists them. --credit, --surrogate, --values, --reward, --selection,
--kl and --optimizer swap a part of the algorithm by its name. Tasks joined by + are a mixture:
each update draws equally many problems of each.

--resume continues a run, and a finished one for more --updates, exactly as if it had been of that
length from the start. Only a learning rate that decays follows the longer run's decay from then
on. Devices and intervals may change, too.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import time
from typing import Annotated, Any

import tyro

from agentic_rl import parallel
from agentic_rl.config import check, checked, to_json
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.initial_weights import load_weights
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, read_run
from agentic_rl.training.train import BUDGET, Result, train
from experiments.cli import console, interrupt, resume, shell
from experiments.cli.flags import choices, from_flags, parse, take
from experiments.cli.progress import Line
from experiments.cli.run_description import describe, without_data
from experiments.harness.cell import describe_saved
from experiments.reports.config_names import task_name
from experiments.reports.display_names import quantity

# The success of seeds 0 to 4 rises from .03 to .13 to .96 or more.
DEMO = (
    "grpo running_sum --task.num-turns 6 --task.modulus 6 --policy.layers 1 "
    "--algorithm.optimizer.learning-rate 1e-3 --updates 100"
)
QUICK_CHUNK = 5  # updates, of which a smoke test has two chunks


@checked
class Command:
    """Train this algorithm on this task.

    --credit, --surrogate, --values and --optimizer NAME swap a part of the algorithm for another,
    whose fields then are the flags; `python -m experiments.train --help` lists the names.
    --num-demos and --expert-noise are short for the flags of the demonstrations, which belong to
    the algorithm or to the warm start.
    """

    run: Annotated[Run, tyro.conf.arg(name="")]  # what is trained, and on what
    run_dir: str = ""  # where the records go; default: runs/<algorithm>-<task>-<time>
    print_config: bool = False  # show the resolved run, its size and memory, and stop
    quick: bool = False  # a smoke test: 10 updates, whatever the flags of length say


def main(arguments: list[str]) -> int:
    arguments = spell_out_demo(arguments)
    path, arguments = take(arguments, "--resume")
    if path is not None:
        return continue_run(path, arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{shell.rewrite_commands(__doc__)}\n{choices()}")
        return 0 if arguments else 2
    command = parse(Command, arguments)
    run = shorten(command.run) if command.quick else command.run
    if command.print_config:
        return print_config(run)
    if command.quick:
        print(f"a smoke test of {run.updates} updates: everything runs, and nothing is learned")
    check_run(run)
    time_stamp = time.strftime("%Y%m%d-%H%M%S")
    path = command.run_dir or new_folder(f"runs/{arguments[0]}-{arguments[1]}-{time_stamp}")
    directory = RunDirectory.create(path, to_json(run))
    check(
        next(directory.entries(), None) is None,
        f"{path} already holds this run; continue it with "
        f"{shell.command('train', '--resume', path)}, or choose another --run-dir.",
    )
    return execute(run, directory)


def check_run(run: Run) -> None:
    """Checks that the devices can run the run, and that its checkpoint to start from fits.

    Raises: ConfigError, before a directory is made.
    """
    parallel.prepare(run.devices)
    programs = Programs(run)
    if run.warm_start.checkpoint:
        load_weights(run, programs)


def continue_run(path: str, arguments: list[str]) -> int:
    """Continues the run in a directory, or shows the result of a finished one.

    The flags may change what a run may change while it goes on.
    """
    directory = RunDirectory.open(path)
    before = read_run(directory)
    resume.check_chunk(before, arguments)
    command = from_flags(Command, Command(before), arguments)
    check(
        not command.quick and not command.run_dir,
        "A run goes on where it is, and to its end: leave out --run-dir and --quick.",
    )
    run = command.run
    parallel.prepare(run.devices)
    changes = resume.check_changes(directory, before, run)
    if command.print_config:
        return print_config(run)
    if directory.result and run.updates == before.updates:
        resume.show_finished(path, before, directory.result)
        return 0
    Programs(run)  # raises if the devices cannot run it, before anything changes
    if changes:
        directory.reconfigure(to_json(run))
        print(*changes, sep="\n")
    return execute(run, directory)


def new_folder(name: str) -> str:
    """Makes an empty folder and returns its name, with a number after it if the name is taken."""
    numbered = (f"{name}-{i}" for i in itertools.count(2))
    for free in itertools.chain([name], numbered):
        with contextlib.suppress(FileExistsError):
            os.makedirs(free)
            return free


def print_config(run: Run) -> int:
    """Prints the resolved run, its size and memory, and returns the exit code."""
    print(json.dumps(without_data(to_json(run)), indent=2), end="\n\n")
    print(describe(run))
    return 0


def spell_out_demo(arguments: list[str]) -> list[str]:
    """Returns the arguments with `demo` replaced by what it stands for, and prints the command."""
    if arguments[:1] != ["demo"]:
        return arguments
    spelled_out = [*DEMO.split(), *arguments[1:]]
    print("demo stands for:", shell.command("train", *spelled_out))
    return spelled_out


def shorten(run: Run) -> Run:
    """Returns the run, cut down to a few seconds."""
    has_warm_start = run.warm_start.updates > 0
    return dataclasses.replace(
        run,
        warm_start=dataclasses.replace(
            run.warm_start, updates=QUICK_CHUNK if has_warm_start else 0
        ),
        updates=2 * QUICK_CHUNK,
        chunk=QUICK_CHUNK,
        eval_every=QUICK_CHUNK,
        eval_episodes=64,
        checkpoint_every=QUICK_CHUNK,
    )


def execute(run: Run, directory: RunDirectory) -> int:
    """Trains with a line of progress, prints the result, and returns the exit code."""
    console.keep_compiled_programs()
    parallel.prepare(run.devices)
    resume_command = shell.command("train", "--resume", directory.path)

    def describe_stop() -> str:
        return f"stopped; {describe_saved(run, directory)}. Continue with: {resume_command}"

    should_stop = interrupt.stop_predicate(describe_stop)
    with directory, Line(task_name(run.task)) as line:
        print(describe(run), f"records in {directory.path}", sep="\n", flush=True)
        result = train(run, directory, line, should_stop)
        if not result.finished:
            line.say(describe_stop())
            return interrupt.EXIT_CODE
        line.phase("saving")
        directory.finish(final_numbers(result.last))
    print_result(run, result, directory)
    return 0


def final_numbers(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns the scores and the budgets of the last entry of a log."""
    scores = {name: value for name, value in entry.items() if name.startswith("eval_")}
    return scores | {name: entry[name] for name in BUDGET}


def print_result(run: Run, result: Result, directory: RunDirectory) -> None:
    """Prints the success before and after training, and the commands that show more."""
    # The beginning of a log may be lost.
    has_start = result.first["step"] == 0 and "eval_success" in result.first
    before = f"{mean(result.first['eval_success']):.3f} before, " if has_start else ""
    after = f"{mean(result.last['eval_success']):.3f} after {quantity(run.updates, 'update')}"
    print(f"success on unseen problems: {before}{after}")
    curves = shell.tensorboard_command(directory.path)
    print(f"curves: {curves}    more: {shell.command('evaluate', directory.path)}")


def mean(values: list[float]) -> float:
    """Returns the mean over seeds."""
    return sum(values) / len(values)


if __name__ == "__main__":
    console.main(main)
