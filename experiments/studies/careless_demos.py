"""Does a clone of careless demonstrations succeed less often than a clone of careful ones?

    python -m experiments.studies.careless_demos
    python -m experiments.studies.careless_demos --noises 0 0.1 0.5 --seeds 10

In running_sum one wrong answer fails the episode. A share of the demonstrated answers is random.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from matplotlib.figure import Figure

from agentic_rl.config.ranges import Count, Probability
from agentic_rl.envs.running_sum import RunningSum
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.reports import sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct
from experiments.reports.verdicts import above_zero

TASK = RunningSum(num_turns=4, modulus=6)


@dataclass(frozen=True)
class CarelessDemos(training_study.TrainingStudy):
    """Does a clone of careless demonstrations succeed less often?"""

    noises: tuple[Probability, ...] = (0.0, 0.3)  # share of the demonstrated answers that is random
    clone_updates: Count = 60

    claim: ClassVar[str] = "A clone imitates mistakes as well, so it succeeds less often."
    tiny: ClassVar[dict[str, Any]] = dict(clone_updates=1, problems=64, seeds=2)

    def cells(self) -> list[Record]:
        return [dict(algorithm="sft", noise=noise) for noise in self.noises]

    def records(self, cell: Record) -> list[Record]:
        config = self.policy_config
        policies = training_study.clone_policies(
            TASK, config, self.seeds, self.clone_updates, noise=cell["noise"]
        )
        metrics = training_study.evaluate_policies(policies, TASK, config, self.problems)
        return training_study.records({"success": metrics["success"]})

    def lines(self, records: list[Record]) -> list[Record]:
        def mean(noise: float) -> str:
            return sweep.cell(sweep.by_seed(records, "success", noise=noise), ".2f")

        return [{"noise": x, "success": mean(x)} for x in distinct(records, "noise")]

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {"success": "success on unseen problems"}
        figure = sweep.figure(
            records, "noise", panels, "algorithm", label="share of random answers", scale="linear"
        )
        return {"success": figure}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        careful, careless = (
            sweep.by_seed(records, "success", noise=noise)
            for noise in (min(self.noises), max(self.noises))
        )
        return [above_zero(self.claim, "success, careful minus careless", careful - careless)]


if __name__ == "__main__":
    console.main(partial(study.run, CarelessDemos()))
