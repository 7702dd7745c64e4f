"""Does a reward for every right step beat one for the outcome, and can it be hacked?

    python -m experiments.studies.process_reward
    python -m experiments.studies.process_reward --horizons 4 16 64 --errors 0.3 --seeds 10

Lightman et al. (2305.20050) and others find that rewarding steps beats rewarding outcomes; Jia et
al. (2502.10581) argue that outcomes are hardly harder to learn from. In running_sum an episode
succeeds if every answer follows from the one before. A process reward model judges each answer,
either without errors or always wrong about the same share of them. All arms go on from the same
clones, whose answers are right equally often at every horizon, and differ only in the reward.

On frozen_lake a process reward is hacked: an agent that is paid in every turn for the value of its
place does best to stay. Payment for progress, by potential-based shaping (Ng et al. 1999), cannot
be collected that way. Measured are success, the skill of a step and the length of episodes. The
rules ask for a gain by process rewards that grows with the horizon, and for harm by the hacked
reward alone.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float
from matplotlib.axes import Axes
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
OUTCOME, PROCESS, MISJUDGED = "outcome", "process", "misjudged"
PLACE, PROGRESS = "place", "progress"
MARGIN = 0.05  # of success, within which shaping does no harm


@dataclass(frozen=True)
class ProcessReward(training_study.TrainingStudy):
    """Does a reward for every right step beat one for the outcome, and can it be hacked?

    Compares both at rising horizons, and hacks a process reward.
    """

    horizons: tuple[Count, ...] = (4, 8, 16)  # turns of an episode
    accuracy: Inside = 0.8  # of the clones' answers
    errors: Probability = 0.1  # share of the answers that are misjudged
    lake_noise: Probability = 0.5  # of the demonstrations on the lake
    updates: Count = 40
    clone_updates: Count = 240  # of cloning; after 60 some policies had not learned to add yet
    learning_rate: Positive = 1e-3  # of RL

    claim: ClassVar[str] = (
        "Lightman et al. (2305.20050), Uesato et al. (2211.14275) and DeepSeekMath (2402.03300): "
        "rewarding steps beats rewarding outcomes. Against it Jia et al. (2502.10581): outcomes "
        "are hardly harder to learn from. Predicted: the gain is positive and grows with the "
        "horizon; to be paid for one's place is hacked by staying, potential-based shaping (Ng et "
        "al. 1999) is not."
    )
    legend: ClassVar[dict[str, str]] = training_study.LEGEND | {
        "reward": "outcome; process: and 1/T for every right answer; misjudged: the same, by a "
        "judge who errs; place: and what the place is worth where each turn led; progress: and by "
        "how much that grew",
        "accuracy": "of a turn on the way to success, before the first error",
        "length": "turns of an episode",
        "labels": "of steps, that were asked for",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        horizons=(2, 4), clone_updates=1, updates=1, problems=64, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        check(
            len(self.horizons) >= 2,
            "Name two horizons or more: a slope needs two numbers of turns.",
        )
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
        algorithm = self.algorithm(cell["reward"], cell["turns"])
        policies, entries = training_study.train_policies(
            start, task, self.policy_config, algorithm, self.updates, self.problems
        )
        first, last = entries[0], entries[-1]
        labels = np.subtract(policies.budget["expert_labels"], start.budget["expert_labels"])
        return training_study.records(
            {
                "began": first["eval_success"],
                "success": last["eval_success"],
                "accuracy": last["eval_per_turn_accuracy"],
                "log_odds": log_odds(np.array(last["eval_per_turn_accuracy"]), self.problems),
                "length": last["eval_turns"],
                "labels": labels,
            }
        )

    def task(self, name: str) -> tuple[Environment, float]:
        """Returns a task, and the noise of its demonstrations."""
        if name == "running_sum":
            return SUM, (1 - self.accuracy) / (1 - 1 / SUM.modulus)
        return LAKE, self.lake_noise

    def algorithm(self, reward: str, turns: int) -> Algorithm:
        """Returns on-policy RLOO with a reward by name.

        Each turn is credited with the rewards after it, minus what the other attempts got from
        that turn on.
        """
        rewards_by_name = {
            OUTCOME: rewards.Outcome(),
            PROCESS: Judged(1 / turns),
            MISJUDGED: Judged(1 / turns, self.errors),
            PLACE: Place(),
            PROGRESS: rewards.Shaped(),
        }
        return swap(
            RLOO,
            credit=LeaveOneOutToGo(),
            reward=rewards_by_name[reward],
            minibatches=1,
            optimizer=Adam(learning_rate=self.learning_rate),
        )

    def lines(self, records: list[Record]) -> list[Record]:
        formats = {
            "began": ".2f",
            "success": ".2f",
            "accuracy": ".3f",
            "length": ".1f",
            "labels": ",.0f",
        }
        lines = []
        for cell in self.cells():
            selected = select(records, **cell)
            means = {
                name: sweep.cell(sweep.by_seed(selected, name), how)
                for name, how in formats.items()
            }
            lines.append(cell | means)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"process_reward": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        of_sum = select(records, task="running_sum")
        longest = max(self.horizons)
        at_longest = f"at {longest} turns, success by {{}} rewards minus that by outcomes"
        grows = "the slope against log2 of the horizon of the gain by process rewards in {}"
        return [
            above_zero(
                "Process rewards beat outcomes",
                at_longest.format("process"),
                gain(of_sum, PROCESS, longest),
            ),
            above_zero(
                "The gain in success grows with the horizon",
                grows.format("success"),
                slope(of_sum, "success"),
            ),
            above_zero(
                "The gain in the skill of a step grows, too",
                grows.format("log odds of a right answer"),
                slope(of_sum, "log_odds"),
            ),
            above_zero(
                f"They beat them even with {self.errors:.0%} misjudged",
                at_longest.format("misjudged"),
                gain(of_sum, MISJUDGED, longest),
            ),
            *judge_lake(select(records, task="frozen_lake")),
        ]


# Rewards


@config
class Judged(rewards.Process):
    """The process reward of a judge that always errs about the same answers to an observation."""

    errors: Probability = 0.0  # share of the answers

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """Returns the trajectory with a reward for each turn that is judged right."""
        right = metrics.matches_expert(trajectory) ^ misjudged_turns(trajectory, self.errors)
        paid = right & trajectory.mask.any(-1)
        return trajectory._replace(reward=trajectory.reward + self.weight * paid)


def misjudged_turns(
    trajectory: Trajectory, errors: Float[Array, ""] | float
) -> Bool[Array, "N G T"]:
    """Returns which turns are misjudged; only the observation and the action decide."""

    def draw(text):
        key = jax.random.key(0)
        for token in text:
            key = jax.random.fold_in(key, token)
        return jax.random.uniform(key)

    text = jnp.concatenate([trajectory.observation, trajectory.action], axis=-1)
    return jnp.apply_along_axis(draw, -1, text) < errors


@config
class Place(rewards.Outcome):
    """r + weight · Φ': the value of the place where a turn led, paid in every turn anew."""

    weight: Finite = 1.0  # weight of the place's value in the reward

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """Returns the trajectory with the next place's value added; after the last turn it is 0."""
        potential = jnp.where(trajectory.mask.any(-1), trajectory.potential, 0.0)
        after = jnp.concatenate([potential[..., 1:], jnp.zeros_like(potential[..., :1])], axis=-1)
        return trajectory._replace(reward=trajectory.reward + self.weight * after)


