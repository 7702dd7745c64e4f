"""Does RL solve problems that its base could not, or only more often those that it could?

    python -m experiments.studies.pass_at_k
    python -m experiments.studies.pass_at_k --tasks compose --algorithm rloo --kl 0.3 --updates 200

Yue et al. (2504.13837) say that RL only sharpens: it raises pass@1, but with many attempts the base
solves more. A problem of these tasks has one right answer, so that its probability p takes one
teacher-forced pass. The chance that one of k attempts is right is then 1 - (1 - p)^k, which is
exact even where it is tiny. The base is a clone that stopped early. RL goes on from it, with and
without a KL penalty that holds it near the base. Cloning goes on too, which distils an expert that
is better than the base.

Measured is pass@k on unseen problems, sorted by the base's p. The rules ask for RL to be ahead of
the base at k = 1 and behind it at the largest k, for the KL penalty to keep more within reach, and
for distillation to end above the base.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from agentic_rl import algorithms
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Positive, Range
from agentic_rl.envs.compose import Compose
from agentic_rl.envs.sort_digits import SortDigits
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.policy.transformer import Policy
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

TASKS = {  # each with its number of cloning updates
    "compose": (Compose(), 100),
    "sort_digits": (SortDigits(6, reward="exact"), 40),
}
EPISODES = 256  # of an update, in all arms
ARMS = BASE, RL, RL_KL, DISTILLED = "base", "RL", "RL with KL", "cloning on"
STRATA = {  # the base's p: above the first number, up to the second
    "all": (0.0, 1.0),
    "hard": (0.0, 0.05),
    "middling": (0.05, 0.5),
    "easy": (0.5, 1.0),
}


@dataclass(frozen=True)
class PassAtK(training_study.TrainingStudy):
    """Does RL solve problems that its base could not, or only more often those that it could?

    Compares exact pass@k.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    algorithm: str = "grpo"  # one that learns from rewards
    attempts: Count = 8  # of RL at a problem
    kl: Positive = 0.1  # coefficient of the KL to the base
    largest: Annotated[int, Range(2, why="a crossing needs two numbers of attempts")] = 1024  # k
    updates: Count = 100
    problems: Count = 2048

    claim: ClassVar[str] = (
        "Yue et al. (2504.13837): RL sharpens. It raises pass@1, but with many attempts the base "
        "solves more; distillation solves what the base could not. Predicted: RL's curve crosses "
        "the base's below k = 1024, a KL to the base prevents it, and cloning on has no crossing. "
        "Opposite evidence: 2509.25123."
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
        algorithm = look_up("algorithm", self.algorithm, algorithms.by_name())
        check(
            algorithm.is_on_policy,
            f"{self.algorithm} does not learn from rewards: choose another --algorithm.",
        )
        check(
            EPISODES % self.attempts == 0, f"attempts must divide {EPISODES}, not {self.attempts}."
        )
        self.arm_algorithm(RL)  # refuses a number of attempts that the algorithm cannot use

    def cells(self) -> list[Record]:
        return [dict(task=task, arm=arm) for task in self.tasks for arm in ARMS]

    def records(self, cell: Record) -> list[Record]:
        task, clone_updates = TASKS[cell["task"]]
        base = training_study.clone_policies(
            task, self.policy_config, self.seeds, 1 if self.quick else clone_updates
        )
        policies = self.policies(task, base, cell["arm"])
        before, after = (
            pass_chance(x, task, self.policy_config, self.problems) for x in (base, policies)
        )
        records = []
        for stratum in STRATA:
            records += curve(before, after, stratum, ladder(self.largest))
        return records

    def policies(self, task: Environment, base: Policies, arm: str) -> Policies:
        """Returns the policies that an arm makes of the base."""
        if arm == BASE:
            return base
        return training_study.train_policies(
            base, task, self.policy_config, self.arm_algorithm(arm), self.updates
        )[0]

    def arm_algorithm(self, arm: str) -> Algorithm:
        """Returns the algorithm of an arm that trains."""
        if arm == DISTILLED:
            return WarmStart().algorithm
        algorithm = swap(
            algorithms.by_name()[self.algorithm],
            problems=EPISODES // self.attempts,
            attempts=self.attempts,
        )
        return swap(algorithm, kl=ReferenceKL(self.kl, "k3")) if arm == RL_KL else algorithm

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for task in self.tasks:
            for stratum in STRATA:
                of_stratum = select(records, task=task, problems=stratum)
                for arm in ARMS:
                    conditions = {"task": task, "problems": stratum, "arm": arm}
                    lines.append(conditions | self.summary(of_stratum, arm))
        return lines

    def summary(self, records: list[Record], arm: str) -> Record:
        """Returns what the table shows of an arm in one stratum."""
        selected = select(records, arm=arm)
        numbers = {"share": f"{np.mean([r['share'] for r in selected]):.2f}"}
        for k in ladder(self.largest):
            if k in (1, 16, 256, self.largest):
                numbers[f"pass@{k}"] = sweep.cell(sweep.by_seed(selected, "solved", k=k), ".3f")
        return numbers | {"crossing": crossing(records, arm)}

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {
            f"pass_at_k_{task}": plot_results(select(records, task=task), task)
            for task in self.tasks
        }

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        verdicts = []
        for task in self.tasks:
            selected = select(records, task=task, problems="all")
            verdicts += judge_task(selected, task, self.largest)
        return verdicts


# Measures


def ladder(largest: int) -> list[int]:
    """Returns the powers of 2 up to `largest`, and `largest` itself.

    >>> ladder(8), ladder(5)
    ([1, 2, 4, 8], [1, 2, 4, 5])
    """
    return sorted({2**i for i in range(largest.bit_length())} | {largest})


def pass_chance(
    policies: Policies, task: Environment, policy_config: Policy, problems: int
) -> Float[np.ndarray, "S N"]:
    """Returns the probability of the one right answer to each problem."""
    log_prob, _ = training_study.expert_log_probs(policies, task, policy_config, problems)
    return np.exp(log_prob.astype(float).sum((2, 3)))


def pass_at(
    k: Int[np.ndarray, " K"], p: Float[np.ndarray, "*shape"]
) -> Float[np.ndarray, "*shape K"]:
    """Returns 1 − (1 − p)^k, which is exact for small p, too."""
    return -np.expm1(k * np.log1p(-np.minimum(p, 1 - 1e-12))[..., None])


def curve(
    before: Float[np.ndarray, "S N"], after: Float[np.ndarray, "S N"], stratum: str, ks: list[int]
) -> list[Record]:
    """Returns each seed's mean pass@k over the problems of a stratum; NaN if it has none.

    Args: before: the base's chances, which define the strata; after: the arm's chances.
    """
    above, up_to = STRATA[stratum]
    records = []
    for seed, (p, q) in enumerate(zip(before, after, strict=True)):
        inside = (p > above) & (p <= up_to)
        solved = np.full(len(ks), np.nan)
        if inside.any():
            solved = pass_at(np.array(ks), q[inside]).mean(0)
        same = {"seed": seed, "problems": stratum, "share": float(inside.mean())}
        records += [same | {"k": k, "solved": float(x)} for k, x in zip(ks, solved, strict=True)]
    return records


def crossing(records: list[Record], arm: str) -> str:
    """Returns the smallest k at which an arm's mean lies below the base's, as text."""
    for k in sorted(distinct(records, "k")):
        mean = np.mean([r["solved"] for r in select(records, arm=arm, k=k)])
        if mean < np.mean([r["solved"] for r in select(records, arm=BASE, k=k)]):
            return f"k = {k}"
    return "none"


def judge_task(records: list[Record], task: str, largest: int) -> list[Verdict]:
    """Returns the verdicts on all problems of a task."""
    crossed = (
        f"RL's mean crosses the base's: {crossing(records, RL)}; "
        f"with KL: {crossing(records, RL_KL)}."
    )
    cases = [
        ("RL raises pass@1", 1, RL, BASE),
        ("With many attempts the base solves more than after RL", largest, BASE, RL),
        ("A KL to the base keeps more within reach of many attempts", largest, RL_KL, RL),
        ("Distillation brings more within reach of many attempts", largest, DISTILLED, BASE),
    ]
    verdicts = []
    for claim, k, a, b in cases:
        solved_by_a, solved_by_b = (sweep.by_seed(records, "solved", arm=x, k=k) for x in (a, b))
        what = f"{task}: pass@{k} of {a} minus that of {b}"
        verdicts.append(above_zero(f"{claim} ({task})", what, solved_by_a - solved_by_b, crossed))
    return verdicts


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record], task: str) -> Figure:
    """Plots pass@k against k, in a panel for each stratum, as means with 95% bands over seeds."""
    looks = {arm: figures.styles(ARMS)[arm] for arm in ARMS}
    figure, panels = figures.page(1, len(STRATA), height=2.6, sharey=True)
    for panel, stratum in zip(panels[0], STRATA, strict=True):
        selected = select(records, problems=stratum)
        plot_stratum(panel, selected, looks)
        share = np.mean([r["share"] for r in selected])
        panel.set_title(f"{stratum} ({share:.0%})")
    panels[0][0].set(ylabel="pass@k", ylim=(-0.03, 1.03))
    figure.suptitle(f"{words(task)}: problems by the base's chance", fontsize=11)
    names = figures.entries(looks, lambda arm: IN_WORDS.get(arm, arm))
    seeds = figures.interval_legend(len(distinct(records, "seed")), "band")
    return figures.legend(figure, [*names, seeds])


def plot_stratum(panel: Axes, records: list[Record], looks: dict[str, dict]) -> None:
    """Plots a curve for each arm; each has its markers where the others have none."""
    ks = sorted(distinct(records, "k"))
    for i, (arm, look) in enumerate(looks.items()):
        each = [sweep.by_seed(records, "solved", arm=arm, k=k) for k in ks]
        figures.band(panel, ks, each, look, "share", markevery=(i, len(looks)))
    panel.set_xscale("log", base=2)
    shown = [ks[0], ks[len(ks) // 2], ks[-1]]
    figures.ticks(panel, shown, [EngFormatter(sep="", places=0)(k) for k in shown])
    panel.set(xlabel="k", xlim=(ks[0] / 1.3, ks[-1] * 1.3))


IN_WORDS = {
    BASE: "the base, a clone",
    RL_KL: "RL with a KL to the base",
    DISTILLED: "cloning goes on",
}


if __name__ == "__main__":
    console.main(partial(study.run, PassAtK()))
