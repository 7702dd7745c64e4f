"""What does supervised learning give an agent, and what does reinforcement learning's credit assignment add?

Every row of the table starts from the same warm start (behaviour cloning of a few fixed demonstrations) and gets the same number
of updates of 256 episodes. `sft` goes on with the demonstrations it has, `sft_fresh` buys new ones in every update, `dagger` buys
the expert's labels on its own episodes, the others see rewards only. Success is measured on unseen problems, at the trained
horizon and at 2 and 4 times that.

Predictions (the rules are in `verdicts`, and were written before the runs that they judge): cloning's success falls with the
horizon, as the exponential of its per-turn accuracy; RL from the same checkpoint repairs it, with no label; DAgger repairs it
too, and pays in labels. Sources: Ross & Bagnell 2010 and 1011.0686 (compounding errors, DAgger), 2509.09677 (long execution).

    python -m experiments.sl_vs_rl                         # running_sum, 5 seeds: about 10 minutes on 2 cores
    python -m experiments.sl_vs_rl --tasks chain_pit,key_door,running_sum
    python -m experiments.sl_vs_rl --full                  # the three tasks, 10 seeds; made results/sl_vs_rl
    python -m experiments.sl_vs_rl --quick                 # a smoke test
    python -m experiments.sl_vs_rl --full --no-measure     # draws and judges what is there again

Interrupted, the same command continues. `--help` lists the flags.
"""

import dataclasses
import json
import shlex
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from agentic_rl import algorithms, envs, parallel
from agentic_rl.config import check, checked, named, snake_case
from agentic_rl.config.ranges import Count, Natural, Probability, Range, kind
from agentic_rl.policy.transformer import Policy
from agentic_rl.records import provenance
from agentic_rl.records.lock import Lock
from agentic_rl.records.run_directory import RunDirectory
from agentic_rl.rollout.actors import Expert
from agentic_rl.rollout.rollout import rollout
from agentic_rl.training.programs import Programs
from agentic_rl.training.run import Run, WarmStart
from agentic_rl.training.train import BUDGET, Result
from experiments.cli import console, interrupt, progress
from experiments.cli.flags import from_flags, look_up
from experiments.cli.progress import Line
from experiments.cli.whole import Whole
from experiments.harness.cell import train_and_score
from experiments.reports import (
    comparison_answer,
    comparison_figures,
    figures,
    overview,
    report,
    stats,
)
from experiments.reports.display_names import words
from experiments.reports.stats import Record, scores, select
from experiments.reports.verdicts import above_zero, near_zero

DEMOS = {
    "running_sum": 48,
    "chain_pit": 3,
    "key_door": 4,
}  # so few that cloning them leaves something to repair
ALGORITHMS = "sft,sft_fresh,dagger,rft,reinforce,rloo,grpo,ppo"
HORIZONS = (1, 2, 4)
QUESTION = """Every row starts from the same warm start, cloning of a few fixed demonstrations, and gets the same number of updates
of 256 episodes. The rows differ in who acts, whose labels are trained on, and what credit each action gets. Where the only reward is
1 for success at the end, rft and reinforce are the same algorithm: the reward to go is the filter."""
FINAL = "Success on unseen problems after training, with sampled actions, at the trained length and at the longest: means over seeds."
CURVES = """Success on unseen problems against environment steps, generated tokens and expert labels, the warm start's included:
means over seeds."""
HORIZON = """Success against the length of the episode, one panel per row; the line is constant per-turn accuracy to the power of
the number of decisions."""
TABLE = "Who acts and what credit each action gets, per row; shaded, the two cells that differ."
VERDICTS = "Each rule was written before the run, after pilots on other seeds. The intervals are not corrected for the number of rules."
CAVEATS = """The policy reads the prompt and the turn at hand only. Where an observation shows neither the turn nor past errors, as in
running_sum and chain_pit, ppo's critic cannot know them, so that its values, and at lambda below 1 its credit, are biased. All rows take
four gradient steps on a batch; only the clipped ratio corrects for the policy having moved. The learning rate, the number of
demonstrations and the warm start's length were chosen for all rows on pilots with seeds 1000 and 1001, which tried cloning,
DAgger and GRPO; the other rows were not tuned."""
WARM = "{} lifts the warm start, with rewards only"
FORETOLD = "sft's success at 2x minus (its per-turn accuracy at 1x)^decisions"
SMOKE_TEST = "a smoke test: it shows that everything works; so few updates of so small a policy learn nothing"
SMOKE = dict(seeds=2, updates=10, warm_updates=10, episodes=64, algorithms="sft,dagger,grpo,ppo")


