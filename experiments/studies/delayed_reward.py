"""Does the signal of a credit assignment drown as the reward comes later?

    python -m experiments.studies.delayed_reward                          # 5 seeds
    python -m experiments.studies.delayed_reward --delays 2 8 32 --seeds 2

In key_door a key that is picked at once opens a door after `delay` cells, in two thirds of which an apple pays a little: what happens on
the way is noise to the credit of the pick. For every delay and seed a policy is cloned until half of its episodes succeed, and the credits
of its batches are scored against the truth (experiments/ground_truth/testbed.py), also on the pick and the door alone. Then it learns with each of the
credits, all else being the same.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from agentic_rl import algorithms
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Inside, Several
from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.group import LeaveOneOut, LeaveOneOutToGo
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.values import NoValue
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact
from experiments.cli import console
from experiments.ground_truth import cloned_policies, quality, testbed
from experiments.harness import credit_study, study
from experiments.reports import sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, least_squares_slope, select
from experiments.reports.verdicts import above_zero, near_zero

RLOO, ORACLE = "leave_one_out", "oracle"
LEARNERS = ("leave_one_out", "gigpo", "gae", "oracle")
SIGNAL = "key_snr"  # of the pick and the door
FLAT = 1.0  # dB a doubling: no more is no trend


@dataclass(frozen=True)
class DelayedReward(credit_study.CreditStudy):
    """Does the signal of a credit drown as the reward comes later?

    Scores credits, and learns with them, against the delay.
    """

    delays: tuple[Count, ...] = (2, 6, 16)
    level: Inside = 0.5  # success of the policies
    replicates: Several = 64  # independent batches of each policy
    updates: Count = 30  # of learning, on 256 episodes each; 0: none

    claim: ClassVar[str] = (
        "COCOA (2306.16803) and RUDDER (1806.07857): the gradient of REINFORCE-like estimators "
        "drowns in noise as rewards are delayed. Predicted: the SNR that RLOO gives the decisive "
        "actions falls with every doubling of the delay, the true advantage's does not, and what "
        "is learned follows."
    )
    legend: ClassVar[dict[str, str]] = credit_study.LEGEND | {
        "key snr": "the snr of the gradient of the pick and the door alone",
        "before, learned": "success on unseen problems, before and after learning",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        delays=(1, 2), seeds=2, replicates=4, problems=2, attempts=2, updates=1
    )

    def __post_init__(self):
        super().__post_init__()
        credit_study.check_levels((self.level,))
        check(len(self.delays) >= 2, "A trend needs two delays or more.")

    def cells(self) -> list[Record]:
        return [dict(delay=delay, seed=seed) for seed in range(self.seeds) for delay in self.delays]

    def records(self, cell: Record) -> list[Record]:
        task, seed = KeyDoor(delay=cell["delay"]), cell["seed"]
        bed = self.make_testbed(task, (self.level,), self.level, seed)
        rows, start, found = (
            estimators(bed.capacity),
            cloned_policies.measure_success(task, bed.policy_config, bed.params, seed),
            [],
        )
        for name, row in rows.items():
            credit, steps = testbed.credits(
                bed, testbed.algorithm_with(bed, row.credit, row.values)
            )
            key = quality.snr(
                quality.compact(testbed.gradients(bed, credit * bed.is_key), bed.true)[0]
            )
            learns = name in LEARNERS and self.updates
            params = (
                cloned_policies.train_further(
                    task, bed.policy_config, row, bed.params, self.updates, seed
                )
                if learns
                else None
            )
            learned = (
                cloned_policies.measure_success(task, bed.policy_config, params, seed)
                if learns
                else np.nan
            )
            facts = {
                "estimator": name,
                "success": credit_study.success(bed),
                "before": start,
                "learned": learned,
                "key_snr": key,
            }
            found.append(facts | testbed.score_credit(bed, credit, steps))
        return found

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {
            "success": ".2f", "snr": "+.1f", "key_snr": "+.1f", "expected_cosine": ".2f", "key_accuracy": ".2f", "before": ".2f",
            "learned": ".2f",
        }  # fmt: skip
        return sweep.table(records, "delay", columns)

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            "snr": "signal to noise, dB",
            "key_snr": "the same of the pick\nand the door alone",
        }
        drawn = {
            "delayed_reward": sweep.figure(
                records, "delay", panels, label="delay, turns", same=True
            )
        }
        taught = [r for r in records if r["estimator"] in LEARNERS]
        title = {"learned": f"success after {self.updates} updates"}
        return drawn | (
            {"delayed_learning": sweep.figure(taught, "delay", title, label="delay, turns")}
            if self.updates
            else {}
        )

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        fall, flat = slope(records, RLOO), slope(records, ORACLE)
        what = (
            "in decibels of the SNR of the pick and the door per doubling of the delay, a "
            "least-squares slope for each seed"
        )
        found = [
            above_zero(
                "RLOO's signal drowns as the reward comes later",
                f"What RLOO loses {what}",
                -fall,
                unseen(records, RLOO),
            ),
            near_zero(
                "The true advantage's signal does not",
                f"What the oracle gains {what}",
                flat,
                FLAT,
                unseen(records, ORACLE),
            ),
        ]
        if self.updates:
            gap = {
                d: learned(records, ORACLE, d) - learned(records, RLOO, d)
                for d in (min(self.delays), max(self.delays))
            }
            what = (
                "The oracle's success minus RLOO's after learning, at the longest delay minus "
                "that at the shortest"
            )
            found.append(
                above_zero(
                    "Fine credit helps learning more, the later the reward",
                    what,
                    gap[max(gap)] - gap[min(gap)],
                )
            )
        return found


def estimators(capacity: int) -> dict[str, Algorithm]:
    """By name."""
    difference, exact = GAE(lambda_=0.0, whiten=False), Exact(capacity)
    rows = {
        "leave_one_out": (LeaveOneOut(), NoValue()), "leave_one_out_to_go": (LeaveOneOutToGo(), NoValue()), "gigpo": (Gigpo(), NoValue()),
        "gae": (GAE(), Critic()), "oracle": (difference, exact),
    }  # fmt: skip
    return {
        name: swap(algorithms.ORACLE, credit=credit, values=values)
        for name, (credit, values) in rows.items()
    }


def slope(records: list[Record], estimator: str) -> Float[np.ndarray, " seeds"]:
    """Decibels per doubling of the delay; NaN for a seed where no signal is seen at the shortest one, so that it cannot fall."""
    delays = sorted(distinct(records, "delay"))
    start = sweep.by_seed(records, SIGNAL, estimator=estimator, delay=delays[0])
    snr = [sweep.by_seed(records, SIGNAL, estimator=estimator, delay=d) for d in delays]
    return np.where(
        start > sweep.FLOOR, least_squares_slope(np.log2(delays), np.array(snr)), np.nan
    )


def unseen(records: list[Record], estimator: str) -> str:
    """How often no signal was seen."""
    some = select(records, estimator=estimator)
    count = sum(r[SIGNAL] <= sweep.FLOOR for r in some)
    return (
        f"No signal was seen, and {sweep.FLOOR:g} dB taken for it, in {count} of {len(some)} cells"
    )


def learned(records: list[Record], estimator: str, delay: int) -> Float[np.ndarray, " seeds"]:
    return sweep.by_seed(select(records, delay=delay), "learned", estimator=estimator)


if __name__ == "__main__":
    console.main(partial(study.run, DelayedReward()))
