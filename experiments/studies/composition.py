"""Does RL compose old skills into new ones, where more demonstrations of the old ones do not?

    python -m experiments.studies.composition
    python -m experiments.studies.composition --arms rl_2 rft_2 --updates 120 --seeds 10

In compose a policy writes a line for each function that the prompt names, from what the line before
says. All arms start from the same clones. These know the functions one at a time, and have seen so
few problems of two functions that they seldom succeed there. The arms then train

- with more demonstrations of single functions (`sft_1`), or rewards for them (`rl_1`),
- with problems of two functions: by rewards for the last line (`rl_2`), by cloning their own
  successes (`rft_2`), or with demonstrations of both lines (`sft_2`).

Measured is the success on unseen problems of up to six functions, and on pairs of functions that
training never shows. The rules compare the arms at depth 4. (From clones that never saw two
functions, RL learned nothing on other seeds, because it earned no rewards.)
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from agentic_rl import algorithms
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Positive, Range
from agentic_rl.envs.compose import Compose
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

BASE = "base"
ARMS = {
    BASE: "clones of single functions, and a little of two",
    "sft_1": "demonstrations of single functions",
    "rl_1": "RL on single functions",
    "rl_2": "RL on two",
    "rft_2": "cloning its own successes with two",
    "sft_2": "demonstrations of two, with both lines",
}
ALGORITHMS = {"sft": algorithms.SFT, "rl": algorithms.RLOO, "rft": algorithms.RFT}
NEW = "new pairs"
MARGIN = 0.05  # of success, by which RL must beat cloning its own successes


@dataclass(frozen=True)
class Composition(training_study.TrainingStudy):
    """Does RL make new skills out of old ones, where more demonstrations of the old ones do not?

    Tests on longer compositions.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    depths: tuple[Count, ...] = (1, 2, 3, 4, 6)  # functions of a problem that is evaluated
    judged_at: Count = 4  # the depth at which the rules compare arms
    length: Annotated[int, Range(2, 8)] = 3  # of the strings, in symbols
    clone_updates: Count = 100  # of cloning single functions
    few: Count = 25  # further updates of cloning, on problems of one and of two
    learning_rate: Positive = 3e-4  # of all arms

    claim: ClassVar[str] = (
        "Yuan et al. (2509.25123), From f(x) and g(x) to f(g(x)): RL on two functions brings "
        "compositions of more than two, which neither RL on single ones does, nor cloning one's "
        "own successes on the same problems. Predicted at depth 4: RL on two above SFT with both "
        "lines, that above cloning one's own successes, and RL on single functions last."
    )
    headline: ClassVar[str] = "success"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "depth": "functions of a problem; all are unseen problems",
        NEW: "two functions, in pairs that training never shows",
    } | ARMS
    tiny: ClassVar[dict[str, Any]] = dict(
        arms=(BASE, "rl_1", "rl_2", "rft_2"),
        depths=(1, 2),
        judged_at=2,
        clone_updates=1,
        few=1,
        updates=1,
        problems=64,
        seeds=2,
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.arms:
            look_up("arm", name, ARMS)
        check(
            {BASE, "rl_1", "rl_2", "rft_2"} <= set(self.arms),
            f"The claim compares rl_2 with rl_1, rft_2 and {BASE}: leave them in --arms.",
        )
        check(self.judged_at in self.depths, f"judged_at ({self.judged_at}) must be one of depths.")

    def cells(self) -> list[Record]:
        return [dict(arm=arm) for arm in self.arms]

    def records(self, cell: Record) -> list[Record]:
        policies = clone_base(
            self.task(1), self.task(2), self.policy_config, self.seeds, self.clone_updates, self.few
        )
        if cell["arm"] != BASE:
            kind, depth = cell["arm"].split("_")
            task, algorithm = self.task(int(depth)), self.algorithm(kind)
            policies, _ = training_study.train_policies(
                policies, task, self.policy_config, algorithm, self.updates
            )
        tasks = {depth: self.task(depth) for depth in self.depths}
        tasks[NEW] = self.task(2).other_rule()
        records = []
        for depth, task in tasks.items():
            metrics = training_study.evaluate_policies(
                policies, task, self.policy_config, self.problems
            )
            for record in training_study.records({"success": metrics["success"]}):
                records.append({"depth": depth} | record)
        return records

    def task(self, depth: int) -> Compose:
        """Returns the task with this number of functions, and a line for each."""
        return Compose(depth=depth, length=self.length, scratch=True)

    def algorithm(self, kind: str) -> Algorithm:
        """Returns the algorithm of an arm, which trains on 256 episodes an update."""
        return swap(ALGORITHMS[kind], optimizer=Adam(learning_rate=self.learning_rate))

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for arm in distinct(records, "arm"):
            of_arm = select(records, arm=arm)
            means = {
                column_title(depth): sweep.cell(
                    sweep.by_seed(of_arm, "success", depth=depth), ".2f"
                )
                for depth in distinct(of_arm, "depth")
            }
            lines.append({"arm": arm} | means)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        figure = sweep.figure(
            gain_on_known_pairs(records),
            "depth",
            {"gain": "success, minus that of the clones they began from"},
            "arm",
            label="functions of a problem",
            scale="even",
        )
        return {"composition": figure}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        success = {
            arm: sweep.by_seed(select(records, arm=arm), "success", depth=self.judged_at)
            for arm in self.arms
        }
        rl_2 = success["rl_2"]
        verdicts = [
            judge_gain(
                "RL on two functions brings what its base could not do",
                f"rl_2 minus {BASE}",
                rl_2 - success[BASE],
            ),
            judge_gain(
                "RL on single functions brings less", "rl_2 minus rl_1", rl_2 - success["rl_1"]
            ),
            judge_gain(
                "Cloning one's own successes brings less",
                f"rl_2 minus rft_2, less {MARGIN}",
                rl_2 - (success["rft_2"] + MARGIN),
            ),
        ]
        if "sft_2" in success:
            claim = "RL brings more than demonstrations"
            verdicts.append(judge_gain(claim, "rl_2 minus sft_2", rl_2 - success["sft_2"]))
        return verdicts


@cache
def clone_base(
    one: Compose, two: Compose, policy_config: Policy, seeds: int, updates: int, few: int
) -> Policies:
    """Returns clones of the task `one`, trained for `few` more updates on a mixture of both."""
    policies = training_study.clone_policies(one, policy_config, seeds, updates)
    algorithm = swap(algorithms.SFT, optimizer=replace(training_study.CLONING, warmup=0))
    mixture = {"one": one, "two": two}
    return training_study.train_policies(policies, mixture, policy_config, algorithm, few)[0]


def gain_on_known_pairs(records: list[Record]) -> list[Record]:
    """Returns records with each arm's success minus that of its own seed's base, as "gain".

    Seeds are paired because the clones differ more than what the arms add to them.
    """
    known = [r for r in records if r["depth"] != NEW]
    start = {(r["depth"], r["seed"]): r["success"] for r in known if r["arm"] == BASE}
    return [
        r | {"gain": r["success"] - start[r["depth"], r["seed"]]} for r in known if r["arm"] != BASE
    ]


def column_title(depth: str | int) -> str:
    """Returns the title of the table's column for this depth."""
    return depth if depth == NEW else f"depth {depth}"


def judge_gain(claim: str, what: str, gain: Float[np.ndarray, " seeds"]) -> Verdict:
    """Returns the verdict on a gain of success at the depth of the rules."""
    return above_zero(claim, f"success at the depth judged, {what}", gain)


if __name__ == "__main__":
    console.main(partial(study.run, Composition()))