@checked
class Command:
    """Compare supervised learning with reinforcement learning: train every row from the same warm start, with equally many updates."""

    tasks: str = "running_sum"  # names of tasks, separated by commas
    algorithms: str = ALGORITHMS  # which rows of the table
    seeds: Annotated[int, Range(2, why="for intervals")] = 5
    updates: Count = 100
    warm_updates: Count = 30  # of cloning, before
    demo_noise: Probability = 0.0  # probability that an action of the fixed demonstrations is random: a start that explores
    episodes: Count = 1024  # of the final evaluation, for each seed, horizon and mode
    out: str = "runs/sl_vs_rl"
    full: bool = False  # the three tasks with 10 seeds, into results/sl_vs_rl
    quick: bool = False  # a smoke test: a tiny policy, few updates
    measure: bool = True  # --no-measure: only draw and judge what was measured before
    policy: Policy = Policy(
        context="markov"
    )  # its answer depends on the turn at hand alone, so that lengths beyond training are fair
    devices: Natural = 0


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(), arguments)
    if command.full:
        command = replace(
            command, tasks="running_sum,chain_pit,key_door", seeds=10, out="results/sl_vs_rl"
        )
    if command.quick:
        command = replace(command, out=command.out + "_quick", **SMOKE)
    if not command.measure:
        again(Path(command.out))
        return 0
    console.check_checkout(command.out)
    check(
        "sft" in command.algorithms.split(","),
        "The verdicts compare with cloning: leave sft among the --algorithms.",
    )
    parallel.prepare(command.devices)
    console.keep_compiled_programs()
    tasks = {name: look_up("task", name, named(envs))() for name in command.tasks.split(",")}
    rows = {name: look_up("algorithm", name, table()) for name in command.algorithms.split(",")}
    if command.quick:
        print(SMOKE_TEST)
    with Lock(Path(command.out)):
        measured = measure(command, tasks, rows)
    if measured is None:
        return interrupt.CODE
    results, curves = measured
    out = Path(command.out)
    report.write_csv(out / "results.csv", results)
    report.write_csv(out / "curves.csv", curves)
    report.write(
        out / "made_by.json", json.dumps(describe_command(command, results), indent=1) + "\n"
    )
    write(out)
    print(f"runs: {console.tensorboard(out / 'runs')}")
    return 0


def measure(
    command: Command, tasks: dict[str, Any], rows: dict[str, algorithms.Algorithm]
) -> tuple[list[Record], list[Record]] | None:
    """Returns the scores and the learning curves of all rows, measured or kept; None if it was stopped."""
    results, curves, whole = [], [], Whole("algorithm", len(tasks) * (len(rows) + 1))

    def stopped() -> str:
        return f"stopped in {whole.place}; all that is finished is kept in {command.out}, and the same command goes on."

    should_stop = interrupt.stopper(stopped)
    for task_name, task in tasks.items():
        for name, run in cells(command, task_name, task, rows).items():
            whole.next()
            path = Path(command.out) / "runs" / task_name / name
            with Line(f"{task_name} {name}", whole) as line:
                score = partial(final_scores, run, task_name, name, command.episodes, line)
                finished = train_and_score(run, path, line, should_stop, score)
            if finished is None:
                progress.say(stopped())
                return None
            check(
                "scores" in finished,
                f"{path} was finished by another command; delete its result.json, and it is scored again.",
            )
            results += finished["scores"]
            curves += curve(path, task_name, name)
            print(summary(finished["scores"]), flush=True)
    return results, curves


