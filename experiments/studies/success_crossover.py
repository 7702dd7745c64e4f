"""When does fine credit help, and when is it enough to reward successes?

    python -m experiments.studies.success_crossover
    python -m experiments.studies.success_crossover --tasks chain_pit --levels 0.01 0.5 --seeds 2

Policies of rising success are cloned, and at each the credits of their batches are scored against the truth (experiments/ground_truth/testbed.py). A
batch in which all fail teaches nothing to a credit that only compares outcomes; one in which nearly all succeed says nearly without noise
what to do to a credit that just rewards successes, while one that is centred averages terms of both signs.
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
from agentic_rl.values import NoValue
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
GAINS = (-3.0, 1.5)  # that are drawn: where success is common, some intervals reach far below


@dataclass(frozen=True)
class SuccessCrossover(credit_study.CreditStudy):
    """When does fine credit help, and when is it enough to reward successes? Scores both at rising rates of success."""

    tasks: tuple[str, ...] = ("chain_pit", "key_door")
    levels: tuple[Inside, ...] = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95)

    claim: ClassVar[str] = (
        "Our own: the worth of fine credit depends on how often the policy succeeds. Predicted, after a tabular pilot: the true advantage "
        "beats rewarding successes alone where they are rare, and loses to it where they are common."
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
        bed = self.make_testbed(
            named(envs)[cell["task"]](), self.levels, cell["level"], cell["seed"]
        )
        return credit_study.score_estimators(bed, estimators(bed.capacity))

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {"success": ".2f", COLUMN: ".2f", "snr": "+.1f", "gain": ".2f", "harm": ".2f"}
        tasks = {
            task: sweep.table(select(records, task=task), "level", columns) for task in self.tasks
        }
        return [{"task": task} | line for task, lines in tasks.items() for line in lines]

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            COLUMN: "cosine of a batch's gradient\nwith the true one",
            "gain": "gain of a step, of the\ntrue gradient's (cut at −3)",
        }
        look, found = dict(label="success of the policy, as asked for", scale="even"), {}
        for task in self.tasks:
            found[f"success_crossover_{task}"] = sweep.figure(
                select(records, task=task), "level", panels, title=words(task), **look
            )
        sweep.same_limits(found.values(), panels)
        for drawn in found.values():
            drawn.axes[1].set_ylim(*GAINS)
        return found

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return [crossing(select(records, task=task), task) for task in self.tasks]


def estimators(capacity: int) -> dict[str, Algorithm]:
    """By name."""
    difference = GAE(lambda_=0.0, whiten=False)
    rows = {
        "success_only": (SuccessOnly(), NoValue()), "leave_one_out": (LeaveOneOut(), NoValue()), "gigpo": (Gigpo(), NoValue()),
        "oracle": (difference, Exact(capacity)),
    }  # fmt: skip
    return {
        name: swap(REINFORCE, credit=credit, values=values)
        for name, (credit, values) in rows.items()
    }


def gaps(records: list[Record]) -> Float[np.ndarray, "seeds levels"]:
    """The oracle's mean cosine minus that of rewarding successes alone."""
    levels = sorted(distinct(records, "level"))
    fine, plain = (
        [sweep.by_seed(records, COLUMN, estimator=name, level=at) for at in levels]
        for name in (FINE, PLAIN)
    )
    return np.array(fine).T - np.array(plain).T


def crossing(records: list[Record], task: str) -> Verdict:
    """Supported if fine credit wins at the lowest level and loses at the highest, falsified if it wins, or loses, at both."""
    rule = (
        "The oracle's mean cosine minus that of rewarding successes alone: supported if its 95% interval lies above 0 at the lowest level "
        "and below 0 at the highest; falsified if it lies on one side at both."
    )
    gap, levels = gaps(records), sorted(distinct(records, "level"))
    mean, low, high = t_interval(gap)
    sign = np.where(low > 0, 1, np.where(high < 0, -1, 0))
    said = (
        "supported"
        if (sign[0], sign[-1]) == (1, -1)
        else "falsified"
        if sign[0] == sign[-1] != 0
        else "inconclusive"
    )
    numbers = "; ".join(
        f"at {at:g} {m:+.2f} [{a:+.2f}, {b:+.2f}]"
        for at, m, a, b in zip(levels, mean, low, high, strict=True)
    )
    return Verdict(
        f"On {task}, fine credit wins where success is rare and loses where it is common",
        rule,
        said,
        f"{numbers}.",
    )


if __name__ == "__main__":
    console.main(partial(study.run, SuccessCrossover()))
