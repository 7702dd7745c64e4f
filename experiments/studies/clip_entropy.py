"""What does the clip do to entropy, when rewards know nothing?

    python -m experiments.studies.clip_entropy
    python -m experiments.studies.clip_entropy --levels 0.05 0.2 --epochs 8 --seeds 10

A coin rewards the answers of noisy_verifier, so that nothing can be learned. The policies start from a clone that favours one mode, and
take several steps on each batch, so that the ratio leaves the clip. Steps in random directions alone change the entropy, too; what the
clip does is therefore its change beside that of the same seed without a clip.
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
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

NONE = np.inf  # no clip
SIDES = {
    "low": (True, False),
    "high": (False, True),
    "both": (True, True),
}  # where the ratio is clipped: below, above
IN_WORDS = {"low": "below only", "high": "above only", "both": "below and above"}
CLONE = 400  # updates of cloning; after 60 the favoured mode was chosen a tenth of the time


@dataclass(frozen=True)
class ClipEntropy(training_study.TrainingStudy):
    """What does the clip do to entropy, when rewards know nothing?

    Measures its change beside that without a clip.
    """

    seeds: Count = 20
    modes: OneToken = 16
    favoured: Inside = 0.5  # how often the clones choose one mode; the others are equally likely
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
        clips = [("none", NONE)] + [(side, level) for side in SIDES for level in self.levels]
        return [
            dict(learning_rate=rate, side=side, level=level)
            for rate in self.learning_rates
            for side, level in clips
        ]

    def records(self, cell: Record) -> list[Record]:
        task, noise = (
            NoisyVerifier(self.modes, 0.5, 0.5),
            (1 - self.favoured) * self.modes / (self.modes - 1),
        )
        start = training_study.clone_policies(
            task, self.policy_config, self.seeds, CLONE if not self.quick else 1, noise=noise
        )
        after, rows = training_study.train_policies(
            start, task, self.policy_config, self.row(**cell), self.updates
        )
        before, now = (
            training_study.expert_log_probs(p, task, self.policy_config, self.problems)[1].mean(
                (1, 2, 3)
            )
            for p in (start, after)
        )
        cut = {
            side: np.mean([r[f"clip_fraction_{side}"] for r in rows[1:]], axis=0)
            for side in ("low", "high")
        }
        return training_study.records(
            {
                "entropy": before,
                "change": now - before,
                "clipped_low": cut["low"],
                "clipped_high": cut["high"],
            }
        )

    def row(self, learning_rate: float, side: str, level: float) -> Algorithm:
        """GRPO with several steps on a batch, and a clip on these sides."""
        low, high = (level if clips else NONE for clips in SIDES.get(side, (False, False)))
        steps = dict(problems=8, attempts=8, epochs=self.epochs, minibatches=4)
        return swap(
            algorithms.GRPO,
            surrogate=ClippedRatio(low, high),
            optimizer=Adam(learning_rate=learning_rate),
            **steps,
        )

    def lines(self, records: list[Record]) -> list[Record]:
        formats, found = (
            {"entropy": ".2f", "change": "+.3f", "clipped_low": ".3f", "clipped_high": ".3f"},
            [],
        )
        for cell in self.cells():
            own = select(records, **cell)
            columns = {
                k.replace("_", " "): sweep.cell(sweep.by_seed(own, k), how)
                for k, how in formats.items()
            }
            found.append(
                cell | columns | {"beside none": sweep.cell(beside(records, **cell), "+.3f")}
            )
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"clip_entropy": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        gap, plain = (
            {side: overall(records, side) for side in SIDES},
            overall(records, "both", control=False),
        )
        alone = np.mean(
            [
                sweep.by_seed(records, "change", side="none", learning_rate=r)
                for r in self.learning_rates
            ],
            axis=0,
        )
        return [
            above_zero(
                "Clip-low raises entropy",
                WHAT.format("with clip-low minus that without a clip"),
                gap["low"],
            ),
            above_zero(
                "Clip-high lowers entropy",
                WHAT.format("without a clip minus that with clip-high"),
                -gap["high"],
            ),
            above_zero(
                "With both alike clip-high dominates",
                WHAT.format("without a clip minus that with both"),
                -gap["both"],
            ),
            above_zero(
                "With both alike entropy falls under random rewards",
                WHAT.format("with both, times -1"),
                -plain,
            ),
            above_zero(
                "Without a clip it falls, too", WHAT.format("without a clip, times -1"), -alone
            ),
        ]


WHAT = "the change of entropy {}, a mean over levels and learning rates"


def beside(
    records: list[Record], side: str, level: float, learning_rate: float
) -> Float[np.ndarray, " seeds"]:
    """The change minus that without a clip."""
    own, without = dict(side=side, level=level), dict(side="none")
    change = [
        sweep.by_seed(records, "change", learning_rate=learning_rate, **where)
        for where in (own, without)
    ]
    return change[0] - change[1]


def overall(records: list[Record], side: str, control: bool = True) -> Float[np.ndarray, " seeds"]:
    """The change with the ratio clipped on this side, a mean over levels and learning rates; minus the control's, or as it is."""
    some = select(records, side=side)
    cells = [
        dict(side=side, level=x, learning_rate=r)
        for x in distinct(some, "level")
        for r in distinct(some, "learning_rate")
    ]
    return np.mean(
        [
            beside(records, **cell) if control else sweep.by_seed(records, "change", **cell)
            for cell in cells
        ],
        axis=0,
    )


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """The change of entropy beside the control against the clip's level, a panel for each learning rate."""
    rates, looks = (
        distinct(records, "learning_rate"),
        {side: figures.styles(list(SIDES))[side] for side in SIDES},
    )
    figure, panels = figures.page(1, len(rates), height=2.5, sharey=True)
    for panel, rate in zip(panels[0], rates, strict=True):
        for i, side in enumerate(SIDES):
            levels = sorted(distinct(select(records, side=side), "level"))
            figures.bars(
                panel,
                levels,
                [beside(records, side, x, rate) for x in levels],
                looks[side],
                place=(i, len(SIDES)),
            )
        panel.axhline(0, color=figures.GREY, linewidth=0.8)
        panel.set_xscale("log", base=2)
        figures.ticks(panel, levels)
        panel.set(title=f"learning rate {rate:g}", xlabel="level of the clip")
    panels[0][0].set_ylabel("change of entropy (nats),\nminus that without a clip")
    handles = figures.entries(looks, label=lambda side: f"clipped {IN_WORDS[side]}")
    return figures.legend(
        figure, [*handles, figures.interval_legend(len(distinct(records, "seed")))]
    )


if __name__ == "__main__":
    console.main(partial(study.run, ClipEntropy()))