def table() -> dict[str, algorithms.Algorithm]:
    """The rows that can be compared: those of the table as they are, and cloning of fresh demonstrations."""
    rows = algorithms.by_name()
    return rows | {"sft_fresh": rows["sft"]}


def cells(
    command: Command, task_name: str, task: Any, rows: dict[str, algorithms.Algorithm]
) -> dict[str, Run]:
    """The runs on one task: the warm start first, then each row from it."""
    policy = (
        replace(command.policy, width=16, layers=1, heads=2, mlp=32)
        if command.quick
        else command.policy
    )
    sizes = dict(
        policy=policy,
        seeds=command.seeds,
        devices=command.devices,
        eval_every=10,
        eval_episodes=command.episodes // 4,
    )
    cloning = WarmStart(num_demos=DEMOS.get(task_name, 48), noise=command.demo_noise).algorithm
    warm = Run(task, cloning, updates=command.warm_updates, **sizes)
    start = str(Path(command.out) / "runs" / task_name / "warm_start")
    runs = {"warm_start": warm}
    for name, row in rows.items():
        row = replace(row, actor=cloning.actor) if name == "sft" else row
        run = Run(task, row, updates=command.updates, **sizes)
        runs[name] = replace(run, warm_start=replace(run.warm_start, checkpoint=start))
    return runs


def final_scores(
    run: Run,
    task_name: str,
    name: str,
    episodes: int,
    line: Line,
    _: RunDirectory,
    outcome: Result,
) -> dict[str, list[Record]]:
    """One record per seed, horizon and mode of acting, under "scores"."""
    records = []
    for horizon in HORIZONS:
        machine = Programs(
            run,
            lambda what: line.phase(
                f"{what.replace('evaluating', 'final evaluation')} at {horizon}x"
            ),
        )
        task = run.task.longer(horizon)
        decisions = num_decisions(task)
        for mode, temperature in (("sampled", 1.0), ("greedy", 0.0)):
            log = machine.evaluate(outcome.state.params, task, episodes, temperature=temperature)
            for i in range(run.seeds):
                measured = {
                    "success": log["success"][i],
                    "per_turn": log["per_turn_accuracy"][i],
                    "episode_return": log["return"][i],
                }
                labels = {
                    "task": task_name,
                    "algorithm": name,
                    "seed": run.seed + i,
                    "horizon": horizon,
                    "num_turns": task.spec.num_turns,
                }
                spent = {name: outcome.last[name][i] for name in BUDGET} | {"updates": run.updates}
                records.append(
                    labels
                    | {"decisions": decisions, "mode": mode}
                    | {k: float(v) for k, v in measured.items()}
                    | spent
                )
    return {"scores": records}


@lru_cache
def num_decisions(task: Any) -> float:
    """Key decisions in an episode of the expert, on average."""
    demos = jax.jit(lambda: rollout(task, Expert(), jax.random.key(0), jnp.arange(64)))()
    return float(demos.is_key.sum(-1).mean())


def curve(cell: Path, task_name: str, name: str) -> list[Record]:
    """Success on unseen problems against what was spent, from a run's log."""
    rows = [row for row in RunDirectory.open(cell).entries() if "eval_success" in row]
    return [
        {"task": task_name, "algorithm": name, "seed": seed, "update": row["step"]}
        | {name: row[name][seed] for name in BUDGET} | {"seconds": row["time"] - rows[0]["time"], "success": row["eval_success"][seed]}
        for row in rows for seed in range(len(row["eval_success"]))
    ]  # fmt: skip


