"""Does RL solve problems that its base could not, or only more often those that it could?

    python -m experiments.studies.pass_at_k
    python -m experiments.studies.pass_at_k --tasks compose --algorithm rloo --kl 0.3 --updates 200

A problem of these tasks has one right answer, so that its probability p is one teacher-forced pass, and the chance that one of k attempts
is right is 1 - (1 - p)^k: exact, however rare. The base is a clone that stopped early. RL goes on from it, with and without a KL that
holds it near the base, and so does cloning (distillation, from an expert that the base is not). Problems are unseen, and sorted by the
base's p.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from agentic_rl import algorithms
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Positive, Range
from agentic_rl.envs.compose import Compose
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.training.run import WarmStart
from agentic_rl.types import Environment
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.display_names import words
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

TASKS = {
    "compose": (Compose(), 100),
    "sort_digits": (SortDigits(6, reward="exact"), 40),
}  # and updates of cloning
EPISODES = 256  # of an update, in all arms
ARMS = BASE, RL, RL_KL, DISTILLED = "base", "RL", "RL with KL", "cloning on"
STRATA = {
    "all": (0.0, 1.0),
    "hard": (0.0, 0.05),
    "middling": (0.05, 0.5),
    "easy": (0.5, 1.0),
}  # p of the base: above, up to


@dataclass(frozen=True)
class PassAtK(training_study.TrainingStudy):
    """Does RL solve problems that its base could not, or only more often those that it could? Compares exact pass@k."""

    tasks: tuple[str, ...] = tuple(TASKS)
    algorithm: str = "grpo"  # a row that learns from rewards
    attempts: Count = 8  # of RL at a problem
    kl: Positive = 0.1  # coefficient of the KL to the base
    largest: Annotated[int, Range(2, why="a crossing needs two numbers of attempts")] = 1024  # k
    updates: Count = 100
    problems: Count = 2048

    claim: ClassVar[str] = (
        "Yue et al. (2504.13837): RL sharpens. It raises pass@1, but with many attempts the base solves more; distillation solves what the "
        "base could not. Predicted: RL's curve crosses the base's below k = 1024, a KL to the base prevents it, and cloning on has no "
        "crossing. Opposite evidence: 2509.25123."
    )
    headline: ClassVar[str] = "solved"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "problems": "all, or by the base's p: hard up to .05, middling up to .5, easy above",
        "share": "of the problems, a mean over seeds",
        "pass@k": "expected share of problems solved with k attempts, exact",
        "crossing": "the smallest k at which the mean lies below the base's",
    }
    tiny: ClassVar[dict[str, Any]] = dict(tasks=("sort_digits",), updates=2, problems=32, seeds=2)

    def __post_init__(self):
        super().__post_init__()
        for name in self.tasks:
            look_up("task", name, TASKS)
        row = look_up("algorithm", self.algorithm, algorithms.by_name())
        check(
            row.is_on_policy,
            f"{self.algorithm} does not learn from rewards: choose another --algorithm.",
        )
        check(
            EPISODES % self.attempts == 0, f"attempts must divide {EPISODES}, not {self.attempts}."
        )
        self.row(RL)  # refuses attempts that it cannot do with

    def cells(self) -> list[Record]:
        return [dict(task=task, arm=arm) for task in self.tasks for arm in ARMS]

    def records(self, cell: Record) -> list[Record]:
        task, clone = TASKS[cell["task"]]
        base = training_study.clone_policies(
            task, self.policy_config, self.seeds, 1 if self.quick else clone
        )
        policies = self.policies(task, base, cell["arm"])
        before, now = (
            chance(policies, task, self.policy_config, self.problems)
            for policies in (base, policies)
        )
        return [
            record for name in STRATA for record in curve(before, now, name, ladder(self.largest))
        ]

    def policies(self, task: Environment, base: Policies, arm: str) -> Policies:
        """Of an arm."""
        if arm == BASE:
            return base
        return training_study.train_policies(
            base, task, self.policy_config, self.row(arm), self.updates
        )[0]

    def row(self, arm: str) -> Algorithm:
        """Of an arm that learns."""
        if arm == DISTILLED:
            return WarmStart().algorithm
        row = swap(
            algorithms.by_name()[self.algorithm],
            problems=EPISODES // self.attempts,
            attempts=self.attempts,
        )
        return swap(row, kl=ReferenceKL(self.kl, "k3")) if arm == RL_KL else row

    def lines(self, records: list[Record]) -> list[Record]:
        found, shown = [], [k for k in ladder(self.largest) if k in (1, 16, 256, self.largest)]
        for task in self.tasks:
            for stratum in STRATA:
                some = select(records, task=task, problems=stratum)
                for arm in ARMS:
                    own = select(some, arm=arm)
                    solved = {
                        f"pass@{k}": sweep.cell(sweep.by_seed(own, "solved", k=k), ".3f")
                        for k in shown
                    }
                    share = {"share": f"{np.mean([r['share'] for r in own]):.2f}"}
                    found.append(
                        {"task": task, "problems": stratum, "arm": arm}
                        | share
                        | solved
                        | {"crossing": crossing(some, arm)}
                    )
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {
            f"pass_at_k_{task}": plot_results(select(records, task=task), task)
            for task in self.tasks
        }

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return [
            verdict
            for task in self.tasks
            for verdict in judge_task(
                select(records, task=task, problems="all"), task, self.largest
            )
        ]


def ladder(largest: int) -> list[int]:
    """Powers of 2 up to `largest`, and itself.

    >>> ladder(8), ladder(5)
    ([1, 2, 4, 8], [1, 2, 4, 5])
    """
    return sorted({2**i for i in range(largest.bit_length())} | {largest})


def chance(
    policies: Policies, task: Environment, size: Any, problems: int
) -> Float[np.ndarray, "S N"]:
    """Of the one right answer to each problem."""
    return np.exp(
        training_study.expert_log_probs(policies, task, size, problems)[0].astype(float).sum((2, 3))
    )


def pass_at(
    k: Int[np.ndarray, " K"], p: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape K"]:
    """1 − (1 − p)^k, exact for small p, too."""
    return -np.expm1(k * np.log1p(-np.minimum(p, 1 - 1e-12))[..., None])


def curve(
    before: Float[np.ndarray, "S N"], now: Float[np.ndarray, "S N"], stratum: str, ks: list[int]
) -> list[Record]:
    """Means over the problems where the base's chance is in the stratum; NaN if there is none."""
    above, up_to = STRATA[stratum]
    found = []
    for seed, (p, q) in enumerate(zip(before, now, strict=True)):
        inside = (p > above) & (p <= up_to)
        solved = (
            pass_at(np.array(ks), q[inside]).mean(0) if inside.any() else np.full(len(ks), np.nan)
        )
        same = {"seed": seed, "problems": stratum, "share": float(inside.mean())}
        found += [same | {"k": k, "solved": float(x)} for k, x in zip(ks, solved, strict=True)]
    return found


