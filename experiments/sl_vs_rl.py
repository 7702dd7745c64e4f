"""Compares what supervised learning gives an agent with what reinforcement learning adds.

Every algorithm starts from the same warm start, behaviour cloning of a few fixed
demonstrations, and gets the same number of updates of 256 episodes. `sft` goes on with the
demonstrations it has, `sft_fresh` buys new ones in every update, and `dagger` buys the expert's
labels on its own episodes. The others see rewards only. Success is measured on unseen problems,
at the trained horizon and at 2 and 4 times that.

Predictions: cloning's success falls with the horizon, as the exponential of its per-turn
accuracy; RL from the same checkpoint repairs this without a label; DAgger repairs it too, and
pays in labels. The rules are in `experiments/reports/comparison_verdicts.py` and were written
before the runs that they judge. Sources: Ross & Bagnell 2010 and 1011.0686 (compounding errors,
DAgger), 2509.09677 (long execution).

    python -m experiments.sl_vs_rl              # running_sum, 5 seeds: 10 minutes on 2 cores
    python -m experiments.sl_vs_rl --tasks chain_pit,key_door,running_sum
    python -m experiments.sl_vs_rl --full       # the three tasks, 10 seeds: results/sl_vs_rl
    python -m experiments.sl_vs_rl --quick      # a smoke test
    python -m experiments.sl_vs_rl --full --no-measure     # draws and judges the results again

After an interrupt the same command continues. `--help` lists the flags.
"""

import dataclasses
import json
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from agentic_rl import algorithms, envs, parallel
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import check, checked, named
from agentic_rl.config.ranges import Count, Natural, Probability, Range, kind
from agentic_rl.policy.transformer import Policy
from agentic_rl.records import provenance
from agentic_rl.records.lock import Lock
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.training.run import Run, WarmStart
from experiments.cli import console, interrupt, progress, shell
from experiments.cli.flags import from_flags, look_up
from experiments.cli.part_counter import PartCounter
from experiments.cli.progress import Line
from experiments.harness.cell import train_and_score
from experiments.harness.comparison_scores import final_scores, learning_curve, summarize
from experiments.reports import comparison_page, report, stats
from experiments.reports.stats import Record

# Demonstrations of the warm start: so few that cloning them leaves something to repair.
DEMOS = {"running_sum": 48, "chain_pit": 3, "key_door": 4}
SMOKE_TEST = "A smoke test shows that everything works; its tiny policy learns nothing."
SMOKE = dict(seeds=2, updates=10, warm_updates=10, episodes=64, algorithms="sft,dagger,grpo,ppo")


@checked
class Command:
    """Compare supervised with reinforcement learning from one warm start, with equal updates."""

    tasks: str = "running_sum"  # names of tasks, separated by commas
    algorithms: str = "sft,sft_fresh,dagger,rft,reinforce,rloo,grpo,ppo"  # which are compared
    seeds: Annotated[int, Range(2, why="for intervals")] = 5  # seeds 0, 1, ... of each algorithm
    updates: Count = 100  # of each algorithm, after the warm start
    warm_updates: Count = 30  # of cloning, before
    # probability that an action of the fixed demonstrations is random: a start that explores
    demo_noise: Probability = 0.0
    episodes: Count = 1024  # of the final evaluation, for each seed, horizon and mode
    out: str = "runs/sl_vs_rl"  # folder of tables, figures and the page
    full: bool = False  # the three tasks with 10 seeds, into results/sl_vs_rl
    quick: bool = False  # a smoke test: a tiny policy, few updates
    measure: bool = True  # --no-measure: only draw and judge what was measured before
    # its answer depends on the turn at hand alone, so that lengths beyond training are fair
    policy: Policy = Policy(context="markov")
    devices: Natural = 0  # 0: all accelerators, or one virtual device per CPU core


def main(arguments: list[str]) -> int:
    command = chosen(from_flags(Command, Command(), arguments))
    out = Path(command.out)
    if not command.measure:
        check_measured(out)
        comparison_page.write(out)
        return 0
    console.check_checkout(command.out)
    names = command.algorithms.split(",")
    check("sft" in names, "The verdicts compare with cloning: leave sft among the --algorithms.")
    parallel.prepare(command.devices)
    console.keep_compiled_programs()
    tasks = {name: look_up("task", name, named(envs))() for name in command.tasks.split(",")}
    known = comparison_page.known_algorithms()
    compared = {name: look_up("algorithm", name, known) for name in names}
    if command.quick:
        print(SMOKE_TEST)
    with Lock(out):
        measured = measure(command, tasks, compared)
    if measured is None:
        return interrupt.EXIT_CODE
    results, curves = measured
    report.write_csv(out / "results.csv", results)
    report.write_csv(out / "curves.csv", curves)
    made_by = describe_command(command, results)
    report.write(out / "made_by.json", json.dumps(made_by, indent=1) + "\n")
    comparison_page.write(out)
    print(f"runs: {shell.tensorboard_command(out / 'runs')}")
    return 0


