"""What does the clip do to entropy, when rewards carry no information?

    python -m experiments.studies.clip_entropy
    python -m experiments.studies.clip_entropy --levels 0.05 0.2 --epochs 8 --seeds 10

In noisy_verifier a coin decides the reward, so nothing can be learned. The policies start from a
clone that favours one mode. They take several steps on each batch, so that the ratio of
probabilities leaves the clip. Steps in random directions change the entropy, too, even without a
clip. The effect of a clip is therefore the change of entropy minus that of the same seed without
one. Measured are both, for a clip below, above, or on both sides. The prediction of Park et al.
(arXiv 2509.26114) is that a clip below raises entropy and a clip above lowers it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from agentic_rl import algorithms
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Inside, OneToken, Positive
from agentic_rl.envs.micro import NoisyVerifier
from agentic_rl.losses.surrogates import ClippedRatio
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

NO_CLIP = np.inf
SIDES = {  # whether the ratio is clipped below, and above
    "low": (True, False),
    "high": (False, True),
    "both": (True, True),
}
IN_WORDS = {"low": "below only", "high": "above only", "both": "below and above"}
CLONE_UPDATES = 400  # after 60 the clones chose the favoured mode only a tenth of the time


@dataclass(frozen=True)
class ClipEntropy(training_study.TrainingStudy):
    """What does the clip do to entropy, when rewards know nothing?

    Measures its change beside that without a clip.
    """

    seeds: Count = 20
    modes: OneToken = 16
    favoured: Inside = 0.5  # how often clones choose one mode; the others are equally likely
    levels: tuple[Inside, ...] = (0.1, 0.2, 0.4)  # how far the ratio may go
    learning_rates: tuple[Positive, ...] = (1e-3, 5e-4)
    epochs: Count = 4  # passes over a batch, of 4 minibatches each
    updates: Count = 100  # on 64 episodes each
    problems: Count = 256

    claim: ClassVar[str] = (
        "Park et al. (2509.26114): clip-low raises entropy and clip-high lowers it; with both "
        "alike clip-high dominates, and entropy falls even where rewards are random. Predicted: "
        "the same signs, beside a control without a clip, which loses entropy too."
    )
    headline: ClassVar[str] = "change"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "side": "where the ratio of probabilities is clipped: below 1 - level (low), above 1 + "
        "level (high), or both",
        "change": "of the entropy of a choice, in nats, from the clone to the end of training",
        "beside none": "change minus that of the same seeds without a clip",
        "clipped low, clipped high": "share of tokens whose gradient the clip cut off",
    }
    tiny: ClassVar[dict[str, Any]] = dict(modes=4, levels=(0.2,), updates=2, problems=16, seeds=2)

    def __post_init__(self):
        super().__post_init__()
        check(
            1 / self.modes < self.favoured,
            f"favoured must be above chance ({1 / self.modes:.2f}), not {self.favoured}.",
        )
        check(bool(self.levels), "Name levels, one or more.")
        check(bool(self.learning_rates), "Name learning_rates, one or more.")

    @property
    def policy_config(self) -> Policy:
        return training_study.TINY

    def cells(self) -> list[Record]:
        clips = [("none", NO_CLIP)] + [(side, level) for side in SIDES for level in self.levels]
        return [
            dict(learning_rate=rate, side=side, level=level)
            for rate in self.learning_rates
            for side, level in clips
        ]

    def records(self, cell: Record) -> list[Record]:
        task = NoisyVerifier(self.modes, 0.5, 0.5)
        noise = (1 - self.favoured) * self.modes / (self.modes - 1)
        clone_updates = 1 if self.quick else CLONE_UPDATES
        start = training_study.clone_policies(
            task, self.policy_config, self.seeds, clone_updates, noise=noise
        )
        end, entries = training_study.train_policies(
            start, task, self.policy_config, self.algorithm(**cell), self.updates
        )
        before, after = self.entropy(start, task), self.entropy(end, task)
        columns = {"entropy": before, "change": after - before}
        for side in ("low", "high"):
            clipped = [entry[f"clip_fraction_{side}"] for entry in entries[1:]]
            columns[f"clipped_{side}"] = np.mean(clipped, axis=0)
        return training_study.records(columns)

    def entropy(self, policies: Policies, task: NoisyVerifier) -> Float[np.ndarray, " S"]:
        """Returns the mean entropy of each policy's choice, in nats."""
        _, entropy = training_study.expert_log_probs(
            policies, task, self.policy_config, self.problems
        )
        return entropy.mean((1, 2, 3))

    def algorithm(self, learning_rate: float, side: str, level: float) -> Algorithm:
        """Returns GRPO with several steps on a batch, and a clip on these sides."""
        low, high = (level if clips else NO_CLIP for clips in SIDES.get(side, (False, False)))
        return swap(
            algorithms.GRPO,
            surrogate=ClippedRatio(low, high),
            optimizer=Adam(learning_rate=learning_rate),
            problems=8,
            attempts=8,
            epochs=self.epochs,
            minibatches=4,
        )

    def lines(self, records: list[Record]) -> list[Record]:
        formats = {
            "entropy": ".2f",
            "change": "+.3f",
            "clipped_low": ".3f",
            "clipped_high": ".3f",
        }
        lines = []
        for cell in self.cells():
            of_cell = select(records, **cell)
            means = {
                name.replace("_", " "): sweep.cell(sweep.by_seed(of_cell, name), how)
                for name, how in formats.items()
            }
            effect = sweep.cell(clip_effect(records, **cell), "+.3f")
            lines.append(cell | means | {"beside none": effect})
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"clip_entropy": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        effect = {side: mean_effect(records, side) for side in SIDES}
        both = mean_change(records, "both")
        none = mean_change(records, "none")
        return [
            above_zero(
                "Clip-low raises entropy",
                WHAT.format("with clip-low minus that without a clip"),
                effect["low"],
            ),
            above_zero(
                "Clip-high lowers entropy",
                WHAT.format("without a clip minus that with clip-high"),
                -effect["high"],
            ),
            above_zero(
                "With both alike clip-high dominates",
                WHAT.format("without a clip minus that with both"),
                -effect["both"],
            ),
            above_zero(
                "With both alike entropy falls under random rewards",
                WHAT.format("with both, times -1"),
                -both,
            ),
            above_zero(
                "Without a clip it falls, too", WHAT.format("without a clip, times -1"), -none
            ),
        ]


