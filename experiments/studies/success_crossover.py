"""When does fine credit help, and when is it enough to reward successes?

    python -m experiments.studies.success_crossover
    python -m experiments.studies.success_crossover --tasks chain_pit --levels 0.01 0.5 --seeds 2

The hypothesis is our own, from a tabular pilot: the worth of fine credit depends on how often the
policy succeeds. A batch in which every episode fails teaches nothing to a credit that only compares
outcomes. In a batch in which nearly every episode succeeds, rewarding successes gives a gradient
with little noise, while a centred credit averages terms of both signs.

Policies of rising success are cloned. At each level, the credits of their batches are scored
against the truth (experiments/ground_truth/testbed.py). The rule compares the cosine of the batch's
gradient with the exact one: the true advantage must beat success-only credit where success is rare,
and lose to it where success is common.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from agentic_rl import envs
from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import check, named
from agentic_rl.config.ranges import Inside
from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.credit.supervised import SuccessOnly
from agentic_rl.values.exact import Exact
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import credit_study, study
from experiments.reports import sweep
from experiments.reports.display_names import words
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select, t_interval

FINE, PLAIN = "oracle", "success_only"
COLUMN = "expected_cosine"
# limits of the plotted gains: where success is common, some intervals reach far below
GAINS = (-3.0, 1.5)


@dataclass(frozen=True)
class SuccessCrossover(credit_study.CreditStudy):
    """When does fine credit help, and when is it enough to reward successes?

    Scores both at rising rates of success.
    """

    tasks: tuple[str, ...] = ("chain_pit", "key_door")
    levels: tuple[Inside, ...] = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95)

    claim: ClassVar[str] = (
        "Our own: the worth of fine credit depends on how often the policy succeeds. Predicted, "
        "after a tabular pilot: the true advantage beats rewarding successes alone where they are "
        "rare, and loses to it where they are common."
    )
    tiny: ClassVar[dict[str, Any]] = dict(
        tasks=("chain_pit",), levels=(0.2, 0.8), seeds=2, replicates=4, problems=2, attempts=2
    )

    def __post_init__(self):
        super().__post_init__()
        credit_study.check_levels(self.levels)
        check(len(self.levels) >= 2, "A crossover needs two levels or more.")
        for name in self.tasks:
            look_up("task", name, named(envs))

    def cells(self) -> list[Record]:
        return [
            dict(task=task, seed=seed, level=level)
            for task in self.tasks
            for seed in range(self.seeds)
            for level in self.levels
        ]

    def records(self, cell: Record) -> list[Record]:
        task = named(envs)[cell["task"]]()
        testbed = self.make_testbed(task, self.levels, cell["level"], cell["seed"])
        return credit_study.score_estimators(testbed, estimators(testbed.capacity))

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {"success": ".2f", COLUMN: ".2f", "snr": "+.1f", "gain": ".2f", "harm": ".2f"}
        lines = []
        for task in self.tasks:
            for line in sweep.table(select(records, task=task), "level", columns):
                lines.append({"task": task} | line)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            COLUMN: "cosine of a batch's gradient\nwith the true one",
            "gain": "gain of a step, of the\ntrue gradient's (cut at −3)",
        }
        figures = {}
        for task in self.tasks:
            figures[f"success_crossover_{task}"] = sweep.figure(
                select(records, task=task),
                "level",
                panels,
                title=words(task),
                label="success of the policy, as asked for",
                scale="even",
            )
        sweep.same_limits(figures.values(), panels)
        for figure in figures.values():
            figure.axes[1].set_ylim(*GAINS)
        return figures

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return [judge_crossover(select(records, task=task), task) for task in self.tasks]


def estimators(capacity: int) -> dict[str, Algorithm]:
    """Returns REINFORCE with each credit, by the credit's name.

    Args: capacity: number of states that the exact values have room for.
    """
    credits = {
        PLAIN: SuccessOnly(),
        "leave_one_out": LeaveOneOut(),
        "gigpo": Gigpo(),
    }
    algorithms = {name: swap(REINFORCE, credit=credit) for name, credit in credits.items()}
    difference = GAE(lambda_=0.0, whiten=False)
    return algorithms | {FINE: swap(REINFORCE, credit=difference, values=Exact(capacity))}


def gaps(records: list[Record]) -> Float[np.ndarray, "seeds levels"]:
    """Returns the oracle's mean cosine minus that of rewarding successes alone."""
    levels = sorted(distinct(records, "level"))
    fine, plain = (
        [sweep.by_seed(records, COLUMN, estimator=name, level=level) for level in levels]
        for name in (FINE, PLAIN)
    )
    return np.array(fine).T - np.array(plain).T


def judge_crossover(records: list[Record], task: str) -> Verdict:
    """Judges whether fine credit wins at the lowest level and loses at the highest.

    It is falsified if it wins, or loses, at both.
    """
    rule = (
        "The oracle's mean cosine minus that of rewarding successes alone: supported if its 95% "
        "interval lies above 0 at the lowest level and below 0 at the highest; falsified if it "
        "lies on one side at both."
    )
    levels = sorted(distinct(records, "level"))
    mean, low, high = t_interval(gaps(records))
    sign = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    outcome = "inconclusive"
    if (sign[0], sign[-1]) == (1, -1):
        outcome = "supported"
    elif sign[0] == sign[-1] != 0:
        outcome = "falsified"
    evidence = "; ".join(
        f"at {level:g} {m:+.2f} [{a:+.2f}, {b:+.2f}]"
        for level, m, a, b in zip(levels, mean, low, high, strict=True)
    )
    claim = f"On {task}, fine credit wins where success is rare and loses where it is common"
    return Verdict(claim, rule, outcome, f"{evidence}.")


if __name__ == "__main__":
    console.main(partial(study.run, SuccessCrossover()))
