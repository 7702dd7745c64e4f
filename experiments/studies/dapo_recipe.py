"""Which parts of DAPO's recipe help, and what is left of it at as many environment steps?

    python -m experiments.studies.dapo_recipe
    python -m experiments.studies.dapo_recipe --updates 120 --epochs 4 --seeds 10

Four parts are added to GRPO one at a time, and left out of all four one at a time: a higher upper clip, the mean over tokens, dynamic
sampling (groups whose attempts all fared alike are drawn again, and charged), and a soft penalty on episodes that fill their turns. A
part's effect is the mean of what it adds and of what is missed without it. The task is frozen_lake, whose episodes end at the goal, in a
hole or when time is over, from clones that seldom succeed and, for dynamic sampling alone, from others that succeed more often.
"""

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
SIZE = Policy(width=32, layers=2, heads=2, mlp=64, context="markov")
SAMPLING = "dynamic sampling"
PARTS = {
    "higher clip": dict(surrogate=ClippedRatio(clip_high=0.28)), "token mean": dict(aggregation="token_mean"),
    SAMPLING: dict(selection=Informative()), "soft overlong": dict(reward=SoftOverlong()),
}  # fmt: skip
NONE, ALL = "GRPO", "DAPO"


@dataclass(frozen=True)
class DapoRecipe(training_study.TrainingStudy):
    """Which parts of DAPO's recipe help, and what is left of it at as many environment steps?

    Adds and leaves out each.
    """

    hard: Probability = 0.9  # noise of the demonstrations, from which clones succeed seldom
    easy: Probability = 0.4  # and more often
    updates: Count = 60  # of each arm, on 128 episodes each, and what dynamic sampling draws again
    clone_updates: Count = 60  # of cloning
    looks: Count = 6  # evaluations on the way
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
        return training_study.TINY if self.quick else SIZE

    def cells(self) -> list[Record]:
        arms_ = [NONE, *map("+ {}".format, PARTS), *map("- {}".format, PARTS), ALL]
        return [dict(start="hard", arm=arm) for arm in arms_] + [
            dict(start="easy", arm=arm) for arm in (NONE, f"+ {SAMPLING}")
        ]

    def records(self, cell: Record) -> list[Record]:
        start = training_study.clone_policies(
            LAKE,
            self.policy_config,
            self.seeds,
            self.clone_updates,
            noise=getattr(self, cell["start"]),
        )
        row = swap(
            recipe(cell["arm"]),
            problems=16,
            epochs=self.epochs,
            optimizer=Adam(learning_rate=self.learning_rate),
        )
        rows = training_study.train_policies(
            start,
            LAKE,
            self.policy_config,
            row,
            self.updates,
            self.problems,
            self.updates // self.looks,
        )[1]
        informative, found = 1 - np.mean([r["zero_variance_groups"] for r in rows[1:]], axis=0), []
        for r in rows[:: self.updates // self.looks]:
            steps = np.subtract(r["env_steps"], start.budget["env_steps"])
            columns = {"success": r["eval_success"], "env_steps": steps, "informative": informative}
            found += [{"update": r["step"]} | record for record in training_study.records(columns)]
        return found

    def lines(self, records: list[Record]) -> list[Record]:
        found = []
        for cell in self.cells():
            last = select(records, **cell, update=self.updates)
            columns = {"success": ".2f", "env_steps": ",.0f", "informative": ".2f"}
            line = {
                name.replace("_", " "): sweep.cell(sweep.by_seed(last, name), how)
                for name, how in columns.items()
            }
            found.append(
                cell
                | line
                | {"at as many steps": sweep.cell(success_at_equal_steps(records, **cell), ".2f")}
            )
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"dapo_recipe": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        both = {
            ALL: "the success of all parts minus that of none",
            SAMPLING: f"the effect of {SAMPLING}",
        }
        of_all = {
            how: how(records, "hard", ALL) - how(records, "hard", NONE)
            for how in (score, success_at_equal_steps)
        }
        more = {
            at: score(records, at, f"+ {SAMPLING}") - score(records, at, NONE)
            for at in ("hard", "easy")
        }
        told = {
            at: np.mean([r["informative"] for r in select(records, start=at, arm=NONE)])
            for at in more
        }
        few, many = sorted(told, key=told.get)
        steps = "at as many environment steps"
        return [
            *(
                above_zero(
                    f"{part} helps",
                    f"The effect of {part} on success",
                    effect(records, part, score),
                )
                for part in PARTS
            ),
            above_zero("The recipe beats GRPO", f"At as many updates, {both[ALL]}", of_all[score]),
            above_zero(
                f"The recipe beats GRPO {steps}",
                f"A{steps[1:]}, {both[ALL]}",
                of_all[success_at_equal_steps],
            ),
            above_zero(
                f"{SAMPLING} helps {steps}",
                f"A{steps[1:]}, {both[SAMPLING]}",
                effect(records, SAMPLING, success_at_equal_steps),
            ),
            above_zero(
                f"{SAMPLING} helps more where fewer groups are informative",
                f"What {SAMPLING} adds to GRPO from the start, hard or easy, where fewer groups "
                "are informative, minus that from the other",
                more[few] - more[many],
                f"Informative are {told[few]:.0%} of the groups from the {few} start, "
                f"{told[many]:.0%} from the {many} one.",
            ),
        ]


def recipe(arm: str) -> Algorithm:
    """GRPO with the parts of an arm."""
    sign, name = arm[0], arm[2:]
    chosen = {NONE: (), ALL: PARTS}.get(
        arm, [name] if sign == "+" else [part for part in PARTS if part != name]
    )
    return swap(GRPO, **{k: v for part in chosen for k, v in PARTS[part].items()})


def score(records: list[Record], start: str, arm: str) -> Float[np.ndarray, " seeds"]:
    """Success at the end."""
    return sweep.by_seed(
        records, "success", start=start, arm=arm, update=max(distinct(records, "update"))
    )


def success_at_equal_steps(
    records: list[Record], start: str, arm: str
) -> Float[np.ndarray, " seeds"]:
    """Success when as many environment steps were used as by the thriftiest arm in the end, on the line between evaluations."""
    own = select(records, start=start)
    last = max(distinct(own, "update"))
    least = np.min(
        [sweep.by_seed(own, "env_steps", arm=a, update=last) for a in distinct(own, "arm")], axis=0
    )
    curves = [
        sorted(select(own, arm=arm, seed=s), key=lambda r: r["update"])
        for s in sorted(distinct(own, "seed"))
    ]
    return np.array(
        [
            np.interp(x, *([r[k] for r in c] for k in ("env_steps", "success")))
            for x, c in zip(least, curves, strict=True)
        ]
    )


def effect(records: list[Record], part: str, score) -> Float[np.ndarray, " seeds"]:
    """Of a part: the mean of what it adds to GRPO and of what DAPO loses without it."""
    at = {arm: score(records, "hard", arm) for arm in (NONE, f"+ {part}", f"- {part}", ALL)}
    return (at[f"+ {part}"] - at[NONE] + at[ALL] - at[f"- {part}"]) / 2


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Each part's effect, and success on the way: means over seeds with Student's 95% interval."""
    figure, panels = figures.page(1, 2, height=2.6, width_ratios=(1, 1.2))
    left, right = panels[0]
    shown = {
        f"effect at as many {what}": how
        for what, how in (("updates", score), ("environment steps", success_at_equal_steps))
    }
    effects = {
        name: dict(color="black", marker="sx"[i], linestyle="") for i, name in enumerate(shown)
    }
    for i, (name, how) in enumerate(shown.items()):
        figures.bars(
            left,
            range(len(PARTS)),
            [effect(records, part, how) for part in PARTS],
            effects[name],
            place=(i, 2),
            across=True,
        )
    left.axvline(0, color=figures.GREY, linewidth=0.8)
    left.set_yticks(range(len(PARTS)), list(PARTS))
    left.set(xlabel="effect on success", ylim=(len(PARTS) - 0.5, -0.5))
    arms_ = {
        NONE: NONE,
        f"+ {SAMPLING}": f"{NONE} with {SAMPLING}",
        f"- {SAMPLING}": f"{ALL} without {SAMPLING}",
        ALL: ALL,
    }
    looks = {arm: figures.styles(list(arms_))[arm] for arm in arms_}
    curves(right, select(records, start="hard"), looks)
    seeds = figures.interval_legend(len(distinct(records, "seed")), "band")
    return figures.legend(
        figure, [*figures.entries(effects), *figures.entries(looks, arms_.get), seeds]
    )


def curves(panel: Axes, records: list[Record], looks: dict[str, dict]) -> None:
    """Success against environment steps, means over seeds."""
    updates = sorted(distinct(records, "update"))
    for arm, look in looks.items():
        steps, success = (
            [sweep.by_seed(records, k, arm=arm, update=u) for u in updates]
            for k in ("env_steps", "success")
        )
        figures.band(panel, np.mean(steps, axis=1), success, look, "share")
    figures.fit([panel], "share")
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.set(xlabel="environment steps", ylabel="success")


if __name__ == "__main__":
    console.main(partial(study.run, DapoRecipe()))
