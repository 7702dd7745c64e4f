"""Does a reward for every right step beat one for the outcome, the more the longer the episode? And can it be hacked?

    python -m experiments.studies.process_reward
    python -m experiments.studies.process_reward --horizons 4 16 64 --errors 0.3 --seeds 10

In running_sum an episode succeeds if every answer follows from the one before. A process reward model judges each answer, without errors
or always wrong about the same share of them. All arms go on from the same clones, whose answers are as often right at every horizon, and
differ in the reward alone. On frozen_lake a process reward is hacked: who is paid in every turn for how good its place is does best to
stay; who is paid for progress, by potential-based shaping, does not.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float
from matplotlib.figure import Figure

from agentic_rl import metrics, rewards
from agentic_rl.algorithms import RLOO, Algorithm, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Finite, Inside, Positive, Probability
from agentic_rl.credit.group import LeaveOneOutToGo
from agentic_rl.envs.frozen_lake import FrozenLake
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.optimizer import Adam
from agentic_rl.types import Environment, Trajectory
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, least_squares_slope, log_odds, select
from experiments.reports.verdicts import above_zero

SUM, LAKE = RunningSum(modulus=8), FrozenLake(size=3, num_turns=10)
OUTCOME, PROCESS, MISJUDGED, PLACE, PROGRESS = (
    "outcome",
    "process",
    "misjudged",
    "place",
    "progress",
)
MARGIN = 0.05  # of success, within which shaping does no harm


@dataclass(frozen=True)
class ProcessReward(training_study.TrainingStudy):
    """Does a reward for every right step beat one for the outcome, the more the longer the episode? And hacks one."""

    horizons: tuple[Count, ...] = (4, 8, 16)  # turns of an episode
    accuracy: Inside = 0.8  # of the clones' answers
    errors: Probability = 0.1  # share of the answers that are misjudged
    lake_noise: Probability = 0.5  # of the demonstrations on the lake
    updates: Count = 40
    clone_updates: Count = 240  # of cloning; after 60 some policies had not learned to add yet
    learning_rate: Positive = 1e-3  # of RL

    claim: ClassVar[str] = (
        "Lightman et al. (2305.20050), Uesato et al. (2211.14275) and DeepSeekMath (2402.03300): rewarding steps beats rewarding outcomes. "
        "Against it Jia et al. (2502.10581): outcomes are hardly harder to learn from. Predicted: the gain is positive and grows with the "
        "horizon; to be paid for one's place is hacked by staying, potential-based shaping (Ng et al. 1999) is not."
    )
    legend: ClassVar[dict[str, str]] = training_study.LEGEND | {
        "reward": "outcome; process: and 1/T for every right answer; misjudged: the same, by a judge who errs; place: and what "
        "the place is worth where each turn led; progress: and by how much that grew",
        "accuracy": "of a turn on the way to success, before the first error",
        "length": "turns of an episode",
        "labels": "of steps, that were asked for",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        horizons=(2, 4), clone_updates=1, updates=1, problems=64, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        check(len(self.horizons) >= 2, "horizons are two numbers of turns or more.")
        check(
            1 / SUM.modulus < self.accuracy, f"accuracy must be above chance, not {self.accuracy}."
        )

    def cells(self) -> list[Record]:
        steps = [
            dict(task="running_sum", turns=t, reward=r)
            for t in self.horizons
            for r in (OUTCOME, PROCESS, MISJUDGED)
        ]
        return steps + [
            dict(task="frozen_lake", turns=LAKE.num_turns, reward=r)
            for r in (OUTCOME, PLACE, PROGRESS)
        ]

    def records(self, cell: Record) -> list[Record]:
        task, noise = self.task(cell["task"])
        start = training_study.clone_policies(
            task, self.policy_config, self.seeds, self.clone_updates, noise=noise
        )
        task = replace(task, num_turns=cell["turns"])
        policies, rows = training_study.train_policies(
            start,
            task,
            self.policy_config,
            self.row(cell["reward"], cell["turns"]),
            self.updates,
            self.problems,
        )
        labels = np.subtract(policies.budget["expert_labels"], start.budget["expert_labels"])
        success, accuracy, length = (
            rows[-1][f"eval_{name}"] for name in ("success", "per_turn_accuracy", "turns")
        )
        skill = log_odds(np.array(accuracy), self.problems)
        found = {
            "began": rows[0]["eval_success"],
            "success": success,
            "accuracy": accuracy,
            "log_odds": skill,
        }
        return training_study.records(found | {"length": length, "labels": labels})

    def task(self, name: str) -> tuple[Environment, float]:
        """It, and the noise of its demonstrations."""
        return (
            (SUM, (1 - self.accuracy) / (1 - 1 / SUM.modulus))
            if name == "running_sum"
            else (LAKE, self.lake_noise)
        )

    def row(self, name: str, turns: int) -> Algorithm:
        """On-policy; each turn is credited with what comes after it, minus what the other attempts got from there on."""
        reward = {
            OUTCOME: rewards.Outcome(), PROCESS: Judged(1 / turns), MISJUDGED: Judged(1 / turns, self.errors), PLACE: Place(),
            PROGRESS: rewards.Shaped(),
        }[name]  # fmt: skip
        return swap(
            RLOO,
            credit=LeaveOneOutToGo(),
            reward=reward,
            minibatches=1,
            optimizer=Adam(learning_rate=self.learning_rate),
        )

    def lines(self, records: list[Record]) -> list[Record]:
        formats, found = (
            {
                "began": ".2f",
                "success": ".2f",
                "accuracy": ".3f",
                "length": ".1f",
                "labels": ",.0f",
            },
            [],
        )
        for cell in self.cells():
            own = select(records, **cell)
            found.append(
                cell
                | {name: sweep.cell(sweep.by_seed(own, name), how) for name, how in formats.items()}
            )
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"process_reward": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        most, own = max(self.horizons), select(records, task="running_sum")
        at_most, lake = (
            f"at {most} turns, success by {{}} rewards minus that by outcomes",
            select(records, task="frozen_lake"),
        )
        success = {
            name: sweep.by_seed(lake, "success", reward=name) for name in (OUTCOME, PLACE, PROGRESS)
        }
        longer = sweep.by_seed(lake, "length", reward=PLACE) - sweep.by_seed(
            lake, "length", reward=OUTCOME
        )
        grows = "the slope against log2 of the horizon of the gain by process rewards in {}"
        return [
            above_zero(
                "Process rewards beat outcomes", at_most.format("process"), gain(own, PROCESS, most)
            ),
            above_zero(
                "The gain in success grows with the horizon",
                grows.format("success"),
                slope(own, "success"),
            ),
            above_zero(
                "The gain in the skill of a step grows, too",
                grows.format("log odds of a right answer"),
                slope(own, "log_odds"),
            ),
            above_zero(
                f"They beat them even with {self.errors:.0%} misjudged",
                at_most.format("misjudged"),
                gain(own, MISJUDGED, most),
            ),
            above_zero(
                "To be paid for one's place is hacked",
                "On the lake, success by outcomes minus that by place",
                success[OUTCOME] - success[PLACE],
                f"Episodes are {longer.mean():+.1f} turns longer.",
            ),
            above_zero(
                "To be paid for progress is not",
                f"{MARGIN} of success plus that by progress minus that by outcomes, on the lake",
                MARGIN + success[PROGRESS] - success[OUTCOME],
            ),
        ]


@config
class Judged(rewards.Process):
    """The process reward of a judge who errs, always about the same answers to the same observation."""

    errors: Probability = 0.0  # share of them

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """With a reward for each turn that is judged right."""
        right = (
            metrics.matches_expert(trajectory) ^ misjudged_turns(trajectory, self.errors)
        ) & trajectory.mask.any(-1)
        return trajectory._replace(reward=trajectory.reward + self.weight * right)


def misjudged_turns(
    trajectory: Trajectory, errors: Float[Array, ""] | float
) -> Bool[Array, "N G T"]:
    """Which turns are, by a number drawn for what was observed and answered."""

    def draw(said):
        key = jax.random.key(0)
        for token in said:
            key = jax.random.fold_in(key, token)
        return jax.random.uniform(key)

    return (
        jnp.apply_along_axis(
            draw, -1, jnp.concatenate([trajectory.observation, trajectory.action], axis=-1)
        )
        < errors
    )


@config
class Place(rewards.Outcome):
    """r + weight · Φ': what the place where a turn led is worth, in every turn anew."""

    weight: Finite = 1.0

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """With the value of the next place; behind the last turn there is none."""
        potential = jnp.where(trajectory.mask.any(-1), trajectory.potential, 0.0)
        after = jnp.concatenate([potential[..., 1:], jnp.zeros_like(potential[..., :1])], axis=-1)
        return trajectory._replace(reward=trajectory.reward + self.weight * after)


