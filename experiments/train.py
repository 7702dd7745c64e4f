"""Train one algorithm on one task: `python -m experiments.train <algorithm> <task> [flags]`.

    python -m experiments.train demo                  # a small run that visibly learns within two minutes
    python -m experiments.train grpo running_sum
    python -m experiments.train ppo running_sum --task.num-turns 16 --algorithm.credit.lambda_ 0.9 --seeds 5
    python -m experiments.train rloo key_door --credit reward_to_go --surrogate clipped_ratio
    python -m experiments.train sft running_sum --num-demos 200 --expert-noise 0.05
    python -m experiments.train grpo running_sum+key_door --task.key-door.delay 4
    python -m experiments.train --resume runs/grpo-running_sum
    python -m experiments.train --resume runs/grpo-running_sum --updates 400 --devices 2

The two names pick a row of the table and a task, whose fields become the flags: `train grpo running_sum --help` lists them.
Tasks joined by + are a mixture: each update draws equally many problems of each.
A run goes on with --resume, a finished one for more --updates: exactly as if it had been of that length from the start, unless its
learning rate decays, which from then on follows the decay of the longer run. Other devices and intervals may be given, too.
--credit, --surrogate, --values and --optimizer swap a part of the row by its name.
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
from agentic_rl.policy import transformer
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, read_run
from agentic_rl.training.train import BUDGET, load_start, train
from agentic_rl.types import Spec, parts
from experiments.cli import console, interrupt, resume, shell
from experiments.cli.flags import choices, from_flags, parse, take
from experiments.cli.progress import Line
from experiments.harness.cell import describe_saved
from experiments.reports.display_names import task_name

# The success of seeds 0 to 4 rises from .03 to .13 to .96 or more.
DEMO = "grpo running_sum --task.num-turns 6 --task.modulus 6 --policy.layers 1 --algorithm.optimizer.learning-rate 1e-3 --updates 100"


@checked
class Command:
    """Train this algorithm on this task.

    --credit, --surrogate, --values and --optimizer NAME swap a part of the algorithm for another, whose fields then are the
    flags; `python -m experiments.train --help` lists the names. --num-demos and --expert-noise are short for the flags of the
    demonstrations, be they the algorithm's or the warm start's.
    """

    run: Annotated[Run, tyro.conf.arg(name="")]
    run_dir: str = ""  # where the records go; default: runs/<algorithm>-<task>-<time>
    print_config: bool = False  # show the resolved run, its size and memory, and stop
    quick: bool = False  # a smoke test: 10 updates, whatever the flags of length say


def main(arguments: list[str]) -> int:
    arguments = spell_out_demo(arguments)
    path, arguments = take(arguments, "--resume")
    if path is not None:
        return go_on(path, arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(shell.rewrite_commands(__doc__) + "\n" + choices())
        return 0 if arguments else 2
    command = parse(Command, arguments)
    run = quick(command.run) if command.quick else command.run
    if command.print_config:
        return print_config(run)
    if command.quick:
        print(
            f"a smoke test of {run.updates} updates: it shows that everything works, and learns nothing"
        )
    parallel.prepare(run.devices)
    machine = Programs(run)
    if run.warm_start.checkpoint:
        load_start(run, machine)  # now, so that a wrong one leaves no directory behind
    name = command.run_dir or new_folder(
        f"runs/{arguments[0]}-{arguments[1]}-{time.strftime('%Y%m%d-%H%M%S')}"
    )
    directory = RunDirectory.create(name, to_json(run))
    proceed = (
        f"continue it with {shell.command('train', '--resume', name)}, or choose another --run-dir"
    )
    check(next(directory.entries(), None) is None, f"{name} already holds this run; {proceed}.")
    return execute(run, directory)


def go_on(path: str, arguments: list[str]) -> int:
    """Continues the run in a directory, with those flags changed that a run may change; of a finished run shows the result."""
    directory = RunDirectory.open(path)
    before = read_run(directory)
    command = from_flags(Command, Command(before), arguments)
    check(
        not command.quick and not command.run_dir,
        "A run goes on where it is, and to its end: leave out --run-dir and --quick.",
    )
    parallel.prepare(command.run.devices)
    changes = resume.check_changes(directory, before, command.run)
    if command.print_config:
        return print_config(command.run)
    if directory.result and command.run.updates == before.updates:
        resume.show_finished(path, before, directory.result)
        return 0
    Programs(command.run)  # now, so that what does not fit changes nothing
    if changes:
        directory.reconfigure(to_json(command.run))
        print(*changes, sep="\n")
    return execute(command.run, directory)


def new_folder(name: str) -> str:
    """Makes an empty folder of this name and returns the name, with a number behind it if there is such a folder."""
    for free in itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            os.makedirs(free)
            return free


def print_config(run: Run) -> int:
    """Shows the resolved run, its size and memory."""
    print(json.dumps(brief(to_json(run)), indent=2), "\n" + describe(run), sep="\n")
    return 0


def brief(stored: Any) -> Any:
    """Returns a stored config in which one's own data is only counted.

    >>> brief({"seed": 0, "task": {"pairs": [["1+1=", "2"]] * 100}})
    {'seed': 0, 'task': {'pairs': '100 pairs'}}
    """
    if not isinstance(stored, dict):
        return stored
    return {
        name: f"{len(value):,} pairs" if name == "pairs" else brief(value)
        for name, value in stored.items()
    }


def spell_out_demo(arguments: list[str]) -> list[str]:
    """Returns the arguments, with `demo` replaced by the flags that it stands for; prints the whole command."""
    if arguments[:1] != ["demo"]:
        return arguments
    spelled_out = [*DEMO.split(), *arguments[1:]]
    print("demo stands for:", shell.command("train", *spelled_out))
    return spelled_out


def quick(run: Run) -> Run:
    """The run, cut down to seconds."""
    chunk = 5
    warm = dataclasses.replace(run.warm_start, updates=chunk * (run.warm_start.updates > 0))
    sizes = dict(
        updates=2 * chunk, chunk=chunk, eval_every=chunk, eval_episodes=64, checkpoint_every=chunk
    )
    return dataclasses.replace(run, warm_start=warm, **sizes)


def execute(run: Run, directory: RunDirectory) -> int:
    """Trains, shows progress, and ends with the result."""
    console.keep_compiled_programs()
    parallel.prepare(run.devices)
    again = shell.command("train", "--resume", directory.path)
    should_stop = interrupt.stop_predicate(
        lambda: f"stopped; {describe_saved(run, directory)}. Continue with: {again}"
    )
    with directory, Line(task_name(run.task)) as line:
        print(describe(run), f"records in {directory.path}", sep="\n", flush=True)
        result = train(run, directory, line, should_stop)
        if not result.finished:
            line.say(f"stopped; {describe_saved(run, directory)}. Continue with: {again}")
            return interrupt.EXIT_CODE
        last = result.last
        scores = {name: last[name] for name in last if name.startswith("eval_")}
        line.phase("saving")
        directory.finish(scores | {name: last[name] for name in BUDGET})
    lost = (
        result.first["step"] > 0 or "eval_success" not in result.first
    )  # with the beginning of the log
    start = "" if lost else f"{mean(result.first['eval_success']):.3f} before, "
    print(
        f"success on unseen problems: {start}{mean(last['eval_success']):.3f} after {run.updates} updates"
    )
    print(
        f"curves: {shell.tensorboard_command(directory.path)}    more: {shell.command('evaluate', directory.path)}"
    )
    return 0


def mean(values: list[float]) -> float:
    """The mean over seeds."""
    return sum(values) / len(values)


def describe(run: Run) -> str:
    """Size, context and memory of the run, in a line each."""
    weights, specs = (
        transformer.num_params(run.policy),
        {name: part.spec for name, part in parts(run.task).items()},
    )
    spec = max(specs.values(), key=lambda spec: spec.context_length)
    sequences = run.algorithm.problems * run.algorithm.attempts
    cache = 2 * run.policy.layers * sequences * spec.context_length * run.policy.width
    per_token = run.policy.layers * (12 * run.policy.width + 4 * run.policy.mlp)
    activations = (run.micro_batch or sequences) * spec.context_length * per_token
    copies = (4 + run.algorithm.reads_reference + (run.algorithm.refresh > 1)) * run.seeds
    megabytes = 4 * (weights * copies + cache + activations) / 1e6
    return (
        f"policy: {weights:,} parameters, {run.policy.context} context\n"
        + "".join(
            f"{name or 'episode'}: {describe_episode(spec)}\n" for name, spec in specs.items()
        )
        + f"update: {plural(sequences, 'episode')} ({plural(run.algorithm.problems, 'problem')} x"
        f" {plural(run.algorithm.attempts, 'attempt')}), {plural(run.seeds, 'seed')}\n"
        f"memory: about {megabytes:,.0f} MB for weights, optimizer, cache and activations"
    )


def plural(count: int, noun: str) -> str:
    """Returns the count and the noun, in the plural if there are several.

    >>> plural(1, "seed"), plural(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{count} {noun}{'s' * (count > 1)}"


def describe_episode(spec: Spec) -> str:
    """Its tokens."""
    turns = f"{plural(spec.num_turns, 'turn')} of {spec.observation_length} + {spec.action_length}"
    return f"{spec.context_length} tokens ({spec.prompt_length} of prompt, {turns})"


if __name__ == "__main__":
    console.main(main)