WHAT = "the change of entropy {}, a mean over levels and learning rates"


def clip_effect(
    records: list[Record], side: str, level: float, learning_rate: float
) -> Float[np.ndarray, " seeds"]:
    """Returns the change of entropy in a cell minus that without a clip."""
    at_rate = select(records, learning_rate=learning_rate)
    clipped = sweep.by_seed(at_rate, "change", side=side, level=level)
    return clipped - sweep.by_seed(at_rate, "change", side="none")


def mean_effect(records: list[Record], side: str) -> Float[np.ndarray, " seeds"]:
    """Returns the mean effect of a clip on this side, over levels and learning rates."""
    return np.mean([clip_effect(records, **cell) for cell in _cells_of(records, side)], axis=0)


def mean_change(records: list[Record], side: str) -> Float[np.ndarray, " seeds"]:
    """Returns the mean change of entropy with this side clipped, over levels and learning rates."""
    cells = _cells_of(records, side)
    return np.mean([sweep.by_seed(records, "change", **cell) for cell in cells], axis=0)


def _cells_of(records: list[Record], side: str) -> list[Record]:
    of_side = select(records, side=side)
    return [
        dict(side=side, level=level, learning_rate=rate)
        for level in distinct(of_side, "level")
        for rate in distinct(of_side, "learning_rate")
    ]


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots each clip's effect on entropy against its level, in a panel for each learning rate."""
    rates = distinct(records, "learning_rate")
    looks = {side: figures.styles(list(SIDES))[side] for side in SIDES}
    figure, panels = figures.page(1, len(rates), height=2.5, sharey=True)
    for panel, rate in zip(panels[0], rates, strict=True):
        for i, side in enumerate(SIDES):
            levels = sorted(distinct(select(records, side=side), "level"))
            effects = [clip_effect(records, side, level, rate) for level in levels]
            figures.bars(panel, levels, effects, looks[side], place=(i, len(SIDES)))
        panel.axhline(0, color=figures.GREY, linewidth=0.8)
        panel.set_xscale("log", base=2)
        figures.ticks(panel, levels)
        panel.set(title=f"learning rate {rate:g}", xlabel="level of the clip")
    panels[0][0].set_ylabel("change of entropy (nats),\nminus that without a clip")
    handles = figures.entries(looks, label=lambda side: f"clipped {IN_WORDS[side]}")
    seeds = figures.interval_legend(len(distinct(records, "seed")))
    return figures.legend(figure, [*handles, seeds])


if __name__ == "__main__":
    console.main(partial(study.run, ClipEntropy()))