def summary(finished: list[Record]) -> str:
    """A finished row's mean success at each horizon, in a line."""
    success = [
        scores(select(finished, horizon=h, mode="sampled"), "success").mean() for h in HORIZONS
    ]
    text = "   ".join(f"{h}x {value:.3f}" for h, value in zip(HORIZONS, success))
    return f"{finished[0]['task']:12} {finished[0]['algorithm']:11} success at the trained horizon {text}"


def cell_table(rows: dict[str, algorithms.Algorithm]) -> list[Record]:
    """Who acts, and what credit each action gets: the rows as a table."""

    def name(part):
        return snake_case(type(part).__name__)

    fresh = {"sft": "expert, fixed demos", "sft_fresh": "expert, fresh demos"}
    return [
        {
            "algorithm": row, "acts": fresh.get(row, name(a.actor)), "labels": "the expert's" if a.labels == "expert" else "own",
            "values": "–" if name(a.values) == "no_value" else name(a.values), "credit": name(a.credit), "surrogate": name(a.surrogate),
        }
        for row, a in rows.items()
    ]  # fmt: skip


def verdicts(results: list[Record], task: str) -> list[report.Verdict]:
    """The predictions, judged on one task (sampled actions)."""
    results = select(results, task=task, mode="sampled")

    def score(name, horizon=1, column="success"):
        return scores(select(results, algorithm=name, horizon=horizon), column)[0]

    def positive(claim, what, difference, more=""):
        judged.append(above_zero(f"{task}: {claim}", what, difference, more))

    have, judged = stats.distinct(results, "algorithm"), []
    positive(
        "cloning's success falls with the horizon",
        "sft at 1x minus at 4x",
        score("sft") - score("sft", 4),
    )
    if score("sft", 2, "decisions").mean() > score("sft", 1, "decisions").mean():
        foretold = score("sft", column="per_turn") ** score("sft", 2, "decisions")
        compounding = (
            f"{task}: cloning's errors compound at a constant rate",
            FORETOLD,
            score("sft", 2) - foretold,
        )
        judged.append(near_zero(*compounding, margin=0.1, more=f"foretold {foretold.mean():.3f}"))
    for row in [row for row in ("reinforce", "rloo", "grpo", "ppo") if row in have]:
        positive(WARM.format(row), f"{row} minus the warm start", score(row) - score("warm_start"))
    if "grpo" in have:
        positive("RL repairs what cloning leaves", "grpo minus sft", score("grpo") - score("sft"))
        positive(
            "the repair lasts at 4x the trained horizon",
            "grpo minus sft at 4x",
            score("grpo", 4) - score("sft", 4),
        )
    if "dagger" in have:
        paid = (
            score("dagger", column="expert_labels") - score("sft", column="expert_labels")
        ).mean()
        more = f"It paid {paid:,.0f} more expert labels."
        positive(
            "DAgger repairs it too, and pays in labels",
            "dagger minus sft",
            score("dagger") - score("sft"),
            more,
        )
    return judged


def again(out: Path) -> None:
    """Draws and judges what is in `out`.

    Raises: ConfigError if nothing was measured there.
    """
    files = [out / name for name in ("results.csv", "curves.csv", "made_by.json")]
    check(
        all(file.exists() for file in files),
        f"There are no results in {out}: leave out --no-measure.",
    )
    write(out)


