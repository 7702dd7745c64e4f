"""Was it the scaffold or the training? GPT-4 asked once, BabyAGI, AutoGPT, and RL, in miniature.

    python -m experiments.studies.agents_of_2023
    python -m experiments.studies.agents_of_2023 --steps 1 2 --seeds 2 --updates 20

In 2023 BabyAGI and AutoGPT put GPT-4 into a loop. It wrote good lists and did single tasks, but it
lost the thread over many steps. Here a small model is trained by supervision on a fixed set of
demonstrations: whole goals, and single questions (what is left to do? what comes next?), each in a
context of its own. The same model then plays three roles (agentic_rl/envs/wrappers/scaffolds.py):

- It is asked once for a list, which an executor carries out. That was GPT-4's role.
- It runs in BabyAGI's outer loop, where every prompt is a fresh context.
- It runs in AutoGPT's loop, over its whole history, where it may try again and rewrite its list.

It is compared with the same model after more supervision, and with the same model after RL on the
outcome of whole goals. Goals grow longer by the turns of work that each item takes, and there is a
model for every length. Measured are the success at unseen goals, the share of single questions that
are answered right, and how goals fail (experiments/harness/failure_modes.py). The supervised model
must do the parts well and lose success with length, and RL must beat both more supervision and the
better loop. (Fewer items give too few different problems: in a pilot with 3 items, what RL learned
did not carry over to unseen goals.)
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from agentic_rl import algorithms
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Natural, Range
from agentic_rl.envs.todo import Todo
from agentic_rl.envs.wrappers.scaffolds import BabyAGI, Once, Question
from agentic_rl.policy.transformer import Policy
from agentic_rl.training.run import WarmStart
from agentic_rl.types import Environment
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.harness.failure_modes import MODES, measure_failures
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict, outcome
from experiments.reports.stats import Record, distinct, select, t_interval
from experiments.reports.verdicts import above_zero

LOOPS = ("babyagi", "autogpt")
SCAFFOLDS = {
    "once": "asked once for a list",
    "babyagi": "BabyAGI's loop",
    "autogpt": "AutoGPT's loop",
}
GOOD = 0.9  # share of right lists and answers above which the model is good at the parts
SUPERVISED, MORE, RL = "supervised", "more supervision", "then RL"


@dataclass(frozen=True)
class AgentsOf2023(training_study.TrainingStudy):
    """Was it the scaffold or the training?

    The agents of 2023 in miniature, against the number of steps.
    """

    steps: tuple[Count, ...] = (1, 2, 4)  # turns of work that an item takes
    items: Annotated[int, Range(2, 8)] = 4  # in a problem; a goal needs two of them or more
    demos: Natural = 512  # whole goals, and as many questions; 0: fresh ones in every update
    supervised_updates: Count = 240
    updates: Count = 40  # of further training, by supervision or by RL
    problems: Count = 512

    claim: ClassVar[str] = (
        "The article behind this project: a model trained by supervision only writes good lists "
        "and does single tasks, but loses the thread over many steps, in BabyAGI's and AutoGPT's "
        "loops as well; RL on the outcome of long tasks makes an agent of it."
    )
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "steps": "turns of work that an item takes; a goal needs two items or more, a list, and "
        "a last word",
        "success": "the whole goal is done: once: the list is right as it stands",
        "single tasks": "share of single questions answered as the expert does",
    } | MODES
    tiny: ClassVar[dict[str, Any]] = dict(
        steps=(1, 2), items=2, supervised_updates=1, updates=1, problems=16, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        check(
            len(self.steps) >= 2,
            "Name two steps or more: success is compared between the shortest and the longest.",
        )

    @property
    def policy_config(self) -> Policy:
        """Returns the configuration of policies that read their whole history."""
        return replace(super().policy_config, context="history")

    def cells(self) -> list[Record]:
        return [
            dict(steps=steps, model=model)
            for steps in self.steps
            for model in (SUPERVISED, MORE, RL)
        ]

    def records(self, cell: Record) -> list[Record]:
        task = Todo(num_items=self.items, steps=cell["steps"])
        policies = self.policies(task, cell["model"])
        question = Question(task)
        metrics = training_study.evaluate_policies(
            policies, question, self.policy_config, self.problems
        )
        records = []
        for scaffold, (wrapped, context) in scaffolds(task).items():
            config = replace(self.policy_config, context=context)
            episodes = training_study.play_test_episodes(policies, wrapped, config, self.problems)
            columns = {
                "success": episodes.success.mean((1, 2)),
                "single tasks": metrics["success"],
            }
            columns |= measure_failures(task, episodes)
            for record in training_study.records(columns):
                records.append({"scaffold": scaffold} | record)
        return records

    def policies(self, task: Todo, model: str) -> Policies:
        """Returns the policies of all seeds for one of the three models."""
        mixture = {"goal": task, "question": Question(task)}
        base = training_study.clone_policies(
            mixture, self.policy_config, self.seeds, self.supervised_updates, self.demos
        )
        if model == SUPERVISED:
            return base
        tasks, algorithm = task, algorithms.GRPO
        if model == MORE:
            tasks, algorithm = mixture, WarmStart(num_demos=self.demos).algorithm
        return training_study.train_policies(
            base, tasks, self.policy_config, algorithm, self.updates
        )[0]

    def lines(self, records: list[Record]) -> list[Record]:
        runs = dict.fromkeys((r["steps"], r["model"], r["scaffold"]) for r in records)
        lines = []
        for steps, model, scaffold in runs:
            conditions = {"steps": steps, "model": model, "scaffold": scaffold}
            selected = select(records, **conditions)
            means = {
                name: sweep.cell(sweep.by_seed(selected, name), ".2f")
                for name in ("success", "single tasks", *MODES)
            }
            lines.append(conditions | means)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        shown = [r for r in records if r["model"] != MORE or r["scaffold"] == "autogpt"]
        return {"agents_of_2023": plot_success(shown), "failures": plot_failures(shown)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        short, long = min(self.steps), max(self.steps)

        def success(model, scaffold, steps=long):
            return sweep.by_seed(records, "success", model=model, scaffold=scaffold, steps=steps)

        verdicts = [judge_parts(records)]
        for loop in LOOPS:
            claim = f"In {loop}, the supervised model loses the thread over many steps"
            what = f"success at {short} minus at {long} turns an item"
            loss = success(SUPERVISED, loop, short) - success(SUPERVISED, loop)
            verdicts.append(above_zero(claim, what, loss))
        claim = "RL on outcomes adds what more supervision does not"
        what = f"AutoGPT's loop at {long} turns an item, then RL minus more supervision"
        gain = success(RL, "autogpt") - success(MORE, "autogpt")
        verdicts.append(above_zero(claim, what, gain))
        best = np.maximum(*(success(SUPERVISED, loop) for loop in LOOPS))
        what = (
            f"at {long} turns an item, RL in AutoGPT's loop minus the supervised model in the "
            "better loop of each seed"
        )
        claim = "It was the training, not the scaffold"
        verdicts.append(above_zero(claim, what, success(RL, "autogpt") - best))
        return verdicts


def scaffolds(task: Todo) -> dict[str, tuple[Environment, str]]:
    """Returns the task in each scaffold by name, and the context that the policy has there."""
    return {
        "once": (Once(task), "history"),
        "babyagi": (BabyAGI(task), "markov"),
        "autogpt": (task, "history"),
    }


def judge_parts(records: list[Record]) -> Verdict:
    """Returns the verdict on the supervised model's lists and single tasks."""
    rule = (
        f"At every length, the shares of right lists and answers lie above {GOOD} by their 95% "
        "intervals; falsified if one lies below."
    )
    selected = select(records, model=SUPERVISED, scaffold="once")
    intervals = {}
    for steps in distinct(selected, "steps"):
        for part, column in (("lists", "success"), ("single tasks", "single tasks")):
            shares = sweep.by_seed(selected, column, steps=steps)
            intervals[f"{part} at {steps}"] = t_interval(shares)
    outcomes = {outcome(low, high, threshold=GOOD) for _, low, high in intervals.values()}
    kind = "inconclusive"
    if "falsified" in outcomes:
        kind = "falsified"
    elif outcomes == {"supported"}:
        kind = "supported"
    evidence = "; ".join(
        f"{part} {mean:.2f} [{low:.2f}, {high:.2f}]"
        for part, (mean, low, high) in intervals.items()
    )
    claim = "The supervised model writes good lists and does single tasks"
    return Verdict(claim, rule, kind, f"{evidence}.")


