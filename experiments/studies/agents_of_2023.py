"""Was it the scaffold or the training: GPT-4 asked once, BabyAGI, AutoGPT, and the same model after RL, in miniature.

    python -m experiments.studies.agents_of_2023
    python -m experiments.studies.agents_of_2023 --steps 1 2 --seeds 2 --updates 20

In 2023 BabyAGI and AutoGPT put GPT-4 into a loop. It wrote good lists and did single tasks, and lost the thread over many steps. Here
a small model is trained by supervision on a fixed set of demonstrations: whole goals, and single questions (what is left to do? what comes
next?) in contexts of their own. Then it is asked once for a list, which somebody carries out (GPT-4's role); it runs in BabyAGI's outer
loop, where every prompt is a fresh context (agentic_rl/envs/wrappers/scaffolds.py); and it runs in AutoGPT's loop, over its whole history, where it may
try again and rewrite its list. Beside it run the same model after more of the same supervision, and after RL on the outcome of whole
goals. Goals grow longer by the turns of work that each item takes; there are models for every length. (Fewer items are too few different
problems: on a pilot with 3 of them what RL learned did not carry over to unseen ones.)
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
from experiments.harness.failure_modes import MODES, modes
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
}  # in words
GOOD = 0.9  # share of right lists and answers
SUPERVISED, MORE, RL = "supervised", "more supervision", "then RL"


@dataclass(frozen=True)
class AgentsOf2023(training_study.TrainingStudy):
    """Was it the scaffold or the training? The agents of 2023 in miniature, against the number of steps."""

    steps: tuple[Count, ...] = (1, 2, 4)  # turns of work that an item takes
    items: Annotated[int, Range(2, 8)] = 4  # there are; a goal needs two or more
    demos: Natural = 512  # whole goals, and as many questions; 0: fresh ones in every update
    supervised_updates: Count = 240
    updates: Count = 40  # more, of either kind
    problems: Count = 512

    claim: ClassVar[str] = (
        "The article behind this project: a model trained by supervision only writes good lists and does single tasks, but loses the "
        "thread over many steps, in BabyAGI's and AutoGPT's loops as well; RL on the outcome of long tasks makes an agent of it."
    )
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "steps": "turns of work that an item takes; a goal needs two items or more, a list, and a last word",
        "success": "the whole goal is done: once: the list is right as it stands",
        "single tasks": "share of single questions answered as the expert does",
    } | MODES  # fmt: skip
    tiny: ClassVar[dict[str, Any]] = dict(
        steps=(1, 2), items=2, supervised_updates=1, updates=1, problems=16, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        check(len(self.steps) >= 2, "steps are two numbers of turns or more.")

    @property
    def policy_config(self) -> Policy:
        """Of the policies, which read their whole history."""
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
        single = training_study.evaluate_policies(
            policies, Question(task), self.policy_config, self.problems
        )["success"]
        found = []
        for scaffold, (wrapped, context) in scaffolds(task).items():
            size = replace(self.policy_config, context=context)
            played = training_study.play_test_episodes(policies, wrapped, size, self.problems)
            columns = {"success": played.success.mean((1, 2)), "single tasks": single} | modes(
                task, played
            )
            found += [{"scaffold": scaffold} | record for record in training_study.records(columns)]
        return found

    def policies(self, task: Todo, model: str) -> Policies:
        """Of all seeds."""
        mixture = {"goal": task, "question": Question(task)}
        supervision = WarmStart(num_demos=self.demos).algorithm
        base = training_study.clone_policies(
            mixture, self.policy_config, self.seeds, self.supervised_updates, self.demos
        )
        if model == SUPERVISED:
            return base
        further = (mixture, supervision) if model == MORE else (task, algorithms.GRPO)
        return training_study.train_policies(
            base, further[0], self.policy_config, further[1], self.updates
        )[0]

    def lines(self, records: list[Record]) -> list[Record]:
        found = []
        for steps, model, scaffold in dict.fromkeys(
            (r["steps"], r["model"], r["scaffold"]) for r in records
        ):
            own = select(records, steps=steps, model=model, scaffold=scaffold)
            head = {
                "steps": steps,
                "model": model,
                "scaffold": scaffold,
                "success": sweep.cell(sweep.by_seed(own, "success"), ".2f"),
            }
            rest = {
                name: sweep.cell(sweep.by_seed(own, name), ".2f")
                for name in ("single tasks", *MODES)
            }
            found.append(head | rest)
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        shown = [r for r in records if r["model"] != MORE or r["scaffold"] == "autogpt"]
        return {"agents_of_2023": successes(shown), "failures": failures(shown)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        short, long = min(self.steps), max(self.steps)
        at = lambda model, scaffold, steps=long: sweep.by_seed(
            records, "success", model=model, scaffold=scaffold, steps=steps
        )  # noqa: E731
        judged = [good_at_parts(records)]
        for loop in LOOPS:
            claim = f"In {loop}, the supervised model loses the thread over many steps"
            judged.append(
                above_zero(
                    claim,
                    f"success at {short} minus at {long} turns an item",
                    at(SUPERVISED, loop, short) - at(SUPERVISED, loop),
                )
            )
        claim, what = (
            "RL on outcomes adds what more supervision does not",
            f"AutoGPT's loop at {long} turns an item, then RL minus more supervision",
        )
        judged.append(above_zero(claim, what, at(RL, "autogpt") - at(MORE, "autogpt")))
        best = np.maximum(*(at(SUPERVISED, loop) for loop in LOOPS))
        what = f"at {long} turns an item, RL in AutoGPT's loop minus the supervised model in the better loop of each seed"
        judged.append(
            above_zero("It was the training, not the scaffold", what, at(RL, "autogpt") - best)
        )
        return judged


def scaffolds(task: Todo) -> dict[str, tuple[Environment, str]]:
    """By name, and what context the policy has there."""
    return {
        "once": (Once(task), "history"),
        "babyagi": (BabyAGI(task), "markov"),
        "autogpt": (task, "history"),
    }


def good_at_parts(records: list[Record]) -> Verdict:
    """Of the supervised model's lists and single tasks."""
    rule = f"At every length, the shares of right lists and answers lie above {GOOD} by their 95% intervals; falsified if one lies below."
    own = select(records, model=SUPERVISED, scaffold="once")
    each = {
        f"{what} at {steps}": t_interval(sweep.by_seed(own, column, steps=steps))
        for steps in distinct(own, "steps")
        for what, column in (("lists", "success"), ("single tasks", "single tasks"))
    }
    found = {outcome(low, high, threshold=GOOD) for _, low, high in each.values()}
    said = (
        "falsified"
        if "falsified" in found
        else "supported"
        if found == {"supported"}
        else "inconclusive"
    )
    evidence = "; ".join(
        f"{what} {mean:.2f} [{low:.2f}, {high:.2f}]" for what, (mean, low, high) in each.items()
    )
    return Verdict(
        "The supervised model writes good lists and does single tasks", rule, said, f"{evidence}."
    )


