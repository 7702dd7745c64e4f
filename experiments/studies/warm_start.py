"""Does RL need PPO's machinery, or only if it starts from scratch?

    python -m experiments.studies.warm_start
    python -m experiments.studies.warm_start --levels 0 0.02 0.98 --epochs 4 --seeds 10

Ahmadian et al. (2402.14740) say that PPO's critic and clip matter only to a policy that starts from
scratch. Here REINFORCE, RLOO and PPO continue from policies of rising success: an untrained one,
and clones of an expert that errs just as often as needed. The task is running_sum, and every right
answer is rewarded at once, so that learning from scratch is possible. The policies read their whole
history, so that the critic can know how many answers are left.

Measured are the log odds of a right answer after training, which have no ceiling, and the share of
tokens whose gradient PPO's clip cuts off. Each algorithm counts at the better of its learning
rates. The rules ask for PPO's lead over RLOO to be positive from scratch, negative from a warm
start, and to shrink in between, and for the clip to be active less often from a warm start.
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
from experiments.reports.stats import Record, distinct, least_squares_slope, log_odds, select
from experiments.reports.verdicts import above_zero

TASK = RunningSum(num_turns=6, modulus=4, reward="per_turn")
ALGORITHMS = ("reinforce", "rloo", "ppo")
SCRATCH = 0.0  # the level of an untrained policy
WARM = 0.5  # the level from which a start is called warm
RARE = 0.05  # share of the tokens that the clip is said to stay below
CLIPPED = ("clip_fraction_low", "clip_fraction_high")


@dataclass(frozen=True)
class WarmStart(training_study.TrainingStudy):
    """Does RL need PPO's machinery, or only if it starts from scratch?

    Compares three algorithms from four starts.
    """

    # success of the policies at the start; 0: untrained
    levels: tuple[Annotated[float, Range(0, below=1)], ...] = (SCRATCH, 0.1, 0.5, 0.9)
    learning_rates: tuple[Positive, ...] = (3e-4, 1e-3)  # each algorithm counts at the better one
    clone_updates: Count = 80  # of cloning
    updates: Count = 40
    epochs: Count = 1  # passes over each batch

    claim: ClassVar[str] = (
        "Ahmadian et al. (2402.14740): PPO's critic and clip matter from scratch; a policy that "
        "was trained by supervision before does without them, RLOO does as well or better, and "
        "the clip is active for less than 5% of a batch. Predicted: PPO's lead over RLOO falls as "
        "the start gets better, and so does the share of tokens that the clip cuts off."
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
        check(
            SCRATCH in self.levels and max(self.levels) >= WARM,
            f"levels are success rates below 1; {SCRATCH:g} (untrained) and one of {WARM} or more "
            "must be among them.",
        )
        check(len(self.learning_rates) >= 1, "Name learning_rates, one or more.")

    @property
    def policy_config(self) -> Policy:
        """Returns the configuration of policies that read their whole history."""
        return replace(super().policy_config, context="history")

    def cells(self) -> list[Record]:
        return [
            dict(start=level, algorithm=name, rate=rate)
            for level in self.levels
            for name in ALGORITHMS
            for rate in self.learning_rates
        ]

    def records(self, cell: Record) -> list[Record]:
        algorithm = swap(
            algorithms.by_name()[cell["algorithm"]],
            epochs=self.epochs,
            optimizer=Adam(learning_rate=cell["rate"]),
        )
        start = self.start(cell["start"])
        _, entries = training_study.train_policies(
            start, TASK, self.policy_config, algorithm, self.updates, self.problems
        )
        clipped = np.full(self.seeds, np.nan)
        if cell["algorithm"] == "ppo":
            clipped = sum(np.mean([e[name] for e in entries[1:]], axis=0) for name in CLIPPED)
        return training_study.records(
            {
                "success": entries[-1]["eval_success"],
                "began": self.skill(entries[0]),
                "log_odds": self.skill(entries[-1]),
                "clipped": clipped,
            }
        )

    def skill(self, entry: training_study.Entry) -> Float[np.ndarray, " seeds"]:
        """Returns the log odds of a right answer at an evaluation."""
        return log_odds(np.array(entry["eval_return"]), self.problems * TASK.num_turns)

    def start(self, level: float) -> Policies:
        """Returns untrained policies, or clones of an expert with a success rate of `level`."""
        if level == SCRATCH:
            return training_study.fresh(self.policy_config, self.seeds)
        return training_study.clone_policies(
            TASK, self.policy_config, self.seeds, self.clone_updates, noise=noise(level)
        )

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {"success": ".2f", "log_odds": "+.2f", "clipped": ".4f"}
        lines = []
        for rate in self.learning_rates:
            selected = select(records, rate=rate)
            for line in sweep.table(selected, "start", columns, lines="algorithm"):
                lines.append({"learning rate": rate} | line)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        panels = {
            "log_odds": "log odds of a right\nanswer, at the end",
            "lead": "lead over RLOO",
            "clipped": "share of tokens that\nPPO's clip cuts off",
        }
        shown = []
        for level in self.levels:
            for name in ALGORITHMS:
                leads = lead(records, level, name)
                for record, x in zip(better(records, level, name), leads, strict=True):
                    shown.append(record | {"lead": x})
        figure = sweep.figure(
            shown, "start", panels, lines="algorithm", label="success at the start", scale="even"
        )
        return {"warm_start": figure}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        warm = [level for level in self.levels if level >= WARM]
        warm_lead = np.mean([lead(records, level) for level in warm], axis=0)
        clipped = np.mean(
            [sweep.by_seed(better(records, level, "ppo"), "clipped") for level in warm], axis=0
        )
        fewer = {rate: self.fewer_clipped(records, rate) for rate in self.learning_rates}
        each = ", ".join(f"{x.mean():+.4f} at {rate:g}" for rate, x in fewer.items())
        what = f"PPO's lead over RLOO {SCALE}"
        return [
            above_zero(
                "From scratch PPO learns more than RLOO",
                f"{what}, from scratch",
                lead(records, SCRATCH),
            ),
            above_zero(
                "From a warm start RLOO learns more than PPO",
                f"RLOO's lead over PPO {SCALE}, {MEAN}",
                -warm_lead,
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
                f"Share of clipped tokens from scratch, minus {MEAN}, at the same learning rate, "
                "on average over these",
                np.mean(list(fewer.values()), axis=0),
                f"It is {each}.",
            ),
        ]

    def fewer_clipped(self, records: list[Record], rate: float) -> Float[np.ndarray, " seeds"]:
        """Returns how much smaller PPO's share of clipped tokens is from warm starts."""
        share = {
            level: sweep.by_seed(records, "clipped", algorithm="ppo", rate=rate, start=level)
            for level in self.levels
        }
        warm = [share[level] for level in self.levels if level >= WARM]
        return share[SCRATCH] - np.mean(warm, axis=0)


