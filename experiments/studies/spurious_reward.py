"""When does a verifier that errs still teach, and what do rewards teach that know nothing?

    python -m experiments.studies.spurious_reward
    python -m experiments.studies.spurious_reward --youden -0.2 0 0.2 --updates 200 --seeds 10

Shao et al. (2506.10947) find that random rewards amplify what a model favours already, through the
bias of the clip. Here one of a few strategies, or modes, is right at every problem. The verifier
rewards the right mode with one probability and every other with another; J is the difference
(Youden's index). The policies start from a clone of demonstrations that favour one mode: the right
one, or another. Measured is the gain in the probability of the right mode. If the verifier is a
coin, any change of the mean over many seeds is the algorithm's own doing.

The rules ask for gains with the sign of J. With a coin, they ask for a gain if the prior is right
and the ratio is clipped, a loss if the prior is wrong, and no change without the clip. (The
learning rate was chosen on other seeds, so that J = .2 teaches almost all there is to learn.)
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, ClassVar

import matplotlib
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agentic_rl import algorithms, tokens
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Inside, OneToken, Positive, Probability, Range
from agentic_rl.envs.micro import NoisyVerifier
from agentic_rl.losses.surrogates import ClippedRatio
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.training.run import WarmStart
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero, near_zero

CLIPS = {"clipped": 0.2, "not clipped": np.inf}  # how far the ratio may go to either side
COIN = {"youden": 0.0, "mean": 0.5}  # a verifier that knows nothing
CLONE = 200  # updates of cloning


@config
class Mistaken(Expert):
    """Demonstrates the mode that follows the right one."""

    def act(self, task: NoisyVerifier, key, state) -> Int[Array, " A"]:
        """Returns the demonstrated action."""
        right = super().act(task, key, state) - tokens.VALUE
        return tokens.value((right + 1) % task.num_modes)


PRIORS = {"right": Expert, "wrong": Mistaken}  # whose demonstrations are cloned


@dataclass(frozen=True)
class SpuriousReward(training_study.TrainingStudy):
    """When does a verifier that errs still teach, and what do rewards teach that know nothing?

    Measures gains by J, and with a coin.
    """

    seeds: Count = 30
    modes: OneToken = 4
    favoured: Inside = 0.6  # how often the clones choose the mode that their demonstrations favour
    # J: true minus false positive rate
    youden: tuple[Annotated[float, Range(-1, 1)], ...] = (-0.4, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4)
    means: tuple[Probability, ...] = (0.3, 0.5, 0.7)  # of the two rates of rewards
    epochs: Count = 4  # passes over a batch, of 4 minibatches each
    learning_rate: Positive = 3e-4
    updates: Count = 100  # on 64 episodes each
    problems: Count = 256
    margin: Positive = 0.02  # of success, within which a gain counts as none

    claim: ClassVar[str] = (
        "Shao et al. (2506.10947): random rewards amplify what a model favours already, by the "
        "bias of the clip, so that they help where that is right, and not without the clip. Rate "
        "or Fate? (ICML 2026): the sign of J decides between learning and unlearning. Predicted: "
        "the gain has the sign of J; with a coin its mean is above 0 only where the prior is right "
        "and the ratio is clipped."
    )
    headline: ClassVar[str] = "gain"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "prior": "which mode the demonstrations favoured",
        "youden": "J, the rate of rewards for the right mode minus that for another; mean: of the "
        "two rates",
        "start, gain": "probability of the right mode before RL, and how much more it is after it",
        "gaining": "seeds with a gain above 0",
        "clip active": "share of tokens whose gradient it cut off",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        youden=(-0.4, 0.0, 0.4), means=(0.5,), updates=2, problems=16, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        check(
            1 / self.modes < self.favoured,
            f"favoured must be above chance ({1 / self.modes:.2f}), not {self.favoured}.",
        )
        rates = [m + s * j / 2 for m in self.means for j in self.youden for s in (-1, 1)]
        check(
            min(rates) >= 0 and max(rates) <= 1,
            "means ± youden / 2 must be probabilities: choose smaller youden, or means nearer to "
            "0.5.",
        )
        check(
            0.0 in self.youden and 0.5 in self.means,
            "A coin has youden 0 and mean 0.5: leave them in.",
        )
        check(
            min(self.youden) < 0 < max(self.youden),
            "The sign of J needs youden on both sides of 0.",
        )

    @property
    def policy_config(self) -> Policy:
        return training_study.TINY

    def cells(self) -> list[Record]:
        coins = [dict(prior=prior, clip=clip) | COIN for prior in PRIORS for clip in CLIPS]
        grid = [
            dict(prior="right", clip="clipped", youden=j, mean=m)
            for m in self.means
            for j in self.youden
        ]
        return coins + [cell for cell in grid if cell not in coins]

    def records(self, cell: Record) -> list[Record]:
        j, mean = cell["youden"], cell["mean"]
        task = NoisyVerifier(self.modes, round(mean + j / 2, 6), round(mean - j / 2, 6))
        start = clone_prior(
            cell["prior"],
            self.modes,
            self.favoured,
            self.policy_config,
            self.seeds,
            1 if self.quick else CLONE,
        )
        algorithm = self.algorithm(CLIPS[cell["clip"]])
        trained, entries = training_study.train_policies(
            start, task, self.policy_config, algorithm, self.updates
        )
        before, after = (
            success(policies, task, self.policy_config, self.problems)
            for policies in (start, trained)
        )
        cut_off = [np.add(e["clip_fraction_low"], e["clip_fraction_high"]) for e in entries[1:]]
        return training_study.records(
            {"start": before, "gain": after - before, "clip_active": np.mean(cut_off, axis=0)}
        )

    def algorithm(self, clip: float) -> Algorithm:
        """Returns GRPO with several steps on each batch, so that the clip has an effect."""
        return swap(
            algorithms.GRPO,
            surrogate=ClippedRatio(clip, clip),
            optimizer=Adam(learning_rate=self.learning_rate),
            problems=8,
            attempts=8,
            epochs=self.epochs,
            minibatches=4,
        )

    def lines(self, records: list[Record]) -> list[Record]:
        formats = {"start": ".2f", "gain": "+.3f", "clip_active": ".3f"}
        lines = []
        for cell in self.cells():
            selected = select(records, **cell)
            means = {
                name.replace("_", " "): sweep.cell(sweep.by_seed(selected, name), how)
                for name, how in formats.items()
            }
            gaining = sum(r["gain"] > 0 for r in selected)
            lines.append(cell | means | {"gaining": f"{gaining} of {len(selected)}"})
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"spurious_reward": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        coins = select(records, **COIN)
        right, bare, wrong = (
            sweep.by_seed(coins, "gain", prior=prior, clip=clip)
            for prior, clip in (
                ("right", "clipped"),
                ("right", "not clipped"),
                ("wrong", "clipped"),
            )
        )
        with_coin = "with a coin for a verifier, the {}"
        return [
            judge_signs(select(records, prior="right", clip="clipped")),
            above_zero(
                "Random rewards help a prior that is right, with the clip",
                "with a coin for a verifier, gain",
                right,
            ),
            above_zero(
                "It is the clip that helps it",
                with_coin.format("gain of the right prior with the clip minus that without"),
                right - bare,
            ),
            near_zero(
                "Without the clip random rewards teach nothing",
                with_coin.format("gain of the right prior without the clip"),
                bare,
                self.margin,
            ),
            above_zero(
                "Random rewards harm a prior that is wrong, with the clip",
                with_coin.format("loss of the wrong prior with the clip"),
                -wrong,
            ),
        ]


@cache
def clone_prior(
    name: str, modes: int, favoured: float, policy_config: Policy, seeds: int, updates: int
) -> Policies:
    """Returns clones of demonstrations that favour one mode; the others are equally likely."""
    noise = (1 - favoured) * modes / (modes - 1)
    algorithm = swap(WarmStart().algorithm, actor=PRIORS[name](noise=noise))
    start = training_study.fresh(policy_config, seeds)
    task = NoisyVerifier(modes)
    return training_study.train_policies(start, task, policy_config, algorithm, updates)[0]


def success(
    policies: Policies, task: NoisyVerifier, policy_config: Policy, problems: int
) -> Float[np.ndarray, " S"]:
    """Returns the exact probability of the right mode, as a mean over problems."""
    log_prob, _ = training_study.expert_log_probs(policies, task, policy_config, problems)
    return np.exp(log_prob.sum((2, 3))).mean(1)


# Rules


def judge_signs(records: list[Record]) -> Verdict:
    """Judges whether the gain has the sign of J wherever J is not 0."""
    cells = [
        (mean, j)
        for mean in distinct(records, "mean")
        for j in sorted(distinct(records, "youden"))
        if j
    ]
    signed = np.array(
        [np.sign(j) * sweep.by_seed(records, "gain", mean=mean, youden=j) for mean, j in cells]
    )
    low, high = joint_intervals(signed)
    outcome = "inconclusive"
    if (low > 0).all():
        outcome = "supported"
    elif (high < 0).any():
        outcome = "falsified"
    worst = int(low.argmin())
    mean, j = cells[worst]
    evidence = (
        f"The least is {signed[worst].mean():+.3f} [{low[worst]:+.3f}, {high[worst]:+.3f}], "
        f"at J = {j:+g} and a mean rate of {mean:g}."
    )
    rule = (
        "The gain times the sign of J lies above 0 at every J but 0 and every mean rate, by "
        "intervals over seeds that are right together in 95% of cases (Bonferroni); falsified if "
        "it lies below at one."
    )
    claim = "For a right prior, the sign of J decides between learning and unlearning"
    return Verdict(claim, rule, outcome, evidence)


def joint_intervals(
    value: Float[np.ndarray, "cells seeds"],
) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
    """Returns the ends of the means' t intervals, which are all right in 95% of cases (Bonferroni).

    They are NaN with one seed.
    """
    cells, seeds = value.shape
    half = np.full(cells, np.nan)
    if seeds > 1:
        half = scipy.stats.t.ppf(1 - 0.025 / cells, seeds - 1) * scipy.stats.sem(value, axis=1)
    return value.mean(1) - half, value.mean(1) + half


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots the gain against J for each mean rate (left), and the gain with a coin (right)."""
    figure, panels = figures.page(1, 2, height=2.8, sharey=True)
    left, right = panels[0]
    looks = plot_gain_against_j(left, select(records, prior="right", clip="clipped"))
    plot_coins(right, select(records, **COIN))
    left.set(
        xlabel="J: true − false positive rate",
        ylabel="gain in success",
        title="verifier that errs, right prior, clipped",
    )
    right.set(title="coin for a verifier (dots: seeds)")
    for panel in (left, right):
        panel.axhline(0, color=figures.GREY, linewidth=0.8)
    handles = figures.entries(looks, label=lambda mean: f"mean rate of rewards {mean:g}")
    seeds = figures.interval_legend(len(distinct(records, "seed")))
    return figures.legend(figure, [*handles, seeds])


