"""Are values from playing on better than a critic's, and worth the episodes that they cost?

    python -m experiments.vine_budget
    python -m experiments.vine_budget --tasks key_door --counts 1 4 --seeds 2

VinePPO goes on `count` times from every state it came to, and takes the mean return as the state's value. Here these values, and those of a
critic fitted to rewards to go, are held against the exact ones: how far off they are, how often they put two actions from the same state
in the right order, and how much signal the gradient has, per update and per environment step (experiments/testbed.py).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl import envs
from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import check, config, named
from agentic_rl.credit import Credit
from agentic_rl.credit.gae import GAE
from agentic_rl.credit.group import LeaveOneOut
from agentic_rl.types import Trajectory, Value
from agentic_rl.values import NoValue
from agentic_rl.values.critic import Critic
from agentic_rl.values.exact import Exact
from agentic_rl.values.forks import Forks
from experiments import console, figures, quality, study, sweep, testbed
from experiments.flags import look_up
from experiments.report import Verdict
from experiments.statistics import Record, distinct, select, t_interval
from experiments.verdicts import above_zero

NEAR_CHANCE = 0.6  # of pairs in the right order; chance is .5
RLOO, CRITIC, ORACLE = "leave_one_out", "critic", "oracle"


@dataclass(frozen=True)
class VineBudget(sweep.Sweep):
    """Hold values from forks and from a critic against the exact ones."""

    tasks: tuple[str, ...] = ("chain_pit", "key_door", "graph_nav")
    level: float = 0.5  # success of the policies
    counts: tuple[int, ...] = (1, 2, 4, 9, 16)  # forks of each state

    claim: ClassVar[str] = (
        "VinePPO (2410.01679): critics of language models rank steps near chance, values from forks do not, so that fewer updates are "
        "needed. Predicted, after a tabular pilot: a critic on these small tasks ranks well above chance; 1 fork has less signal per "
        "update than RLOO, 4 have more; per environment step forks do not pay."
    )
    tiny: ClassVar[dict[str, Any]] = dict(tasks=("key_door",), counts=(1, 4), seeds=2, replicates=4, problems=2, attempts=2)

    def __post_init__(self):
        super().__post_init__()
        sweep.check_levels((self.level,))
        check(len(self.counts) >= 1 and min(self.counts) >= 1, "counts are numbers of forks, each 1 or more.")
        for name in self.tasks:
            look_up("task", name, named(envs))

    def cells(self) -> list[Record]:
        return [dict(task=task, seed=seed) for task in self.tasks for seed in range(self.seeds)]

    def records(self, cell: Record) -> list[Record]:
        bed = self.bed(named(envs)[cell["task"]](), (self.level,), self.level, cell["seed"])
        rows = estimators(self.counts, bed.capacity)
        found = sweep.scored(bed, rows)
        steps = next(r["env_steps"] for r in found if r["estimator"] == RLOO)
        for record in found:
            count = record["estimator"].partition(" ")[0]
            share = {"forks": int(count) if count.isdigit() else 0, "per_step": record["signal_to_noise"] * steps / record["env_steps"]}
            record |= share | values_of(bed, rows[record["estimator"]])
        return found

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {
            "value_error": ".3f", "right_order": ".2f", "key_accuracy": ".2f", "expected_cosine": ".2f",
            "signal_to_noise": ".2f", "per_step": ".3f",
        }  # fmt: skip
        return sweep.table(records, "task", columns)

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"vine_budget": drawn(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return [verdict for task in self.tasks for verdict in verdicts(select(records, task=task), task, self.counts)]


@config
class Before(Credit):
    """No credit: the value before each token."""

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        return value.before


@config
class After(Credit):
    """No credit: the value after each token, what it earned included."""

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        return value.after


def estimators(counts: tuple[int, ...], capacity: int) -> dict[str, Algorithm]:
    """By name; each but the first is reward + next value − value."""
    values = {CRITIC: Critic()} | {f"{k} fork{'s' * (k > 1)}": Forks(k) for k in counts} | {ORACLE: Exact(capacity)}
    difference = {name: swap(REINFORCE, credit=GAE(lambda_=0.0, whiten=False), values=one) for name, one in values.items()}
    return {RLOO: swap(REINFORCE, credit=LeaveOneOut())} | difference


def values_of(bed: testbed.Bed, row: Algorithm) -> Record:
    """How far its values are off, and how often they put two actions in the right order."""
    if isinstance(row.values, NoValue):
        return {"value_error": np.nan, "right_order": np.nan}
    read = lambda what, values: testbed.credits(bed, testbed.row(bed, what, values))[0]  # noqa: E731
    (before, after), (true_before, true_after) = ([read(w, v) for w in (Before(), After())] for v in (row.values, Exact(bed.capacity)))
    order = quality.right_order(after, true_after, bed.mask, bed.state, bed.spread)
    return {"value_error": float(np.abs(before - true_before)[bed.mask].mean()), "right_order": order}


def verdicts(records: list[Record], task: str, counts: tuple[int, ...]) -> list[Verdict]:
    """On one task."""
    of = lambda name, column: sweep.by_seed(records, column, estimator=name)  # noqa: E731
    fork = lambda k: f"{k} fork{'s' * (k > 1)}"  # noqa: E731
    found = [
        above_zero(
            f"On {task}, a critic ranks steps near chance",
            f"{NEAR_CHANCE} minus the share of pairs of actions that the critic puts in the right order",
            NEAR_CHANCE - of(CRITIC, "right_order"),
        )
    ]
    for k, more, sign in ((1, "less", -1), (4, "more", 1)):
        if k in counts:
            gap = of(fork(k), "signal_to_noise") - of(RLOO, "signal_to_noise")
            what = f"Signal over noise with {fork(k)} minus RLOO's, per update{', times −1' * (sign < 0)}"
            found.append(
                above_zero(f"On {task}, {fork(k)} {'have' if k > 1 else 'has'} {more} signal per update than RLOO", what, sign * gap)
            )
    best = max(counts, key=lambda k: of(fork(k), "per_step").mean())
    gap = of(fork(best), "per_step") - of(RLOO, "per_step")
    what = f"Signal over noise per environment step with {fork(best)}, the best number, minus RLOO's"
    return [*found, above_zero(f"On {task}, forks are worth their episodes", what, gap)]


@matplotlib.rc_context(figures.STYLE)
def drawn(records: list[Record]) -> Figure:
    """Against the number of forks, a colour for each task; dotted: what the critic, or RLOO, has."""
    panels = {
        "right_order": ("pairs of actions in the\nright order", CRITIC), "signal_to_noise": ("signal over noise,\nper update", RLOO),
        "per_step": ("signal over noise, per\nRLOO's environment steps", RLOO),
    }  # fmt: skip
    tasks, figure = distinct(records, "task"), Figure(figsize=(figures.WIDTH, 3.0), layout="constrained")
    style = figures.styles(tasks)
    for panel, (column, (title, other)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for task in tasks:
            some = select(records, task=task)
            counts = sorted({r["forks"] for r in some} - {0})
            mean, low, high = t_interval(np.array([sweep.by_seed(some, column, forks=k) for k in counts]).T)
            panel.plot(counts, mean, **style[task])
            panel.fill_between(counts, low, high, color=style[task]["color"], alpha=0.15, linewidth=0)
            panel.axhline(sweep.by_seed(some, column, estimator=other).mean(), color=style[task]["color"], linestyle=":")
        panel.set_xscale("log", base=2)
        panel.set_xticks(counts, counts)
        panel.minorticks_off()
        panel.set(title=title, xlabel=f"forks (dotted: {'RLOO' if other == RLOO else other})")
        if column != "right_order":
            panel.set_yscale("log")
    handles = [Line2D([], [], label=task, **style[task]) for task in tasks]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(tasks), frameon=False, handlelength=3)
    return figure


if __name__ == "__main__":
    console.main(partial(study.run, VineBudget()))
