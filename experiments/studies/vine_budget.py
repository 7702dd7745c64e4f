"""Are values from playing on better than a critic's, and worth the episodes that they cost?

    python -m experiments.studies.vine_budget
    python -m experiments.studies.vine_budget --tasks key_door --counts 1 4 --seeds 2

VinePPO goes on `count` times from every state it came to, and takes the mean return as the state's value. Here these values, and those of a
critic fitted to rewards to go, are held against the exact ones: how far off they are, how often they put two actions from the same state
in the right order, and how much signal the gradient has, per update and per environment step (experiments/ground_truth/testbed.py).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Bool
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
    """Are values from playing on better than a critic's, and worth their episodes? Holds both against the exact values."""

    tasks: tuple[str, ...] = ("key_door", "graph_nav")
    level: Inside = 0.5  # success of the policies
    counts: tuple[Count, ...] = (1, 2, 4, 8)  # forks of each state

    claim: ClassVar[str] = (
        "VinePPO (2410.01679): critics of language models rank steps near chance, values from forks do not, so that fewer updates are "
        "needed. Predicted, after a tabular pilot: a critic on these small tasks ranks well above chance; 1 fork has less signal per "
        "update than RLOO, 4 have more; per environment step forks do not pay."
    )
    legend: ClassVar[dict[str, str]] = credit_study.LEGEND | {
        "value error": "mean distance of the values from the exact ones",
        "right order": "share of pairs of actions from one state that the values put in the right order; of actions after which it goes on",
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
        bed = self.make_testbed(
            named(envs)[cell["task"]](), (self.level,), self.level, cell["seed"]
        )
        true, _ = testbed.values(bed, Exact(bed.capacity))
        plain = testbed.score(bed, testbed.algorithm_with(bed, LeaveOneOut()))
        found = [
            {"estimator": RLOO, "forks": 0, "value_error": np.nan, "right_order": np.nan} | plain
        ]
        for name, source in sources(self.counts).items():
            found.append(
                {"estimator": name, "forks": getattr(source, "count", 0)}
                | score_values(bed, source, true)
            )
        return [
            r | {"per_step": r["signal_to_noise"] * plain["env_steps"] / r["env_steps"]}
            for r in found
        ]

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {
            "value_error": ".3f", "right_order": ".2f", "key_accuracy": ".2f", "expected_cosine": ".2f",
            "signal_to_noise": ".2f", "per_step": ".3f",
        }  # fmt: skip
        return sweep.table(records, "task", columns)

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"vine_budget": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return [
            verdict
            for task in self.tasks
            for verdict in verdicts(select(records, task=task), task, self.counts)
        ]


def sources(counts: tuple[int, ...]) -> dict[str, Any]:
    """Values by name."""
    return {CRITIC: Critic()} | {f"{k} fork{'s' * (k > 1)}": Forks(k) for k in counts}


def goes_on(bed: testbed.Testbed) -> Bool[np.ndarray, "R M"]:
    """Which tokens end an action that does not end the episode: elsewhere the reward alone puts actions in order, no value is asked."""
    mask = np.asarray(bed.trajectory.mask)
    alive = mask.any(-1, keepdims=True)
    later = np.concatenate([alive[..., 1:, :], np.zeros_like(alive[..., :1, :])], axis=-2)
    return (mask & later).reshape(len(mask), -1)


def score_values(bed: testbed.Testbed, source: Any, true: Value) -> Record:
    """How far values are off, how often they put two actions in the right order, and the credit reward + next value − value."""
    value, steps = testbed.values(bed, source)
    order = quality.right_order(value.after, true.after, goes_on(bed), bed.state, bed.spread)
    error = float(np.abs(value.before - true.before)[bed.mask].mean())
    return {"value_error": error, "right_order": order} | testbed.score_credit(
        bed, np.where(bed.mask, value.after - value.before, 0.0), steps
    )


def verdicts(records: list[Record], task: str, counts: tuple[int, ...]) -> list[Verdict]:
    """On one task."""
    of = lambda name, column: sweep.by_seed(records, column, estimator=name)  # noqa: E731
    fork = lambda k: f"{k} fork{'s' * (k > 1)}"  # noqa: E731
    found = [
        above_zero(
            f"On {task}, a critic ranks steps near chance",
            f"How far below {NEAR_CHANCE} the share of pairs of actions is that the critic puts in the right order",
            NEAR_CHANCE - of(CRITIC, "right_order"),
        )
    ]
    for k, more, sign in ((1, "less", -1), (4, "more", 1)):
        if k in counts:
            gap = of(fork(k), "signal_to_noise") - of(RLOO, "signal_to_noise")
            what = (
                f"Signal over noise per update, {fork(k)} minus RLOO"
                if sign > 0
                else f"Signal over noise per update, RLOO minus {fork(k)}"
            )
            found.append(
                above_zero(
                    f"On {task}, {fork(k)} {'have' if k > 1 else 'has'} {more} signal per update than RLOO",
                    what,
                    sign * gap,
                )
            )
    middle = counts[len(counts) // 2]
    gap = of(fork(middle), "per_step") - of(RLOO, "per_step")
    what = f"Signal over noise at RLOO's environment steps, {fork(middle)} minus RLOO"
    return [*found, above_zero(f"On {task}, forks are worth their episodes", what, gap)]


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Against the number of forks, a colour for each task; dotted: what the critic, or RLOO, has."""
    tasks, (figure, axes) = distinct(records, "task"), figures.page(1, 3, height=2.8)
    looks = {task: figures.styles(tasks)[task] for task in tasks}
    for panel, (column, (title, other, kind)) in zip(axes[0], PANELS.items(), strict=True):
        for i, task in enumerate(tasks):
            some = select(records, task=task)
            counts = sorted({r["forks"] for r in some} - {0})
            figures.bars(
                panel,
                counts,
                [sweep.by_seed(some, column, forks=k) for k in counts],
                looks[task],
                kind,
                (i, len(tasks)),
            )
            level = figures.interval([sweep.by_seed(some, column, estimator=other)], kind)[0]
            panel.axhline(level, color=looks[task]["color"], linestyle=":")
        panel.set_xscale("log", base=2)
        figures.ticks(panel, counts)
        panel.set(title=title, xlabel=f"forks (dotted: {words(other)})")
        if kind == "ratio":
            figures.log_scale(panel)
    figures.fit(axes[0][:1], "share")
    figures.fit(axes[0][1:])
    seeds = figures.interval_legend(len(distinct(records, "seed")), mean="signal: geometric mean; ")
    return figures.legend(figure, [*figures.entries(looks), seeds])


PANELS = {
    "right_order": ("pairs of actions in the\nright order (share)", CRITIC, "share"),
    "signal_to_noise": ("signal over noise,\nper update", RLOO, "ratio"),
    "per_step": ("signal over noise,\nat RLOO's env steps", RLOO, "ratio"),
}


if __name__ == "__main__":
    console.main(partial(study.run, VineBudget()))