def plot_gain_against_j(panel: Axes, records: list[Record]) -> dict[float, dict]:
    """Plots a line for each mean rate, and returns the looks of the lines."""
    means, at = sorted(distinct(records, "mean")), sorted(distinct(records, "youden"))
    looks = {mean: figures.styles(means)[mean] for mean in means}
    for mean, look in looks.items():
        each = [sweep.by_seed(records, "gain", mean=mean, youden=j) for j in at]
        figures.bars(panel, at, each, look)
    return looks


def plot_coins(panel: Axes, records: list[Record]) -> None:
    """Plots the gain of each seed by prior and clip, and the mean's interval."""
    names = [(prior, clip) for prior in PRIORS for clip in CLIPS]
    for i, (prior, clip) in enumerate(names):
        gains = sweep.by_seed(records, "gain", prior=prior, clip=clip)
        x = i + np.linspace(-0.25, 0.25, len(gains))
        panel.plot(x, np.sort(gains), ".", color="#bbbbbb", markersize=4)
        figures.bars(panel, [i], [gains], dict(color="black", marker="_", markersize=14))
    figures.ticks(panel, range(len(names)), [f"{prior} prior,\n{clip}" for prior, clip in names])
    panel.tick_params(axis="x", labelsize=7.5)


if __name__ == "__main__":
    console.main(partial(study.run, SpuriousReward()))
