"""Which parts of DAPO's recipe help, and what is left of that at as many environment steps?

    python -m experiments.studies.dapo_recipe
    python -m experiments.studies.dapo_recipe --updates 120 --epochs 4 --seeds 10

The recipe adds four parts to GRPO:

- a higher upper clip,
- the mean over tokens instead of over episodes,
- dynamic sampling: groups whose attempts all fared alike are drawn again, and are charged,
- a soft penalty on episodes that use up their turns.

Arms add one part to GRPO, or leave one out of all four. A part's effect on success is the mean of
what it adds and of what is lost without it. The task is frozen_lake, whose episodes end at the
goal, in a hole, or when time is over. Arms start from clones that seldom succeed. Two arms, without
and with dynamic sampling, also start from clones that succeed more often. The rules are about
effects after equally many updates, and after equally many environment steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from agentic_rl.algorithms import GRPO, Algorithm, swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Positive, Probability
from agentic_rl.envs.frozen_lake import FrozenLake
from agentic_rl.losses.surrogates import ClippedRatio
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.rewards import SoftOverlong
from agentic_rl.selection import Informative
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

LAKE = FrozenLake(size=3, num_turns=8)
POLICY_CONFIG = Policy(width=32, layers=2, heads=2, mlp=64, context="markov")
SAMPLING = "dynamic sampling"
PARTS = {
    "higher clip": dict(surrogate=ClippedRatio(clip_high=0.28)),
    "token mean": dict(aggregation="token_mean"),
    SAMPLING: dict(selection=Informative()),
    "soft overlong": dict(reward=SoftOverlong()),
}
NONE, ALL = "GRPO", "DAPO"


@dataclass(frozen=True)
class DapoRecipe(training_study.TrainingStudy):
    """Which parts of DAPO's recipe help, and what is left of it at as many environment steps?

    Adds and leaves out each.
    """

    hard: Probability = 0.9  # noise of demonstrations from which clones seldom succeed
    easy: Probability = 0.4  # noise of demonstrations from which they succeed more often
    updates: Count = 60  # of each arm, on 128 episodes each (more with dynamic sampling)
    clone_updates: Count = 60  # of cloning
    looks: Count = 6  # evaluations during training
    epochs: Count = 2  # passes over each batch, so that the clip matters
    learning_rate: Positive = 1e-3

    claim: ClassVar[str] = (
        "DAPO (2503.14476, table 1, cumulative): each part adds 1 to 8 points to GRPO's 30, "
        "dynamic sampling most. Predicted: dynamic sampling helps per update, the more, the "
        "fewer groups are informative; the environment steps it discards use up most of that."
    )
    legend: ClassVar[dict[str, str]] = training_study.LEGEND | {
        "arm": f"+: GRPO with a part; -: {ALL}, that is all parts, without it",
        "env steps": "of the RL, with those discarded",
        "at as many steps": "success when as many environment steps were used as by the "
        "thriftiest arm in the end",
        "informative": "share of the groups that were trained on whose attempts did not all "
        "fare alike",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        clone_updates=1, updates=1, looks=1, epochs=1, problems=64, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        check(self.easy < self.hard, f"hard ({self.hard}) must be above easy ({self.easy}).")
        check(
            self.updates % self.looks == 0,
            f"looks must divide updates ({self.updates}), not {self.looks}.",
        )

    @property
    def policy_config(self) -> Policy:
        return training_study.TINY if self.quick else POLICY_CONFIG

    def cells(self) -> list[Record]:
        arms = [NONE, *(f"+ {part}" for part in PARTS), *(f"- {part}" for part in PARTS), ALL]
        hard = [dict(start="hard", arm=arm) for arm in arms]
        return hard + [dict(start="easy", arm=arm) for arm in (NONE, f"+ {SAMPLING}")]

    def records(self, cell: Record) -> list[Record]:
        noise = getattr(self, cell["start"])
        start = training_study.clone_policies(
            LAKE, self.policy_config, self.seeds, self.clone_updates, noise=noise
        )
        algorithm = swap(
            recipe(cell["arm"]),
            problems=16,
            epochs=self.epochs,
            optimizer=Adam(learning_rate=self.learning_rate),
        )
        every = self.updates // self.looks
        _, entries = training_study.train_policies(
            start, LAKE, self.policy_config, algorithm, self.updates, self.problems, every
        )
        uninformative = np.mean([entry["zero_variance_groups"] for entry in entries[1:]], axis=0)
        records = []
        for entry in entries[::every]:
            columns = {
                "success": entry["eval_success"],
                "env_steps": np.subtract(entry["env_steps"], start.budget["env_steps"]),
                "informative": 1 - uninformative,
            }
            for record in training_study.records(columns):
                records.append({"update": entry["step"]} | record)
        return records

    def lines(self, records: list[Record]) -> list[Record]:
        formats = {"success": ".2f", "env_steps": ",.0f", "informative": ".2f"}
        lines = []
        for cell in self.cells():
            last = select(records, **cell, update=self.updates)
            means = {
                name.replace("_", " "): sweep.cell(sweep.by_seed(last, name), how)
                for name, how in formats.items()
            }
            at_equal_steps = sweep.cell(success_at_equal_steps(records, **cell), ".2f")
            lines.append(cell | means | {"at as many steps": at_equal_steps})
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"dapo_recipe": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        whole_recipe = "the success of all parts minus that of none"
        gain, gain_at_steps = (
            measure(records, "hard", ALL) - measure(records, "hard", NONE)
            for measure in (final_success, success_at_equal_steps)
        )
        steps = "at as many environment steps"
        sampling_at_steps = effect(records, SAMPLING, success_at_equal_steps)
        return [
            *(
                above_zero(
                    f"{part} helps",
                    f"The effect of {part} on success",
                    effect(records, part, final_success),
                )
                for part in PARTS
            ),
            above_zero("The recipe beats GRPO", f"At as many updates, {whole_recipe}", gain),
            above_zero(
                f"The recipe beats GRPO {steps}", f"A{steps[1:]}, {whole_recipe}", gain_at_steps
            ),
            above_zero(
                f"{SAMPLING} helps {steps}",
                f"A{steps[1:]}, the effect of {SAMPLING}",
                sampling_at_steps,
            ),
            judge_sampling(records),
        ]


def judge_sampling(records: list[Record]) -> Verdict:
    """Returns the verdict on whether dynamic sampling helps more where it has more to do."""
    gain, informative = {}, {}
    for start in ("hard", "easy"):
        with_sampling = final_success(records, start, f"+ {SAMPLING}")
        gain[start] = with_sampling - final_success(records, start, NONE)
        of_grpo = select(records, start=start, arm=NONE)
        informative[start] = np.mean([r["informative"] for r in of_grpo])
    few, many = sorted(informative, key=informative.get)
    return above_zero(
        f"{SAMPLING} helps more where fewer groups are informative",
        f"What {SAMPLING} adds to GRPO from the start, hard or easy, where fewer groups are "
        "informative, minus that from the other",
        gain[few] - gain[many],
        f"Informative are {informative[few]:.0%} of the groups from the {few} start, "
        f"{informative[many]:.0%} from the {many} one.",
    )


def recipe(arm: str) -> Algorithm:
    """Returns GRPO with the parts of an arm, such as "+ higher clip"."""
    sign, name = arm[0], arm[2:]
    if arm == NONE:
        parts = []
    elif arm == ALL:
        parts = list(PARTS)
    elif sign == "+":
        parts = [name]
    else:
        parts = [part for part in PARTS if part != name]
    changes = {}
    for part in parts:
        changes |= PARTS[part]
    return swap(GRPO, **changes)


def final_success(records: list[Record], start: str, arm: str) -> Float[np.ndarray, " seeds"]:
    """Returns the success after the last update."""
    last = max(distinct(records, "update"))
    return sweep.by_seed(records, "success", start=start, arm=arm, update=last)


def success_at_equal_steps(
    records: list[Record], start: str, arm: str
) -> Float[np.ndarray, " seeds"]:
    """Returns the success at as many environment steps as the thriftiest arm took in the end.

    It is interpolated linearly between evaluations.
    """
    from_start = select(records, start=start)
    last = select(from_start, update=max(distinct(from_start, "update")))
    totals = [sweep.by_seed(last, "env_steps", arm=a) for a in distinct(from_start, "arm")]
    success = []
    for seed, steps in zip(sorted(distinct(from_start, "seed")), np.min(totals, axis=0)):
        curve = sorted(select(from_start, arm=arm, seed=seed), key=lambda r: r["update"])
        x, y = ([r[column] for r in curve] for column in ("env_steps", "success"))
        success.append(np.interp(steps, x, y))
    return np.array(success)


def effect(records: list[Record], part: str, measure: Callable) -> Float[np.ndarray, " seeds"]:
    """Returns the mean of what a part adds to GRPO and of what DAPO loses without it.

    Args: measure: `final_success` or `success_at_equal_steps`.
    """
    added = measure(records, "hard", f"+ {part}") - measure(records, "hard", NONE)
    lost = measure(records, "hard", ALL) - measure(records, "hard", f"- {part}")
    return (added + lost) / 2


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots each part's effect, and success against environment steps."""
    figure, panels = figures.page(1, 2, height=2.6, width_ratios=(1, 1.2))
    left, right = panels[0]
    effects = plot_effects(left, records)
    names = {
        NONE: NONE,
        f"+ {SAMPLING}": f"{NONE} with {SAMPLING}",
        f"- {SAMPLING}": f"{ALL} without {SAMPLING}",
        ALL: ALL,
    }
    looks = {arm: figures.styles(list(names))[arm] for arm in names}
    plot_curves(right, select(records, start="hard"), looks)
    seeds = figures.interval_legend(len(distinct(records, "seed")), "band")
    handles = [*figures.entries(effects), *figures.entries(looks, names.get), seeds]
    return figures.legend(figure, handles)