@matplotlib.rc_context(figures.STYLE)
def successes(records: list[Record]) -> Figure:
    """Success at the whole goal against the work that an item takes, a panel for each scaffold."""
    figure, panels = figures.page(1, 3, height=2.4, sharey=True)
    models = (SUPERVISED, MORE, RL)
    looks = {name: look for name, look in figures.styles(models).items() if name in models}
    for panel, scaffold in zip(panels[0], SCAFFOLDS, strict=True):
        own = select(records, scaffold=scaffold)
        steps = sorted(distinct(own, "steps"))
        for i, model in enumerate(distinct(own, "model")):
            each = [sweep.by_seed(own, "success", model=model, steps=n) for n in steps]
            figures.bars(
                panel, steps, each, looks[model], "share", (i, len(distinct(own, "model")))
            )
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
def failures(records: list[Record]) -> Figure:
    """Each failure mode at the longest goals: a marker for each run in a loop, with Student's 95% interval."""
    steps = max(distinct(records, "steps"))
    runs = [
        run
        for run in dict.fromkeys((r["model"], r["scaffold"]) for r in records)
        if run[1] in LOOPS
    ]
    looks = {name: figures.styles(runs)[name] | {"linestyle": "none"} for name in runs}
    first, *shares = MODES  # the first is no share
    figure, panels = figures.page(1, 2, height=2.6, width_ratios=(1, len(shares)))
    for panel, some, kind in zip(panels[0], ([first], shares), ("number", "share"), strict=True):
        for i, (model, scaffold) in enumerate(runs):
            own = select(records, model=model, scaffold=scaffold, steps=steps)
            places = range(len(some))
            figures.bars(
                panel,
                places,
                [sweep.by_seed(own, mode) for mode in some],
                looks[model, scaffold],
                kind,
                (i, len(runs)),
            )
        figures.ticks(panel, range(len(some)), [mode.replace(" ", "\n") for mode in some])
        figures.fit([panel], kind)
    panels[0][0].set(ylabel="new items per item finished", xlim=(-0.6, 0.6), ylim=(0, None))
    panels[0][1].set(ylabel="share", title=f"How goals fail, {steps} turns of work an item")
    handles = figures.entries(looks, label=lambda run: f"{run[0]}, {SCAFFOLDS[run[1]]}")
    return figures.legend(
        figure, [*handles, figures.interval_legend(len(distinct(records, "seed")))]
    )


if __name__ == "__main__":
    console.main(partial(study.run, AgentsOf2023()))
