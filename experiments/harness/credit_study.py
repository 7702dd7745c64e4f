"""Studies that score credits on test beds: policies of chosen success, cloned from the expert, whose batches are held against the truth."""

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

SIZE = Policy(context="markov")
LEGEND = {
    "±": "half of Student's 95% interval over seeds",
    "success": "of the policy, in all batches",
    "snr": "signal over noise of a batch's gradient in decibels; -20 where no signal is seen",
    "expected cosine": "of a batch's gradient with the exact one, mean over batches",
    "key accuracy": "share of the credits with the true advantage's sign, where much is at stake",
    "gain": "of a step of .001 nats a decision along a batch's gradient, in exact expected return, over that of a step along the exact "
    "gradient; it may be above 1, as a gradient is not the steepest direction at a fixed KL",
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

    def bed(self, task: Any, levels: tuple[float, ...], level: float, seed: int) -> testbed.Testbed:
        """See `bed`."""
        return make_testbed(
            task, levels, level, seed, (self.replicates, self.problems, self.attempts)
        )


def make_testbed(
    task: Any, levels: tuple[float, ...], level: float, seed: int, shape: tuple[int, int, int]
) -> testbed.Testbed:
    """Of the clone whose success came nearest to `level`, one of `levels`, with a critic fitted to its rewards to go."""
    most, problems = cloned_policies.BANK // 2, shape[1]
    check(
        problems <= most,
        f"problems must be {most} or fewer, half of those that the policies are cloned on, not {problems}.",
    )
    params = cloned_policies.with_critic(
        task,
        SIZE,
        cloned_policies.clones(task, SIZE, levels, seed, problems)[level],
        seed,
        problems,
    )
    return testbed.make(task, SIZE, params, shape, cloned_policies.bank(seed))


def check_levels(levels: tuple[float, ...]) -> None:
    """Raises: ConfigError."""
    check(
        len(levels) >= 1 and all(0 < level < 1 for level in levels),
        "levels are success rates between 0 and 1, one or more.",
    )


def score_estimators(bed: testbed.Testbed, rows: Mapping[str, Algorithm]) -> list[Record]:
    """A record for each estimator, with the policy's exact expected return beside, and its success in all batches."""
    facts = {"expected_return": bed.expected_return, "success": success(bed)}
    return [
        {"estimator": name}
        | facts
        | testbed.score(bed, testbed.algorithm_with(bed, row.credit, row.values))
        for name, row in rows.items()
    ]


def success(bed: testbed.Testbed) -> float:
    """Of the policy, in all batches."""
    return float(bed.trajectory.success.mean())