def crossing(records: list[Record], arm: str) -> str:
    """The smallest k at which an arm's mean lies below the base's, as text."""
    for k in sorted(distinct(records, "k")):
        own, base = (
            np.mean([r["solved"] for r in select(records, arm=name, k=k)]) for name in (arm, BASE)
        )
        if own < base:
            return f"k = {k}"
    return "none"


def judge_task(records: list[Record], task: str, largest: int) -> list[Verdict]:
    """On all problems of a task."""
    solved = lambda arm, k: sweep.by_seed(records, "solved", arm=arm, k=k)  # noqa: E731
    what = f"{task}: pass@{{}} of {{}} minus that of {{}}"
    crossed = f"RL's mean crosses the base's: {crossing(records, RL)}; with KL: {crossing(records, RL_KL)}."
    cases = [
        ("RL raises pass@1", 1, RL, BASE), ("With many attempts the base solves more than after RL", largest, BASE, RL),
        ("A KL to the base keeps more within reach of many attempts", largest, RL_KL, RL),
        ("Distillation brings more within reach of many attempts", largest, DISTILLED, BASE),
    ]  # fmt: skip
    return [
        above_zero(f"{claim} ({task})", what.format(k, a, b), solved(a, k) - solved(b, k), crossed)
        for claim, k, a, b in cases
    ]


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record], task: str) -> Figure:
    """pass@k against k, a panel for each stratum of the base's chance: means over seeds with 95% bands."""
    looks = {arm: figures.styles(ARMS)[arm] for arm in ARMS}
    figure, panels = figures.page(1, len(STRATA), height=2.6, sharey=True)
    for panel, stratum in zip(panels[0], STRATA, strict=True):
        some = select(records, problems=stratum)
        ks = sorted(distinct(some, "k"))
        for i, arm in enumerate(ARMS):
            each = [sweep.by_seed(some, "solved", arm=arm, k=k) for k in ks]
            figures.band(
                panel, ks, each, looks[arm], "share", markevery=(i, len(ARMS))
            )  # each where no other is
        share = np.mean([r["share"] for r in some])
        panel.set_xscale("log", base=2)
        figures.ticks(
            panel,
            shown := [ks[0], ks[len(ks) // 2], ks[-1]],
            [EngFormatter(sep="", places=0)(k) for k in shown],
        )
        panel.set(title=f"{stratum} ({share:.0%})", xlabel="k", xlim=(ks[0] / 1.3, ks[-1] * 1.3))
    panels[0][0].set(ylabel="pass@k", ylim=(-0.03, 1.03))
    figure.suptitle(f"{words(task)}: problems by the base's chance", fontsize=11)
    names = figures.entries(looks, lambda arm: IN_WORDS.get(arm, arm))
    return figures.legend(
        figure, [*names, figures.interval_legend(len(distinct(records, "seed")), "band")]
    )


IN_WORDS = {
    BASE: "the base, a clone",
    RL_KL: "RL with a KL to the base",
    DISTILLED: "cloning goes on",
}


if __name__ == "__main__":
    console.main(partial(study.run, PassAtK()))