def chosen(command: Command) -> Command:
    """Returns the command with what its --full and --quick stand for."""
    if command.full:
        tasks = "running_sum,chain_pit,key_door"
        command = replace(command, tasks=tasks, seeds=10, out="results/sl_vs_rl")
    if command.quick:
        command = replace(command, out=command.out + "_quick", **SMOKE)
    return command


def check_measured(out: Path) -> None:
    """Raises ConfigError if nothing was measured in `out`."""
    files = [out / name for name in ("results.csv", "curves.csv", "made_by.json")]
    is_whole = all(file.exists() for file in files)
    check(is_whole, f"There are no results in {out}: leave out --no-measure.")


def measure(
    command: Command, tasks: dict[str, Any], compared: dict[str, Algorithm]
) -> tuple[list[Record], list[Record]] | None:
    """Returns the scores and learning curves of all algorithms; None if it was stopped."""
    results, curves = [], []
    counter = PartCounter("run", len(tasks) * (len(compared) + 1))

    def describe_stop() -> str:
        kept = f"all that is finished is kept in {command.out}"
        return f"stopped in {counter.position}; {kept}, and the same command goes on."

    should_stop = interrupt.stop_predicate(describe_stop)
    for task_name, task in tasks.items():
        for name, run in make_runs(command, task_name, task, compared).items():
            counter.begin()
            path = Path(command.out) / "runs" / task_name / name
            with Line(f"{task_name} {name}", counter) as line:
                score = partial(final_scores, run, task_name, name, command.episodes, line)
                finished = train_and_score(run, path, line, should_stop, score)
            if finished is None:
                progress.say(describe_stop())
                return None
            check_scores(finished, path)
            results += finished["scores"]
            curves += learning_curve(path, task_name, name)
            print(summarize(finished["scores"]), flush=True)
    return results, curves


def check_scores(finished: Record, path: Path) -> None:
    """Raises ConfigError if a finished run was not scored by this version of this command."""
    is_ours = all("algorithm" in record for record in finished.get("scores", [{}]))
    reason = "was finished by another command or an older version"
    check(is_ours, f"{path} {reason}; delete its result.json, and it is scored again.")


def make_runs(
    command: Command, task_name: str, task: Any, compared: dict[str, Algorithm]
) -> dict[str, Run]:
    """Returns the runs on one task: the warm start first, then each algorithm from it."""
    policy = command.policy
    if command.quick:
        policy = replace(policy, width=16, layers=1, heads=2, mlp=32)
    sizes = dict(
        policy=policy,
        seeds=command.seeds,
        devices=command.devices,
        eval_every=10,
        eval_episodes=command.episodes // 4,
    )
    cloning = WarmStart(num_demos=DEMOS.get(task_name, 48), noise=command.demo_noise).algorithm
    start = str(Path(command.out) / "runs" / task_name / "warm_start")
    runs = {"warm_start": Run(task, cloning, updates=command.warm_updates, **sizes)}
    for name, algorithm in compared.items():
        if name == "sft":  # goes on with the demonstrations of the warm start
            algorithm = replace(algorithm, actor=cloning.actor)
        run = Run(task, algorithm, updates=command.updates, **sizes)
        runs[name] = replace(run, warm_start=replace(run.warm_start, checkpoint=start))
    return runs


def describe_command(command: Command, results: list[Record]) -> dict[str, Any]:
    """Returns what a reader needs to make the page again."""
    now = provenance.collect()
    demos = [f"{task}: {DEMOS.get(task, 48)}" for task in command.tasks.split(",")]
    rate, warm_rate = algorithms.GRPO.optimizer.learning_rate, WarmStart().learning_rate
    return {
        "command": " ".join([shell.command("sl_vs_rl"), *changed_flags(command)]),
        "commit": describe_commits(command, now["git"]),
        "versions": ", ".join(f"{name} {version}" for name, version in now["versions"].items()),
        "seeds": ", ".join(map(str, stats.distinct(results, "seed"))),
        "budget": (
            f"{command.updates} updates of 256 episodes for each algorithm, "
            f"after {command.warm_updates} of cloning that all share"
        ),
        "demonstrations": ", ".join(demos),
        "learning rate": f"{rate:g} for every algorithm, {warm_rate:g} for the warm start",
        "device": "{count} x {kind}".format(**now["devices"]),
        "date": now["date"],
    }


def changed_flags(command: Command) -> list[str]:
    """Returns the flags of text and numbers that are not at their default, as they are typed."""
    flags = []
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        if kind(field.type) in (str, int, float) and value != field.default:
            flags.append(f"--{field.name.replace('_', '-')} {shlex.quote(str(value))}")
    return flags


def describe_commits(command: Command, git: dict[str, Any] | None) -> str:
    """Returns the commits of the code that the runs began with and that runs now."""
    if not git:
        return "none"
    commits = {git["commit"]}
    for task in command.tasks.split(","):
        directory = RunDirectory.open(Path(command.out) / "runs" / task / "warm_start")
        commits.add(str((directory.made_by.get("git") or {}).get("commit")))
    return ", ".join(sorted(commits)) + " with uncommitted changes" * git["dirty"]


if __name__ == "__main__":
    console.main(main)