# Rules


def gain(
    records: list[Record], reward: str, turns: int, column: str = "success"
) -> Float[np.ndarray, " seeds"]:
    """Returns how much more a reward brings than outcomes do, per seed."""
    selected = select(records, turns=turns)
    by_reward = sweep.by_seed(selected, column, reward=reward)
    return by_reward - sweep.by_seed(selected, column, reward=OUTCOME)


def slope(records: list[Record], column: str) -> Float[np.ndarray, " seeds"]:
    """Returns the least-squares slope of process rewards' gain against log2 of the horizon."""
    horizons = sorted(distinct(records, "turns"))
    gains = np.array([gain(records, PROCESS, turns, column) for turns in horizons])
    return least_squares_slope(np.log2(horizons), gains)


def judge_lake(records: list[Record]) -> list[Verdict]:
    """Judges whether payment for the place is hacked on the lake, and payment for progress not."""
    outcome, place, progress = (
        sweep.by_seed(records, "success", reward=name) for name in (OUTCOME, PLACE, PROGRESS)
    )
    longer = gain(records, PLACE, LAKE.num_turns, "length")
    return [
        above_zero(
            "To be paid for one's place is hacked",
            "On the lake, success by outcomes minus that by place",
            outcome - place,
            f"Episodes are {longer.mean():+.1f} turns longer.",
        ),
        above_zero(
            "To be paid for progress is not",
            f"{MARGIN} of success plus that by progress minus that by outcomes, on the lake",
            MARGIN + progress - outcome,
        ),
    ]


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots the gain by each process reward against the horizon, and each seed on the lake."""
    names = distinct(records, "reward")
    looks = {name: figures.styles(names)[name] for name in names}
    figure, panels = figures.page(1, 3, height=2.7)
    *gains, lake = panels[0]
    for panel, (column, title) in zip(gains, TITLES.items(), strict=True):
        plot_gains(panel, select(records, task="running_sum"), column, looks)
        panel.set(xlabel="turns of running sum", title=title)
    plot_lake(lake, select(records, task="frozen_lake"), looks)
    handles = figures.entries(looks, label=lambda name: IN_WORDS[name])
    seeds = figures.interval_legend(len(distinct(records, "seed")))
    return figures.legend(figure, [*handles, seeds])


def plot_gains(panel: Axes, records: list[Record], column: str, looks: dict[str, dict]) -> None:
    """Plots the gain in a column against the horizon, with intervals over paired seeds."""
    turns = sorted(distinct(records, "turns"))
    panel.axhline(0, color=figures.GREY, linewidth=1)
    for i, name in enumerate((PROCESS, MISJUDGED)):
        each = [gain(records, name, t, column) for t in turns]
        figures.bars(panel, turns, each, looks[name], place=(i, 2))
    panel.set_xscale("log", base=2)
    figures.ticks(panel, turns)


def plot_lake(panel: Axes, records: list[Record], looks: dict[str, dict]) -> None:
    """Plots each seed's success against its episodes' length; outcomes have larger markers."""
    for name, look in looks.items():
        size = 9 if name == OUTCOME else 5
        hollow = {"linestyle": "", "markerfacecolor": "none", "markersize": size}
        for record in select(records, reward=name):
            panel.plot(record["length"], record["success"], **look | hollow)
    title = "success on the\nfrozen lake, each seed"
    panel.set(xlabel="turns of an episode", title=title, xlim=(0, None))
    figures.fit([panel], "share")


TITLES = {
    "success": "gain in success\nover the outcome's",
    "log_odds": "gain in log odds\nof a right answer",
}
IN_WORDS = {
    OUTCOME: "outcome",
    PROCESS: "outcome and right steps",
    MISJUDGED: "the same, steps misjudged",
    PLACE: "outcome and place",
    PROGRESS: "outcome and progress",
}


if __name__ == "__main__":
    console.main(partial(study.run, ProcessReward()))
