"""Studies that score credit assignments against the truth, without training.

A policy is cloned from the expert until it succeeds about as often as asked. Batches of its
episodes make a test bed: each credit is compared with the exact advantage of every token, and the
gradient it makes with the exact gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from agentic_rl.algorithms import Algorithm
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Several
from agentic_rl.policy.transformer import Policy
from experiments.ground_truth import cloned_policies, testbed
from experiments.harness import study
from experiments.reports.stats import Record

POLICY_CONFIG = Policy(context="markov")
LEGEND = {
    "±": "half of Student's 95% interval over seeds",
    "success": "of the policy, in all batches",
    "snr": "signal over noise of a batch's gradient in decibels; -20 where no signal is seen",
    "expected cosine": "of a batch's gradient with the exact one, mean over batches",
    "key accuracy": "share of the credits with the true advantage's sign, where much is at stake",
    "gain": "of a step of .001 nats a decision along a batch's gradient, in exact expected return, "
    "over that of a step along the exact gradient; it may be above 1, as a gradient is not the "
    "steepest direction at a fixed KL",
    "harm": "share of the losses in the sum of the gains' sizes",
}


@dataclass(frozen=True)
class CreditStudy(study.Study):
    """The flags of studies that score credits on test beds."""

    replicates: Several = 32  # independent batches of each policy
    problems: Count = 4  # of a batch
    attempts: Several = 8  # at each problem

    headline: ClassVar[str] = "expected_cosine"
    legend: ClassVar[dict[str, str]] = LEGEND

    def make_testbed(
        self, task: Any, levels: tuple[float, ...], level: float, seed: int
    ) -> testbed.Testbed:
        """Returns a test bed of this study's size."""
        shape = (self.replicates, self.problems, self.attempts)
        return make_testbed(task, levels, level, seed, shape)


def make_testbed(
    task: Any, levels: tuple[float, ...], level: float, seed: int, shape: tuple[int, int, int]
) -> testbed.Testbed:
    """Returns the test bed of a clone with a critic that is fitted to its rewards to go.

    Args:
      levels: success rates of the clones that are picked on the way of one cloning.
      level: the one of `levels` that this clone comes nearest to.
      shape: replicates, problems and attempts.
    Raises: ConfigError if there are too many problems.
    """
    limit, problems = cloned_policies.BANK // 2, shape[1]
    check(
        problems <= limit,
        f"problems must be {limit} or fewer, half of those that the policies are cloned on, "
        f"not {problems}.",
    )
    clone = cloned_policies.clones(task, POLICY_CONFIG, levels, seed, problems)[level]
    params = cloned_policies.fit_critic(task, POLICY_CONFIG, clone, seed, problems)
    return testbed.make(task, POLICY_CONFIG, params, shape, cloned_policies.bank_key(seed))


def check_levels(levels: tuple[float, ...]) -> None:
    """Raises a ConfigError unless `levels` are success rates between 0 and 1."""
    check(
        len(levels) >= 1 and all(0 < level < 1 for level in levels),
        "levels are success rates between 0 and 1, one or more.",
    )


def score_estimators(bed: testbed.Testbed, algorithms: Mapping[str, Algorithm]) -> list[Record]:
    """Returns a record for each algorithm by name: the scores of its credit and values.

    Each record also holds the policy's exact expected return, and its success in all batches.
    """
    facts = {"expected_return": bed.expected_return, "success": success(bed)}
    records = []
    for name, algorithm in algorithms.items():
        sized = testbed.algorithm_with(bed, algorithm.credit, algorithm.values)
        records.append({"estimator": name} | facts | testbed.score(bed, sized))
    return records


def success(bed: testbed.Testbed) -> float:
    """Returns the share of the test bed's episodes that succeed."""
    return float(bed.trajectory.success.mean())