def plot_effects(panel: Axes, records: list[Record]) -> dict[str, dict]:
    """Plots the effect of each part in two ways, and returns the look of each."""
    measures = {"updates": final_success, "environment steps": success_at_equal_steps}
    looks = {}
    for i, (what, measure) in enumerate(measures.items()):
        look = dict(color="black", marker="sx"[i], linestyle="")
        effects = [effect(records, part, measure) for part in PARTS]
        figures.bars(panel, range(len(PARTS)), effects, look, place=(i, 2), across=True)
        looks[f"effect at as many {what}"] = look
    panel.axvline(0, color=figures.GREY, linewidth=0.8)
    panel.set_yticks(range(len(PARTS)), list(PARTS))
    panel.set(xlabel="effect on success", ylim=(len(PARTS) - 0.5, -0.5))
    return looks


def plot_curves(panel: Axes, records: list[Record], looks: dict[str, dict]) -> None:
    """Plots success against environment steps: means over seeds."""
    updates = sorted(distinct(records, "update"))
    for arm, look in looks.items():
        of_arm = select(records, arm=arm)
        steps = [sweep.by_seed(of_arm, "env_steps", update=u) for u in updates]
        success = [sweep.by_seed(of_arm, "success", update=u) for u in updates]
        figures.band(panel, np.mean(steps, axis=1), success, look, "share")
    figures.fit([panel], "share")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.set(xlabel="environment steps", ylabel="success")


if __name__ == "__main__":
    console.main(partial(study.run, DapoRecipe()))
