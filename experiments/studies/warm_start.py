"""Does RL need PPO's machinery, or only if it starts from scratch?

    python -m experiments.studies.warm_start
    python -m experiments.studies.warm_start --levels 0 0.02 0.98 --epochs 4 --seeds 10

REINFORCE, RLOO and PPO with its critic go on from policies of rising success: an untrained one, and clones of an expert that errs just as
often as it takes. The task is running_sum, every right answer paid at once, so that there is something to learn from scratch; the policies
read their whole history, so that the critic can know how many answers are left. They are compared by the log odds of a right answer, in
which neither end is a wall, each row at the better of the learning rates.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from agentic_rl import algorithms
from agentic_rl.algorithms import swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Positive, Range
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, log_odds, select
from experiments.reports.verdicts import above_zero

TASK = RunningSum(num_turns=6, modulus=4, reward="per_turn")
ROWS = ("reinforce", "rloo", "ppo")
SCRATCH = 0.0  # the level of an untrained policy
WARM = 0.5  # the level from which a start is called warm
RARE = 0.05  # of the tokens: what the clip is said to stay below
CLIPPED = ("clip_fraction_low", "clip_fraction_high")


@dataclass(frozen=True)
class WarmStart(training_study.TrainingStudy):
    """Does RL need PPO's machinery, or only if it starts from scratch? Compares three rows from four starts."""

    levels: tuple[Annotated[float, Range(0, below=1)], ...] = (
        SCRATCH,
        0.1,
        0.5,
        0.9,
    )  # success of the policies at the start; 0: untrained
    learning_rates: tuple[Positive, ...] = (3e-4, 1e-3)  # each row is judged at the better one
    clone_updates: Count = 80  # of cloning
    updates: Count = 40
    epochs: Count = 1  # passes over each batch

    claim: ClassVar[str] = (
        "Ahmadian et al. (2402.14740): PPO's critic and clip matter from scratch; a policy that was trained by supervision before does "
        "without them, RLOO does as well or better, and the clip is active for less than 5% of a batch. Predicted: PPO's lead over RLOO "
        "falls as the start gets better, and so does the share of tokens that the clip cuts off."
    )
    legend: ClassVar[dict[str, str]] = training_study.LEGEND | {
        "start": "success of the policies before, as asked for; 0: untrained",
        "log odds": "of a right answer, at the end",
        "clipped": "share of the tokens whose gradient PPO's clip cuts off, mean over all updates",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        levels=(SCRATCH, 0.5),
        learning_rates=(1e-3,),
        clone_updates=1,
        updates=1,
        problems=64,
        seeds=2,
    )

    def __post_init__(self):
        super().__post_init__()
        ends = SCRATCH in self.levels and WARM <= max(self.levels) < 1 and min(self.levels) >= 0
        check(
            ends,
            f"levels are success rates below 1; {SCRATCH:g} (untrained) and one of {WARM} or more must be among them.",
        )
        check(len(self.learning_rates) >= 1, "Name learning_rates, one or more.")

    @property
    def policy_config(self) -> Policy:
        """Of the policies, which read their history."""
        return replace(super().policy_config, context="history")

    def cells(self) -> list[Record]:
        return [
            dict(start=level, algorithm=row, rate=rate)
            for level in self.levels
            for row in ROWS
            for rate in self.learning_rates
        ]

    def records(self, cell: Record) -> list[Record]:
        row = swap(
            algorithms.by_name()[cell["algorithm"]],
            epochs=self.epochs,
            optimizer=Adam(learning_rate=cell["rate"]),
        )
        rows = training_study.train_policies(
            self.start(cell["start"]), TASK, self.policy_config, row, self.updates, self.problems
        )[1]
        clipped = (
            [np.mean([r[name] for r in rows[1:]], axis=0) for name in CLIPPED]
            if cell["algorithm"] == "ppo"
            else [np.full(self.seeds, np.nan)]
        )
        began, ended = (
            log_odds(np.array(r["eval_return"]), self.problems * TASK.num_turns)
            for r in (rows[0], rows[-1])
        )
        return training_study.records(
            {
                "success": rows[-1]["eval_success"],
                "began": began,
                "log_odds": ended,
                "clipped": sum(clipped),
            }
        )

    def start(self, level: float) -> Policies:
        """Untrained ones, or clones of an expert that succeeds so often."""
        if level == SCRATCH:
            return training_study.fresh(self.policy_config, self.seeds)
        return training_study.clone_policies(
            TASK, self.policy_config, self.seeds, self.clone_updates, noise=noise(level)
        )

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {"success": ".2f", "log_odds": "+.2f", "clipped": ".4f"}
        each = {
            rate: sweep.table(select(records, rate=rate), "start", columns, lines="algorithm")
            for rate in self.learning_rates
        }
        return [{"learning rate": rate} | line for rate, lines in each.items() for line in lines]

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            "log_odds": "log odds of a right\nanswer, at the end",
            "lead": "lead over RLOO",
            "clipped": "share of tokens that\nPPO's clip cuts off",
        }
        drawn = [
            r | {"lead": x}
            for level in self.levels
            for row in ROWS
            for r, x in zip(better(records, level, row), lead(records, level, row))
        ]
        return {
            "warm_start": sweep.figure(
                drawn,
                "start",
                panels,
                lines="algorithm",
                label="success at the start",
                scale="even",
            )
        }

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        warm = [level for level in self.levels if level >= WARM]
        ahead = np.mean([lead(records, level) for level in warm], axis=0)
        clipped = np.mean(
            [sweep.by_seed(better(records, level, "ppo"), "clipped") for level in warm], axis=0
        )
        fewer, what = (
            np.mean([self.fewer(records, rate) for rate in self.learning_rates], axis=0),
            f"PPO's lead over RLOO {SCALE}",
        )
        each = ", ".join(
            f"{self.fewer(records, rate).mean():+.4f} at {rate:g}" for rate in self.learning_rates
        )
        return [
            above_zero(
                "From scratch PPO learns more than RLOO",
                f"{what}, from scratch",
                lead(records, SCRATCH),
            ),
            above_zero(
                "From a warm start RLOO learns more than PPO",
                f"RLOO's lead over PPO {SCALE}, {MEAN}",
                -ahead,
            ),
            above_zero(
                "PPO's lead shrinks as the start gets better",
                f"{what}: minus its slope against those of the start",
                -slope(records),
            ),
            above_zero(
                "From a warm start the clip is hardly ever active",
                f"{RARE} minus PPO's share of clipped tokens, {MEAN}",
                RARE - clipped,
            ),
            above_zero(
                "The clip is less active from a warm start",
                f"Share of clipped tokens from scratch, minus {MEAN}, at the same learning rate, on average over these",
                fewer,
                f"It is {each}.",
            ),
        ]

    def fewer(self, records: list[Record], rate: float) -> Float[np.ndarray, " seeds"]:
        """Tokens that PPO's clip cuts off from a warm start than from scratch, as shares."""
        share = {
            level: sweep.by_seed(records, "clipped", algorithm="ppo", rate=rate, start=level)
            for level in self.levels
        }
        return share[SCRATCH] - np.mean(
            [share[level] for level in self.levels if level >= WARM], axis=0
        )