SCALE = "in log odds of a right answer, each at its better learning rate by the mean over seeds"
MEAN = f"the mean over starts of {WARM} or more"


def noise(level: float) -> float:
    """Returns the share of random actions with which the expert has a success rate of `level`."""
    wrong = 1 - level ** (1 / TASK.num_turns)
    return wrong * TASK.modulus / (TASK.modulus - 1)


def better(records: list[Record], level: float, algorithm: str) -> list[Record]:
    """Returns an algorithm's records at the learning rate with the higher mean log odds."""
    selected = select(records, start=level, algorithm=algorithm)
    by_rate = [select(selected, rate=rate) for rate in distinct(selected, "rate")]
    return max(by_rate, key=lambda some: np.mean([r["log_odds"] for r in some]))


def lead(
    records: list[Record], level: float, algorithm: str = "ppo"
) -> Float[np.ndarray, " seeds"]:
    """Returns an algorithm's lead over RLOO per seed, in log odds."""
    own = sweep.by_seed(better(records, level, algorithm), "log_odds")
    return own - sweep.by_seed(better(records, level, "rloo"), "log_odds")


def slope(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Returns the least-squares slope of PPO's lead against the log odds at the start."""
    levels = sorted(distinct(records, "start"))
    began = np.array([sweep.by_seed(better(records, level, "ppo"), "began") for level in levels])
    leads = np.array([lead(records, level) for level in levels])
    pairs = zip(began.T, leads.T, strict=True)
    return np.array([least_squares_slope(x, y) for x, y in pairs])


if __name__ == "__main__":
    console.main(partial(study.run, WarmStart()))
