"""When does a verifier that errs still teach, and what do rewards teach that know nothing?

    python -m experiments.studies.spurious_reward
    python -m experiments.studies.spurious_reward --youden -0.2 0 0.2 --updates 200 --seeds 10

One of a few strategies is right at every problem; the verifier rewards it with one probability and every other with another, and J is the
difference (Youden's). The policies start from a clone of demonstrations that favour one strategy: the right one, or another. With a coin
for a verifier any change of the mean over many seeds is the algorithm's own doing. (The learning rate was chosen on other seeds, so that
J = .2 teaches almost all there is to learn.)
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Any, ClassVar

import matplotlib
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Int
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
RANDOM = {"youden": 0.0, "mean": 0.5}  # a coin
CLONE = 200  # updates of cloning


@config
class Mistaken(Expert):
    """Demonstrates the mode behind the right one."""

    def act(self, task: NoisyVerifier, key, state) -> Int[Array, " A"]:
        """The demonstrated action."""
        return tokens.value((super().act(task, key, state) - tokens.VALUE + 1) % task.num_modes)


PRIORS = {"right": Expert, "wrong": Mistaken}  # who is cloned


@dataclass(frozen=True)
class SpuriousReward(training_study.TrainingStudy):
    """When does a verifier that errs still teach, and what do rewards teach that know nothing? Measures gains by J, and with a coin."""

    seeds: Count = 30
    modes: OneToken = 4
    favoured: Inside = 0.6  # how often the clones choose the mode that their demonstrations favour
    youden: tuple[Annotated[float, Range(-1, 1)], ...] = (
        -0.4,
        -0.2,
        -0.1,
        0.0,
        0.1,
        0.2,
        0.4,
    )  # J: true minus false positive rate
    means: tuple[Probability, ...] = (0.3, 0.5, 0.7)  # of the two rates
    epochs: Count = 4  # passes over a batch, of 4 minibatches each
    learning_rate: Positive = 3e-4
    updates: Count = 100  # on 64 episodes each
    problems: Count = 256
    margin: Positive = 0.02  # of success, within which a gain counts as none

    claim: ClassVar[str] = (
        "Shao et al. (2506.10947): random rewards amplify what a model favours already, by the bias of the clip, so that they help where "
        "that is right, and not without the clip. Rate or Fate? (ICML 2026): the sign of J decides between learning and unlearning. "
        "Predicted: the gain has the sign of J; with a coin its mean is above 0 only where the prior is right and the ratio is clipped."
    )
    headline: ClassVar[str] = "gain"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "prior": "which mode the demonstrations favoured",
        "youden": "J, the rate of rewards for the right mode minus that for another; mean: of the two rates",
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
            "means ± youden / 2 must be probabilities: ask for smaller youden, or means nearer to 0.5.",
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
        coins = [dict(prior=prior, clip=clip) | RANDOM for prior in PRIORS for clip in CLIPS]
        grid = [
            dict(prior="right", clip="clipped", youden=j, mean=m)
            for m in self.means
            for j in self.youden
        ]
        return coins + [cell for cell in grid if cell not in coins]

    def records(self, cell: Record) -> list[Record]:
        j, mean = cell["youden"], cell["mean"]
        task = NoisyVerifier(self.modes, round(mean + j / 2, 6), round(mean - j / 2, 6))
        start = prior(
            cell["prior"],
            self.modes,
            self.favoured,
            self.policy_config,
            self.seeds,
            CLONE if not self.quick else 1,
        )
        after, rows = training_study.train_policies(
            start, task, self.policy_config, self.row(CLIPS[cell["clip"]]), self.updates
        )
        before, now = (
            success(policies, task, self.policy_config, self.problems)
            for policies in (start, after)
        )
        cut = np.mean(
            [np.add(r["clip_fraction_low"], r["clip_fraction_high"]) for r in rows[1:]], axis=0
        )
        return training_study.records({"start": before, "gain": now - before, "clip_active": cut})

    def row(self, clip: float) -> Algorithm:
        """GRPO with several steps on a batch, so that the clip acts."""
        steps = dict(problems=8, attempts=8, epochs=self.epochs, minibatches=4)
        return swap(
            algorithms.GRPO,
            surrogate=ClippedRatio(clip, clip),
            optimizer=Adam(learning_rate=self.learning_rate),
            **steps,
        )

    def lines(self, records: list[Record]) -> list[Record]:
        formats = {"start": ".2f", "gain": "+.3f", "clip_active": ".3f"}
        found = []
        for cell in self.cells():
            own = select(records, **cell)
            columns = {
                k.replace("_", " "): sweep.cell(sweep.by_seed(own, k), how)
                for k, how in formats.items()
            }
            found.append(
                cell | columns | {"gaining": f"{sum(r['gain'] > 0 for r in own)} of {len(own)}"}
            )
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"spurious_reward": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        gain = {
            (p, c): sweep.by_seed(select(records, **RANDOM), "gain", prior=p, clip=c)
            for p in PRIORS
            for c in CLIPS
        }
        return [
            signs(select(records, prior="right", clip="clipped")),
            above_zero(
                "Random rewards help a prior that is right, with the clip",
                COIN.format("gain"),
                gain["right", "clipped"],
            ),
            above_zero(
                "It is the clip that helps it",
                COIN.format(BY_CLIP),
                gain["right", "clipped"] - gain["right", "not clipped"],
            ),
            near_zero(
                "Without the clip random rewards teach nothing",
                COIN.format(BARE),
                gain["right", "not clipped"],
                self.margin,
            ),
            above_zero(
                "Random rewards harm a prior that is wrong, with the clip",
                COIN.format(LOSS),
                -gain["wrong", "clipped"],
            ),
        ]


COIN = "with a coin for a verifier, {}"
BY_CLIP = "the gain of the right prior with the clip minus that without"
BARE = "the gain of the right prior without the clip"
LOSS = "the loss of the wrong prior with the clip"


@cache
def prior(
    name: str, modes: int, favoured: float, policy_config: Policy, seeds: int, updates: int
) -> Policies:
    """Clones of demonstrations that favour one mode; the others are equally likely."""
    noise = (1 - favoured) * modes / (modes - 1)
    row = swap(WarmStart().algorithm, actor=PRIORS[name](noise=noise))
    return training_study.train_policies(
        training_study.fresh(policy_config, seeds),
        NoisyVerifier(modes),
        policy_config,
        row,
        updates,
    )[0]


def success(
    policies: Policies, task: NoisyVerifier, policy_config: Policy, problems: int
) -> Float[np.ndarray, " S"]:
    """The exact probability of the right mode, a mean over problems."""
    return np.exp(
        training_study.expert_log_probs(policies, task, policy_config, problems)[0].sum((2, 3))
    ).mean(1)


def signs(records: list[Record]) -> Verdict:
    """Whether the gain has the sign of J wherever J is not 0."""
    cells = [
        (m, j) for m in distinct(records, "mean") for j in sorted(distinct(records, "youden")) if j
    ]
    signed = np.array(
        [np.sign(j) * sweep.by_seed(records, "gain", mean=m, youden=j) for m, j in cells]
    )
    low, high = together(signed)
    said = "supported" if (low > 0).all() else "falsified" if (high < 0).any() else "inconclusive"
    worst = int(low.argmin()) if len(low) else 0
    mean, j = cells[worst]
    numbers = f"The least is {signed[worst].mean():+.3f} [{low[worst]:+.3f}, {high[worst]:+.3f}], at J = {j:+g} and a mean rate of {mean:g}."
    rule = (
        "The gain times the sign of J lies above 0 at every J but 0 and every mean rate, by intervals over seeds that are right together "
        "in 95% of cases (Bonferroni); falsified if it lies below at one."
    )
    return Verdict(
        "For a right prior, the sign of J decides between learning and unlearning",
        rule,
        said,
        numbers,
    )


def together(
    value: Float[np.ndarray, "cells seeds"],
) -> tuple[Float[np.ndarray, " cells"], Float[np.ndarray, " cells"]]:
    """Ends of the means' t intervals, which are right together in 95% of cases; NaN with one seed."""
    cells, seeds = value.shape
    half = (
        scipy.stats.t.ppf(1 - 0.025 / cells, seeds - 1) * scipy.stats.sem(value, axis=1)
        if seeds > 1
        else np.full(cells, np.nan)
    )
    return value.mean(1) - half, value.mean(1) + half


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Left: gain against J, a line for each mean rate. Right: gain of each seed with a coin, by prior and clip, and the mean's interval."""
    figure, panels = figures.page(1, 2, height=2.8, sharey=True)
    left, right = panels[0]
    grid = select(records, prior="right", clip="clipped")
    means, at = sorted(distinct(grid, "mean")), sorted(distinct(grid, "youden"))
    looks = {mean: figures.styles(means)[mean] for mean in means}
    for mean, look in looks.items():
        figures.bars(left, at, [sweep.by_seed(grid, "gain", mean=mean, youden=j) for j in at], look)
    coins, names = select(records, **RANDOM), [(p, c) for p in PRIORS for c in CLIPS]
    for i, (prior_, clip) in enumerate(names):
        gains = sweep.by_seed(coins, "gain", prior=prior_, clip=clip)
        right.plot(
            i + np.linspace(-0.25, 0.25, len(gains)),
            np.sort(gains),
            ".",
            color="#bbbbbb",
            markersize=4,
        )
        figures.bars(right, [i], [gains], dict(color="black", marker="_", markersize=14))
    figures.ticks(right, range(len(names)), [f"{p} prior,\n{c}" for p, c in names])
    right.tick_params(axis="x", labelsize=7.5)
    left.set(
        xlabel="J: true − false positive rate",
        ylabel="gain in success",
        title="verifier that errs, right prior, clipped",
    )
    right.set(title="coin for a verifier (dots: seeds)")
    for panel in (left, right):
        panel.axhline(0, color=figures.GREY, linewidth=0.8)
    handles = figures.entries(looks, label=lambda mean: f"mean rate of rewards {mean:g}")
    return figures.legend(
        figure, [*handles, figures.interval_legend(len(distinct(records, "seed")))]
    )


if __name__ == "__main__":
    console.main(partial(study.run, SpuriousReward()))
