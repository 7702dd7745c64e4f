"""Does reinforcement learning make new skills out of old ones, where more demonstrations of the old ones do not?

    python -m experiments.studies.composition
    python -m experiments.studies.composition --arms rl_2 rft_2 --updates 120 --seeds 10

In compose a policy writes a line for each function that the prompt names, from what the line before says. All arms go on from clones that
know the functions one at a time, and have seen so little of two that they seldom succeed there: with more demonstrations of single ones
(`sft_1`), by rewards for single ones (`rl_1`), or with problems of two, by rewards for the last line (`rl_2`), by cloning their own
successes (`rft_2`), or demonstrations with both lines (`sft_2`). They are judged on more functions than that. (From clones that never saw
two, RL learned nothing on other seeds, for want of rewards.)
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
ROWS = {"sft": algorithms.SFT, "rl": algorithms.RLOO, "rft": algorithms.RFT}
NEW = "new pairs"
MARGIN = 0.05  # of success


@dataclass(frozen=True)
class Composition(training_study.TrainingStudy):
    """Does RL make new skills out of old ones, where more demonstrations of the old ones do not?

    Tests on longer compositions.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    depths: tuple[Count, ...] = (1, 2, 3, 4, 6)  # functions of a problem, at the evaluation
    judged_at: Count = 4  # the depth of the rules
    length: Annotated[int, Range(2, 8)] = 3  # of the strings
    clone_updates: Count = 100  # of cloning single functions
    few: Count = 25  # updates more, on problems of one and of two
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
        policies = base(
            self.task(1), self.task(2), self.policy_config, self.seeds, self.clone_updates, self.few
        )
        if cell["arm"] != BASE:
            kind, depth = cell["arm"].split("_")
            policies = training_study.train_policies(
                policies, self.task(int(depth)), self.policy_config, self.row(kind), self.updates
            )[0]
        tasks = {depth: self.task(depth) for depth in self.depths} | {
            NEW: self.task(2).other_rule()
        }
        success = {
            name: training_study.evaluate_policies(
                policies, task, self.policy_config, self.problems
            )["success"]
            for name, task in tasks.items()
        }
        return [
            {"depth": name} | record
            for name, x in success.items()
            for record in training_study.records({"success": x})
        ]

    def task(self, depth: int) -> Compose:
        """With a line for each function."""
        return Compose(depth=depth, length=self.length, scratch=True)

    def row(self, kind: str) -> Algorithm:
        """Of an arm, on 256 episodes an update."""
        return swap(ROWS[kind], optimizer=Adam(learning_rate=self.learning_rate))

    def lines(self, records: list[Record]) -> list[Record]:
        found = []
        for name in distinct(records, "arm"):
            own = select(records, arm=name)
            found.append(
                {"arm": name}
                | {
                    column_title(d): sweep.cell(sweep.by_seed(own, "success", depth=d), ".2f")
                    for d in distinct(own, "depth")
                }
            )
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {"gain": "success, minus that of the clones they began from"}
        return {
            "composition": sweep.figure(
                gain_on_known_pairs(records),
                "depth",
                panels,
                "arm",
                label="functions of a problem",
                scale="even",
            )
        }

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        end = {
            arm: sweep.by_seed(select(records, arm=arm), "success", depth=self.judged_at)
            for arm in self.arms
        }
        return [
            gains(
                "RL on two functions brings what its base could not do",
                end["rl_2"],
                end[BASE],
                f"rl_2 minus {BASE}",
            ),
            gains(
                "RL on single functions brings less", end["rl_2"], end["rl_1"], "rl_2 minus rl_1"
            ),
            gains(
                "Cloning one's own successes brings less",
                end["rl_2"],
                end["rft_2"] + MARGIN,
                f"rl_2 minus rft_2, less {MARGIN}",
            ),
            *(
                [
                    gains(
                        "RL brings more than demonstrations",
                        end["rl_2"],
                        end["sft_2"],
                        "rl_2 minus sft_2",
                    )
                ]
                if "sft_2" in end
                else []
            ),
        ]


@cache
def base(
    one: Compose, two: Compose, policy_config: Policy, seeds: int, updates: int, few: int
) -> Policies:
    """Clones of one task, then a little of both."""
    policies = training_study.clone_policies(one, policy_config, seeds, updates)
    return training_study.train_policies(
        policies,
        {"one": one, "two": two},
        policy_config,
        swap(algorithms.SFT, optimizer=replace(training_study.CLONING, warmup=0)),
        few,
    )[0]


def gain_on_known_pairs(records: list[Record]) -> list[Record]:
    """Success on known pairs minus that of the base, seed by seed: clones differ more than what arms make of them."""
    known = [r for r in records if r["depth"] != NEW]
    began = {(r["depth"], r["seed"]): r["success"] for r in known if r["arm"] == BASE}
    return [
        r | {"gain": r["success"] - began[r["depth"], r["seed"]]} for r in known if r["arm"] != BASE
    ]


def column_title(depth: str | int) -> str:
    """The table's column."""
    return depth if depth == NEW else f"depth {depth}"


def gains(
    claim: str, one: Float[np.ndarray, " seeds"], other: Float[np.ndarray, " seeds"], what: str
) -> Verdict:
    """Of success at the depth of the rules."""
    return above_zero(claim, f"success at the depth judged, {what}", one - other)


if __name__ == "__main__":
    console.main(partial(study.run, Composition()))
