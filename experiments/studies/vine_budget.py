"""Are values from forked episodes better than a critic's, and worth what the episodes cost?

    python -m experiments.studies.vine_budget
    python -m experiments.studies.vine_budget --tasks key_door --counts 1 4 --seeds 2

VinePPO (2410.01679) plays `count` more episodes from every state it came to, and takes their mean
return as the state's value. It reports that a critic ranks steps near chance and that such values
do not. Here these values, and those of a critic fitted to rewards to go, are compared with the
exact ones (experiments/ground_truth/testbed.py). Measured are their error, how often they put two
actions from the same state in the right order, and the signal-to-noise ratio of the gradient, per
update and per environment step. The rules compare the critic's order with chance, and the signal of
forks with that of RLOO.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agentic_rl import envs
from agentic_rl.config import check, named
from agentic_rl.config.ranges import Count, Inside
from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.types import Value
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact
from agentic_rl.values.forks import Forks
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.ground_truth import quality, testbed
from experiments.harness import credit_study, study
from experiments.reports import figures, sweep
from experiments.reports.display_names import words
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

NEAR_CHANCE = 0.6  # of pairs in the right order; chance is .5
RLOO, CRITIC = "leave_one_out", "critic"


@dataclass(frozen=True)
class VineBudget(credit_study.CreditStudy):
    """Are values from forked episodes better than a critic's, and worth what the episodes cost?

    Compares both with the exact values.
    """

    tasks: tuple[str, ...] = ("key_door", "graph_nav")
    level: Inside = 0.5  # success of the policies
    counts: tuple[Count, ...] = (1, 2, 4, 8)  # forks of each state

    claim: ClassVar[str] = (
        "VinePPO (2410.01679): critics of language models rank steps near chance, values from "
        "forks do not, so that fewer updates are needed. Predicted, after a tabular pilot: a "
        "critic on these small tasks ranks well above chance; 1 fork has less signal per update "
        "than RLOO, 4 have more; per environment step forks do not pay."
    )
    legend: ClassVar[dict[str, str]] = credit_study.LEGEND | {
        "value error": "mean distance of the values from the exact ones",
        "right order": "share of pairs of actions from one state that the values put in the right "
        "order; of actions after which it goes on",
        "signal to noise": "of a batch's gradient, as a ratio; below 0 where noise hides it",
        "per step": "the same, that RLOO's number of environment steps would buy",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        tasks=("key_door",), counts=(1, 4), seeds=2, replicates=4, problems=2, attempts=2
    )

    def __post_init__(self):
        super().__post_init__()
        credit_study.check_levels((self.level,))
        check(len(self.counts) >= 1, "counts are numbers of forks, one or more.")
        for name in self.tasks:
            look_up("task", name, named(envs))

    def cells(self) -> list[Record]:
        return [dict(task=task, seed=seed) for task in self.tasks for seed in range(self.seeds)]

    def records(self, cell: Record) -> list[Record]:
        task = named(envs)[cell["task"]]()
        bed = self.make_testbed(task, (self.level,), self.level, cell["seed"])
        exact, _ = testbed.values(bed, Exact(bed.capacity))
        rloo = testbed.score(bed, testbed.algorithm_with(bed, LeaveOneOut()))
        without_values = {"forks": 0, "value_error": np.nan, "right_order": np.nan}
        records = [{"estimator": RLOO} | without_values | rloo]
        for name, source in value_sources(self.counts).items():
            conditions = {"estimator": name, "forks": getattr(source, "count", 0)}
            records.append(conditions | score_values(bed, source, exact))
        for record in records:
            record["per_step"] = record["signal_to_noise"] * rloo["env_steps"] / record["env_steps"]
        return records

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {
            "value_error": ".3f",
            "right_order": ".2f",
            "key_accuracy": ".2f",
            "expected_cosine": ".2f",
            "signal_to_noise": ".2f",
            "per_step": ".3f",
        }
        return sweep.table(records, "task", columns)

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"vine_budget": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        verdicts = []
        for task in self.tasks:
            verdicts += judge_task(select(records, task=task), task, self.counts)
        return verdicts


# Values


def forks(count: int) -> str:
    """Returns the name of a number of forks.

    >>> forks(1), forks(4)
    ('1 fork', '4 forks')
    """
    return f"{count} fork{'s' * (count > 1)}"


def value_sources(counts: tuple[int, ...]) -> dict[str, Any]:
    """Returns the critic, and forks in these numbers, by name."""
    return {CRITIC: Critic()} | {forks(count): Forks(count) for count in counts}


def is_continued(bed: testbed.Testbed) -> Bool[np.ndarray, "R M"]:
    """Returns which tokens belong to an action that does not end the episode.

    After the other actions no value is asked for: the reward alone puts them in order.
    """
    mask = np.asarray(bed.trajectory.mask)
    alive = mask.any(-1, keepdims=True)
    later = np.concatenate([alive[..., 1:, :], np.zeros_like(alive[..., :1, :])], axis=-2)
    return (mask & later).reshape(len(mask), -1)


def score_values(bed: testbed.Testbed, source: Any, exact: Value) -> Record:
    """Returns the values' error and order, and the scores of the credit made of them.

    The credit is reward + next value − value.
    """
    value, steps = testbed.values(bed, source)
    order = quality.right_order(value.after, exact.after, is_continued(bed), bed.state, bed.spread)
    error = float(np.abs(value.before - exact.before)[bed.mask].mean())
    credit = np.where(bed.mask, value.after - value.before, 0.0)
    return {"value_error": error, "right_order": order} | testbed.score_credit(bed, credit, steps)


# Rules


def judge_task(records: list[Record], task: str, counts: tuple[int, ...]) -> list[Verdict]:
    """Returns the verdicts on one task."""
    verdicts = [judge_critic(records, task)]
    if 1 in counts:
        claim = f"On {task}, 1 fork has less signal per update than RLOO"
        what = "Signal over noise per update, RLOO minus 1 fork"
        verdicts.append(above_zero(claim, what, -lead(records, 1, "signal_to_noise")))
    if 4 in counts:
        claim = f"On {task}, 4 forks have more signal per update than RLOO"
        what = "Signal over noise per update, 4 forks minus RLOO"
        verdicts.append(above_zero(claim, what, lead(records, 4, "signal_to_noise")))
    middle = counts[len(counts) // 2]
    claim = f"On {task}, forks are worth their episodes"
    what = f"Signal over noise at RLOO's environment steps, {forks(middle)} minus RLOO"
    verdicts.append(above_zero(claim, what, lead(records, middle, "per_step")))
    return verdicts


def judge_critic(records: list[Record], task: str) -> Verdict:
    """Judges whether the critic puts pairs of actions in the right order near chance."""
    right_order = sweep.by_seed(records, "right_order", estimator=CRITIC)
    return above_zero(
        f"On {task}, a critic ranks steps near chance",
        f"How far below {NEAR_CHANCE} the share of pairs of actions is that the critic puts in the "
        "right order",
        NEAR_CHANCE - right_order,
    )


def lead(records: list[Record], count: int, column: str) -> Float[np.ndarray, " seeds"]:
    """Returns how much higher a column is with this number of forks than with RLOO."""
    own = sweep.by_seed(records, column, estimator=forks(count))
    return own - sweep.by_seed(records, column, estimator=RLOO)


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots three measures against the number of forks, with a colour for each task.

    Dotted lines show the level of the critic or of RLOO.
    """
    tasks = distinct(records, "task")
    figure, panels = figures.page(1, 3, height=2.8)
    looks = {task: figures.styles(tasks)[task] for task in tasks}
    for panel, column in zip(panels[0], PANELS, strict=True):
        plot_column(panel, records, column, looks)
    figures.fit(panels[0][:1], "share")
    figures.fit(panels[0][1:])
    seeds = figures.interval_legend(len(distinct(records, "seed")), mean="signal: geometric mean; ")
    return figures.legend(figure, [*figures.entries(looks), seeds])


