"""Does the signal of a credit assignment drown as the reward comes later?

    python -m experiments.studies.delayed_reward                          # 5 seeds
    python -m experiments.studies.delayed_reward --delays 2 8 32 --seeds 2

In key_door a key that is picked in the first turn opens a door after `delay` cells. In two thirds
of these an apple pays a little. What happens on the way is noise to the credit of the pick. For
every delay and seed a policy is cloned until half of its episodes succeed. The credits of its
batches are scored against the truth (experiments/ground_truth/testbed.py), also on the pick and the
door alone. Then the policy learns with each of the credits, all else being the same. The rules are
about the slope of the signal-to-noise ratio against the delay, and about what is learned.
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
SIGNAL = "key_snr"  # the signal-to-noise ratio of the pick and the door alone
FLAT = 1.0  # a smaller slope, in dB per doubling of the delay, is no trend


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
        start = cloned_policies.measure_success(task, bed.policy_config, bed.params, seed)
        records = []
        for name, algorithm in estimators(bed.capacity).items():
            sized = testbed.algorithm_with(bed, algorithm.credit, algorithm.values)
            credit, steps = testbed.credits(bed, sized)
            learned = np.nan
            if self.updates and name in LEARNERS:
                params = cloned_policies.train_further(
                    task, bed.policy_config, algorithm, bed.params, self.updates, seed
                )
                learned = cloned_policies.measure_success(task, bed.policy_config, params, seed)
            facts = {
                "estimator": name,
                "success": credit_study.success(bed),
                "before": start,
                "learned": learned,
                "key_snr": key_snr(bed, credit),
            }
            records.append(facts | testbed.score_credit(bed, credit, steps))
        return records

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {
            "success": ".2f",
            "snr": "+.1f",
            "key_snr": "+.1f",
            "expected_cosine": ".2f",
            "key_accuracy": ".2f",
            "before": ".2f",
            "learned": ".2f",
        }
        return sweep.table(records, "delay", columns)

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            "snr": "signal to noise, dB",
            "key_snr": "the same of the pick\nand the door alone",
        }
        by_name = {
            "delayed_reward": sweep.figure(
                records, "delay", panels, label="delay, turns", same=True
            )
        }
        if self.updates:
            learners = [r for r in records if r["estimator"] in LEARNERS]
            title = {"learned": f"success after {self.updates} updates"}
            by_name["delayed_learning"] = sweep.figure(
                learners, "delay", title, label="delay, turns"
            )
        return by_name

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        what = (
            "in decibels of the SNR of the pick and the door per doubling of the delay, a "
            "least-squares slope for each seed"
        )
        verdicts = [
            above_zero(
                "RLOO's signal drowns as the reward comes later",
                f"What RLOO loses {what}",
                -slope(records, RLOO),
                count_unseen(records, RLOO),
            ),
            near_zero(
                "The true advantage's signal does not",
                f"What the oracle gains {what}",
                slope(records, ORACLE),
                FLAT,
                count_unseen(records, ORACLE),
            ),
        ]
        if self.updates:
            what = (
                "The oracle's success minus RLOO's after learning, at the longest delay minus "
                "that at the shortest"
            )
            claim = "Fine credit helps learning more, the later the reward"
            gain = {delay: oracle_gain(records, delay) for delay in self.delays}
            verdicts.append(above_zero(claim, what, gain[max(gain)] - gain[min(gain)]))
        return verdicts


def key_snr(bed: testbed.Testbed, credit: Float[np.ndarray, "R M"]) -> float:
    """Returns the signal-to-noise ratio of the gradient of the key decisions alone, in decibels."""
    gradients = testbed.gradients(bed, credit * bed.is_key)
    return quality.snr(quality.compact(gradients, bed.true)[0])


def estimators(capacity: int) -> dict[str, Algorithm]:
    """Returns an algorithm for each credit by name."""
    difference, exact = GAE(lambda_=0.0, whiten=False), Exact(capacity)
    estimators = {
        "leave_one_out": (LeaveOneOut(), NoValue()),
        "leave_one_out_to_go": (LeaveOneOutToGo(), NoValue()),
        "gigpo": (Gigpo(), NoValue()),
        "gae": (GAE(), Critic()),
        "oracle": (difference, exact),
    }
    return {
        name: swap(algorithms.ORACLE, credit=credit, values=values)
        for name, (credit, values) in estimators.items()
    }


def slope(records: list[Record], estimator: str) -> Float[np.ndarray, " seeds"]:
    """Returns the slope of the SNR for each seed, in decibels per doubling of the delay.

    It is NaN for a seed without a signal at the shortest delay, where it cannot fall.
    """
    delays = sorted(distinct(records, "delay"))
    start = sweep.by_seed(records, SIGNAL, estimator=estimator, delay=delays[0])
    snr = [sweep.by_seed(records, SIGNAL, estimator=estimator, delay=d) for d in delays]
    return np.where(
        start > sweep.FLOOR, least_squares_slope(np.log2(delays), np.array(snr)), np.nan
    )


def count_unseen(records: list[Record], estimator: str) -> str:
    """Returns in words in how many cells no signal was seen."""
    of_estimator = select(records, estimator=estimator)
    count = sum(r[SIGNAL] <= sweep.FLOOR for r in of_estimator)
    return (
        f"No signal was seen, and {sweep.FLOOR:g} dB taken for it, in {count} of "
        f"{len(of_estimator)} cells"
    )


def oracle_gain(records: list[Record], delay: int) -> Float[np.ndarray, " seeds"]:
    """Returns the oracle's success minus RLOO's after learning."""
    at_delay = select(records, delay=delay)
    oracle = sweep.by_seed(at_delay, "learned", estimator=ORACLE)
    return oracle - sweep.by_seed(at_delay, "learned", estimator=RLOO)


if __name__ == "__main__":
    console.main(partial(study.run, DelayedReward()))