@matplotlib.rc_context(figures.STYLE)
def plot_success(records: list[Record]) -> Figure:
    """Plots success at the whole goal against the work of an item, in a panel for each scaffold."""
    figure, panels = figures.page(1, 3, height=2.4, sharey=True)
    models = (SUPERVISED, MORE, RL)
    looks = {name: look for name, look in figures.styles(models).items() if name in models}
    for panel, scaffold in zip(panels[0], SCAFFOLDS, strict=True):
        selected = select(records, scaffold=scaffold)
        steps, trained = sorted(distinct(selected, "steps")), distinct(selected, "model")
        for i, model in enumerate(trained):
            success = [sweep.by_seed(selected, "success", model=model, steps=n) for n in steps]
            figures.bars(panel, steps, success, looks[model], "share", (i, len(trained)))
        panel.set_xscale("log", base=2)
        figures.ticks(panel, steps)
        panel.set_title(SCAFFOLDS[scaffold])
    figures.fit(panels[0], "share")
    panels[0][0].set_ylabel("success at the whole goal")
    panels[0][1].set_xlabel("turns of work for each item")
    return figures.legend(
        figure, [*figures.entries(looks), figures.interval_legend(len(distinct(records, "seed")))]
    )


@matplotlib.rc_context(figures.STYLE)
def plot_failures(records: list[Record]) -> Figure:
    """Plots each failure mode at the longest goals: a marker for each run in a loop."""
    steps = max(distinct(records, "steps"))
    runs = dict.fromkeys((r["model"], r["scaffold"]) for r in records if r["scaffold"] in LOOPS)
    runs = list(runs)
    looks = {name: figures.styles(runs)[name] | {"linestyle": "none"} for name in runs}
    first, *shares = MODES  # the first is no share
    figure, panels = figures.page(1, 2, height=2.6, width_ratios=(1, len(shares)))
    for panel, modes, kind in zip(panels[0], ([first], shares), ("number", "share"), strict=True):
        places = range(len(modes))
        for i, (model, scaffold) in enumerate(runs):
            selected = select(records, model=model, scaffold=scaffold, steps=steps)
            values = [sweep.by_seed(selected, mode) for mode in modes]
            look = looks[model, scaffold]
            figures.bars(panel, places, values, look, kind, (i, len(runs)))
        figures.ticks(panel, places, [mode.replace(" ", "\n") for mode in modes])
        figures.fit([panel], kind)
    panels[0][0].set(ylabel="new items per item finished", xlim=(-0.6, 0.6), ylim=(0, None))
    panels[0][1].set(ylabel="share", title=f"How goals fail, {steps} turns of work an item")
    handles = figures.entries(looks, label=lambda run: f"{run[0]}, {SCAFFOLDS[run[1]]}")
    return figures.legend(
        figure, [*handles, figures.interval_legend(len(distinct(records, "seed")))]
    )


if __name__ == "__main__":
    console.main(partial(study.run, AgentsOf2023()))