def plot_column(panel: Axes, records: list[Record], column: str, looks: dict[str, dict]) -> None:
    """Plots a column against the number of forks, a line for each task."""
    title, baseline, kind = PANELS[column]
    for i, (task, look) in enumerate(looks.items()):
        selected = select(records, task=task)
        counts = sorted({r["forks"] for r in selected} - {0})
        each = [sweep.by_seed(selected, column, forks=count) for count in counts]
        figures.bars(panel, counts, each, look, kind, (i, len(looks)))
        level = sweep.by_seed(selected, column, estimator=baseline)
        mean = figures.interval([level], kind)[0]
        panel.axhline(mean, color=look["color"], linestyle=":")
    panel.set_xscale("log", base=2)
    figures.ticks(panel, counts)
    panel.set(title=title, xlabel=f"forks (dotted: {words(baseline)})")
    if kind == "ratio":
        figures.log_scale(panel)


PANELS = {  # title, what the dotted line shows, and the kind of number
    "right_order": ("pairs of actions in the\nright order (share)", CRITIC, "share"),
    "signal_to_noise": ("signal over noise,\nper update", RLOO, "ratio"),
    "per_step": ("signal over noise,\nat RLOO's env steps", RLOO, "ratio"),
}


if __name__ == "__main__":
    console.main(partial(study.run, VineBudget()))
