"""The page of the comparison of supervised and reinforcement learning, from its CSVs alone."""

import json
from pathlib import Path

from agentic_rl import algorithms
from agentic_rl.algorithms import Algorithm
from agentic_rl.config import snake_case
from experiments.reports import (
    comparison_answer,
    comparison_figures,
    comparison_table,
    comparison_verdicts,
    figures,
    overview,
    report,
)
from experiments.reports.display_names import words
from experiments.reports.report import Picture, Section, Verdict
from experiments.reports.stats import Record, distinct, select

TITLE = "Supervised learning against reinforcement learning"
QUESTION = (
    "Every algorithm starts from the same warm start, cloning of a few fixed demonstrations, and "
    "gets the same number of updates of 256 episodes. The algorithms differ in who acts, whose "
    "labels are trained on, and what credit each action gets. Where the only reward is 1 for "
    "success at the end, rft and reinforce are the same algorithm: the reward to go is the filter."
)
FINAL = (
    "Success on unseen problems after training, with sampled actions, at the trained length and "
    "at the longest: means over seeds."
)
CURVES = (
    "Success on unseen problems against environment steps, generated tokens and expert labels, "
    "the warm start's included: means over seeds."
)
HORIZON = (
    "Success against the length of the episode, one panel per algorithm; the line is constant "
    "per-turn accuracy to the power of the number of decisions."
)
TABLE = (
    "Who acts and what credit each action gets, per algorithm; shaded, the two cells that differ."
)
VERDICTS = (
    "Each rule was written before the run, after pilots on other seeds. The intervals are not "
    "corrected for the number of rules."
)
CAVEATS = (
    "The policy reads the prompt and the turn at hand only. In running_sum and chain_pit an "
    "observation shows neither the turn nor past errors. There ppo's critic cannot know them, so "
    "its values are biased, and so is its credit at lambda below 1. All algorithms take four "
    "gradient steps on a batch; only the clipped ratio corrects for the policy having moved. The "
    "learning rate, the number of demonstrations and the warm start's length were chosen for all "
    "algorithms on pilots with seeds 1000 and 1001, which tried cloning, DAgger and GRPO; the "
    "other algorithms were not tuned."
)


def known_algorithms() -> dict[str, Algorithm]:
    """Returns the algorithms that can be compared: all, and cloning of fresh demonstrations."""
    known = algorithms.by_name()
    return known | {"sft_fresh": known["sft"]}


def write(out: Path) -> None:
    """Writes figures, verdicts and the page from the CSVs in `out`, and prints the tables."""
    results = report.read_csv(out / "results.csv")
    pictures = draw(out)
    tasks = distinct(results, "task")
    judged = [verdict for task in tasks for verdict in comparison_verdicts.judge(results, task)]
    lines = [{k: x for k, x in verdict._asdict().items() if k != "p"} for verdict in judged]
    report.write_csv(out / "verdicts.csv", lines)
    boxes = [{"verdict": line.pop("outcome")} | line for line in lines]
    answer = [
        " ".join(comparison_answer.answer(results)),
        pictures["final_success"],
        f"The predictions: {overview.count_verdicts(boxes)}.",
    ]
    made_by = json.loads((out / "made_by.json").read_text())
    page = report.html(TITLE, made_by, sections(results, boxes, pictures), answer)
    report.write(out / "report.html", page)
    show(results, judged)
    print(f"\nreport: {out}/report.html")


def sections(
    results: list[Record], boxes: list[Record], pictures: dict[str, Picture]
) -> list[Section]:
    """Returns the sections of the page below the answer."""
    by_task = [Section("Verdicts", [VERDICTS, overview.verdict_list(boxes)])]
    greedy = [comparison_answer.greedy(results)]
    for task in distinct(results, "task"):
        own = select(results, task=task)
        parts = [comparison_table.table(own), comparison_table.note(own)]
        by_task.append(Section(f"Results on {words(task)}", parts))
        greedy += [f"{words(task).capitalize()}:", comparison_table.table(own, "greedy")]
    return [
        *by_task,
        Section("The comparison", [QUESTION, CAVEATS, pictures["algorithms"]]),
        Section("Success against horizon", [pictures["success_against_horizon"]]),
        Section("Learning curves", [pictures["learning_curves"]]),
        Section("Greedy actions", greedy),
    ]


def show(results: list[Record], judged: list[Verdict]) -> None:
    """Prints the table of each task, and the verdicts."""
    for task in distinct(results, "task"):
        own = select(results, task=task)
        print(f"\n{task}\n{report.text(comparison_table.table(own))}\n{comparison_table.note(own)}")
    print()
    for verdict in judged:
        print(f"{verdict.outcome:13} {verdict.claim}: {verdict.evidence}")


def draw(out: Path) -> dict[str, Picture]:
    """Returns the figures, drawn from the CSVs in `out` and saved beside them."""
    results, curves = (report.read_csv(out / f"{name}.csv") for name in ("results", "curves"))
    curves = [record for record in curves if record["algorithm"] != "warm_start"]
    known = known_algorithms()
    compared = {name: known[name] for name in distinct(curves, "algorithm")}
    horizon = comparison_figures.success_against_horizon(results)
    table = comparison_figures.algorithm_table(describe_algorithms(compared))
    pictures = {
        "final_success": Picture(comparison_figures.final_success(results), FINAL),
        "learning_curves": Picture(comparison_figures.learning_curves(curves), CURVES),
        "success_against_horizon": Picture(horizon, HORIZON),
        "algorithms": Picture(table, TABLE),
    }
    for name, picture in pictures.items():
        figures.save(picture.figure, out / name)
    return pictures


def describe_algorithms(compared: dict[str, Algorithm]) -> list[Record]:
    """Returns a line per algorithm: who acts, whose labels, values, credit and surrogate."""

    def name_part(part: object) -> str:
        return snake_case(type(part).__name__)

    demos = {"sft": "expert, fixed demos", "sft_fresh": "expert, fresh demos"}
    lines = []
    for name, algorithm in compared.items():
        values = name_part(algorithm.values)
        lines.append(
            {
                "algorithm": name,
                "acts": demos.get(name, name_part(algorithm.actor)),
                "labels": "the expert's" if algorithm.labels == "expert" else "own",
                "values": "–" if values == "no_value" else values,
                "credit": name_part(algorithm.credit),
                "surrogate": name_part(algorithm.surrogate),
            }
        )
    return lines