def write(out: Path) -> None:
    """Figures, verdicts and the page to the disk, from the CSVs there; the tables and verdicts to the terminal."""
    results, pictures = report.read_csv(out / "results.csv"), draw(out)
    tables = {task: select(results, task=task) for task in stats.distinct(results, "task")}
    judged = [verdict for task in tables for verdict in verdicts(results, task)]
    lines = [{k: x for k, x in v._asdict().items() if k != "p"} for v in judged]
    report.write_csv(out / "verdicts.csv", lines)
    boxes = [{"verdict": line.pop("outcome")} | line for line in lines]
    said = f"The predictions: {overview.count_verdicts(boxes)}."
    answer = [" ".join(comparison_answer.answer(results)), pictures["final_success"], said]
    sections = [report.Section("Verdicts", [VERDICTS, overview.verdict_list(boxes)])]
    sections += [
        report.Section(f"Results on {words(task)}", [report.table(t), report.note(t)])
        for task, t in tables.items()
    ]
    sections.append(report.Section("The comparison", [QUESTION, CAVEATS, pictures["algorithms"]]))
    sections.append(
        report.Section("Success against horizon", [pictures["success_against_horizon"]])
    )
    sections.append(report.Section("Learning curves", [pictures["learning_curves"]]))
    greedy = [
        part
        for task, t in tables.items()
        for part in (f"{words(task).capitalize()}:", report.table(t, "greedy"))
    ]
    sections.append(report.Section("Greedy actions", [comparison_answer.greedy(results), *greedy]))
    title, made = (
        "Supervised learning against reinforcement learning",
        json.loads((out / "made_by.json").read_text()),
    )
    report.write(out / "report.html", report.html(title, made, sections, answer))
    for task, t in tables.items():
        print(f"\n{task}\n{report.text(report.table(t))}\n{report.note(t)}")
    print("\n" + "\n".join(f"{v.outcome:13} {v.claim}: {v.evidence}" for v in judged))
    print(f"\nreport: {out}/report.html")


def draw(out: Path) -> dict[str, report.Picture]:
    """The figures, from the CSVs alone; each is also saved beside them."""
    results, curves = (report.read_csv(out / f"{name}.csv") for name in ("results", "curves"))
    curves = [record for record in curves if record["algorithm"] != "warm_start"]
    rows = {name: table()[name] for name in stats.distinct(curves, "algorithm")}
    pictures = {
        "final_success": report.Picture(comparison_figures.final_success(results), FINAL),
        "learning_curves": report.Picture(comparison_figures.learning_curves(curves), CURVES),
        "success_against_horizon": report.Picture(
            comparison_figures.success_against_horizon(results), HORIZON
        ),
        "algorithms": report.Picture(comparison_figures.algorithm_table(cell_table(rows)), TABLE),
    }
    for name, picture in pictures.items():
        figures.save(picture.figure, out / name)
    return pictures


def describe_command(command: Command, results: list[Record]) -> dict[str, Any]:
    """What a reader needs to make the page again."""
    made = provenance.collect()
    git = made["git"]
    cells_ = [Path(command.out) / "runs" / task / "warm_start" for task in command.tasks.split(",")]
    began = {
        str((RunDirectory.open(cell).made_by.get("git") or {}).get("commit"))
        for cell in cells_
        if git
    }
    flags = [
        f"--{f.name.replace('_', '-')} {shlex.quote(str(getattr(command, f.name)))}"
        for f in dataclasses.fields(command)
        if kind(f.type) in (str, int, float) and getattr(command, f.name) != f.default
    ]
    return {
        "command": " ".join([console.command("sl_vs_rl"), *flags]),
        "commit": f"{', '.join(sorted(began | {git['commit']}))}{' with uncommitted changes' * git['dirty']}"
        if git
        else "none",
        "versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "seeds": ", ".join(map(str, stats.distinct(results, "seed"))),
        "budget": f"{command.updates} updates of 256 episodes for each row, after {command.warm_updates} of cloning that all share",
        "demonstrations": ", ".join(
            f"{task}: {DEMOS.get(task, 48)}" for task in command.tasks.split(",")
        ),
        "learning rate": f"{algorithms.GRPO.optimizer.learning_rate:g} for every row, {WarmStart().learning_rate:g} for the warm start",
        "device": "{count} x {kind}".format(**made["devices"]),
        "date": made["date"],
    }


if __name__ == "__main__":
    console.main(main)