SCALE = "in log odds of a right answer, each at its better learning rate by the mean over seeds"
MEAN = f"the mean over starts of {WARM} or more"


def noise(level: float) -> float:
    """How often an action of the expert must be random for an episode to succeed with this probability."""
    wrong = 1 - level ** (1 / TASK.num_turns)
    return wrong * TASK.modulus / (TASK.modulus - 1)


def better(records: list[Record], level: float, row: str) -> list[Record]:
    """Those of the learning rate with the higher mean log odds."""
    own = select(records, start=level, algorithm=row)
    return max(
        (select(own, rate=rate) for rate in distinct(own, "rate")),
        key=lambda some: np.mean([r["log_odds"] for r in some]),
    )


def lead(records: list[Record], level: float, row: str = "ppo") -> Float[np.ndarray, " seeds"]:
    """Of a row over RLOO."""
    own, rloo = (sweep.by_seed(better(records, level, name), "log_odds") for name in (row, "rloo"))
    return own - rloo


def slope(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Of PPO's lead against the log odds at the start, by least squares."""
    levels = sorted(distinct(records, "start"))
    began = np.array([sweep.by_seed(better(records, level, "ppo"), "began") for level in levels])
    leads = np.array([lead(records, level) for level in levels])
    return np.array([np.polyfit(x, y, 1)[0] for x, y in zip(began.T, leads.T, strict=True)])


if __name__ == "__main__":
    console.main(partial(study.run, WarmStart()))