def gain(
    records: list[Record], reward: str, turns: int, column: str = "success"
) -> Float[np.ndarray, " seeds"]:
    """By a reward over outcomes."""
    own = select(records, turns=turns)
    return sweep.by_seed(own, column, reward=reward) - sweep.by_seed(own, column, reward=OUTCOME)


def slope(records: list[Record], column: str) -> Float[np.ndarray, " seeds"]:
    """Of the gain by process rewards against log2 of the horizon, by least squares."""
    horizons = sorted(distinct(records, "turns"))
    gains = np.array([gain(records, PROCESS, t, column) for t in horizons])
    return least_squares_slope(np.log2(horizons), gains)


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """The gain by each process reward against the horizon, Student's 95% interval over paired seeds; of the lake, each seed."""
    rewards_ = distinct(records, "reward")
    looks = {name: figures.styles(rewards_)[name] for name in rewards_}
    own = select(records, task="running_sum")
    turns = sorted(distinct(own, "turns"))
    figure, panels = figures.page(1, 3, height=2.7)
    *gains, lake = panels[0]
    for panel, (column, title) in zip(gains, TITLES.items(), strict=True):
        panel.axhline(0, color=figures.GREY, linewidth=1)
        for i, name in enumerate((PROCESS, MISJUDGED)):
            figures.bars(
                panel, turns, [gain(own, name, t, column) for t in turns], looks[name], place=(i, 2)
            )
        panel.set_xscale("log", base=2)
        figures.ticks(panel, turns)
        panel.set(xlabel="turns of running sum", title=title)
    for r in (r for name in rewards_ for r in select(records, task="frozen_lake", reward=name)):
        nested = {
            "linestyle": "",
            "markerfacecolor": "none",
            "markersize": 9 if r["reward"] == OUTCOME else 5,
        }
        lake.plot(r["length"], r["success"], **looks[r["reward"]] | nested)
    lake.set(
        xlabel="turns of an episode", title="success on the\nfrozen lake, each seed", xlim=(0, None)
    )
    figures.fit([lake], "share")
    handles = figures.entries(looks, label=lambda name: IN_WORDS[name])
    return figures.legend(
        figure, [*handles, figures.interval_legend(len(distinct(records, "seed")))]
    )


TITLES = {
    "success": "gain in success\nover the outcome's",
    "log_odds": "gain in log odds\nof a right answer",
}
IN_WORDS = {
    OUTCOME: "outcome", PROCESS: "outcome and right steps", MISJUDGED: "the same, steps misjudged", PLACE: "outcome and place",
    PROGRESS: "outcome and progress",
}  # fmt: skip


if __name__ == "__main__":
    console.main(partial(study.run, ProcessReward()))
