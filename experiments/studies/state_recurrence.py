"""Does comparing actions from the same state help as much as states recur?

    python -m experiments.studies.state_recurrence
    python -m experiments.studies.state_recurrence --tasks key_door --attempts 2 8 --seeds 2

GiGPO adds to an episode's credit how a turn compares with other attempts' turns in the same state (its anchor). What counts as the same is
varied: the task's state, what is seen at that turn, what is seen at any turn, or all that happened; so is the number of attempts at a
problem, and whether what is seen hides something. Coverage is the share of turns that recur.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import scipy.stats
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure

from agentic_rl.algorithms import REINFORCE, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Inside, Range, Several
from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.group import Centred
from agentic_rl.envs.chain_pit import ChainPit
from agentic_rl.envs.graph_nav import GraphNav
from agentic_rl.envs.key_door import KeyDoor
from agentic_rl.types import Trajectory, Value
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.ground_truth import testbed
from experiments.harness import credit_study, study
from experiments.reports import figures, sweep
from experiments.reports.display_names import words
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero

TASKS = {
    "chain_pit": ChainPit(),
    "graph_nav": GraphNav(),
    "key_door": KeyDoor(), "hidden key_door": KeyDoor(hide_inventory=True),
}  # fmt: skip
EXACTLY = ("state", "history")  # what these call the same has the same value
Same = Literal["state", "seen at that turn", "seen", "history"]


@dataclass(frozen=True)
class StateRecurrence(study.Study):
    """Does comparing actions from the same state help as much as states recur? Scores GiGPO's credit against coverage."""

    tasks: tuple[str, ...] = tuple(TASKS)
    level: Inside = 0.5  # success of the policies
    replicates: Annotated[int, Range(2, why="to tell signal from noise")] = (
        32  # independent batches of each policy
    )
    problems: Count = 2  # of a batch
    attempts: tuple[Several, ...] = (2, 8)  # at a problem

    claim: ClassVar[str] = (
        "GiGPO (2505.10978): states that recur among attempts give credit to single steps for free. Predicted: what it gains over centred "
        "returns rises with the share of turns that recur, and is less where the observation that it compares by hides a part of the state."
    )
    headline: ClassVar[str] = "gain_over_centred"
    legend: ClassVar[dict[str, str]] = credit_study.LEGEND | {
        "same": "what counts as the same state",
        "coverage": "share of turns that recur among the turns of all attempts at a problem",
        "gain over centred": "in expected cosine",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        tasks=("hidden key_door",), attempts=(2, 4), seeds=2, replicates=4
    )

    def __post_init__(self):
        super().__post_init__()
        credit_study.check_levels((self.level,))
        check(len(self.attempts) >= 2, "attempts are two numbers or more.")
        for name in self.tasks:
            look_up("task", name, TASKS)

    def cells(self) -> list[Record]:
        return [
            dict(task=task, seed=seed, attempts=g)
            for task in self.tasks
            for seed in range(self.seeds)
            for g in self.attempts
        ]

    def records(self, cell: Record) -> list[Record]:
        shape = (self.replicates, self.problems, cell["attempts"])
        bed = credit_study.make_testbed(
            TASKS[cell["task"]], (self.level,), self.level, cell["seed"], shape
        )
        rows = {"centred": swap(REINFORCE, credit=Centred())}
        rows |= {same: swap(REINFORCE, credit=AnchoredGigpo(same=same)) for same in get_args(Same)}
        found = credit_study.score_estimators(bed, rows)
        for record in found:
            same = record.pop("estimator")
            record |= {"same": same, "coverage": 0.0 if same == "centred" else coverage(bed, same)}
            record["gain_over_centred"] = record["expected_cosine"] - found[0]["expected_cosine"]
        return found

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {
            "coverage": ".2f",
            "expected_cosine": ".2f",
            "gain_over_centred": "+.3f",
            "snr": "+.1f",
        }
        places = [(task, g) for task in self.tasks for g in self.attempts]
        return [
            {"task": task, "attempts": g} | line for task, g in places
            for line in sweep.table(select(records, task=task, attempts=g), "task", columns, "same")
        ]  # fmt: skip

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"state_recurrence": plot_results([r for r in records if r["same"] != "centred"])}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        what = "Spearman's correlation of gain and coverage over numbers of attempts, by state and by history, in each task; mean over tasks"
        found = [
            above_zero(
                "GiGPO gains as states recur",
                f"{what}, one for each seed",
                trend(records, self.tasks),
            )
        ]
        if "hidden key_door" in self.tasks:
            state, seen = (
                gain(records, "hidden key_door", same) for same in ("state", "seen at that turn")
            )
            what = "Where the keys in hand are hidden, the gain of comparing by state minus that by what is seen, mean over attempts"
            found.append(
                above_zero(
                    "Comparing by what hides a part of the state gains less", what, state - seen
                )
            )
        return found


@config
class AnchoredGigpo(Gigpo):
    """GiGPO with another idea of what the same state is."""

    same: Same = "state"

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        return super().__call__(trajectory._replace(anchor=anchor(trajectory, self.same)), value)


def anchor(trajectory: Trajectory, same: Same) -> Int[Array, "N G T"]:
    """A number for each turn, equal for turns that are the same."""
    if same == "state":
        return trajectory.anchor
    seen = _hash_rows(trajectory.observation)
    if same == "seen":
        return seen
    if same == "seen at that turn":
        return _hash_rows(
            jnp.stack([seen, jnp.broadcast_to(jnp.arange(seen.shape[-1]), seen.shape)], axis=-1)
        )
    did = jnp.roll(_hash_rows(trajectory.action), 1, axis=-1).at[..., 0].set(0)
    told = jnp.moveaxis(jnp.stack([seen, did], axis=-1), 2, 0)

    def behind(before, now):
        here = _hash_rows(jnp.concatenate([before[..., None], now], axis=-1))
        return here, here

    return jnp.moveaxis(jax.lax.scan(behind, jnp.zeros(seen.shape[:2], jnp.int32), told)[1], 0, 2)


def _hash_rows(x: Int[Array, "*b M"]) -> Int[Array, "*b"]:
    """31 bits of each row."""
    found = jnp.zeros(x.shape[:-1], jnp.uint32)
    for i in range(x.shape[-1]):
        found = (found ^ x[..., i].astype(jnp.uint32)) * jnp.uint32(16777619) + jnp.uint32(i + 1)
        found ^= found >> 15
    return (found >> 1).astype(jnp.int32)


def coverage(bed: testbed.Testbed, same: Same) -> float:
    """The share of turns that another attempt's turn, or another of the same attempt, equals."""
    recurs = jax.vmap(lambda made: _recurs(anchor(made, same), made.mask.any(-1)))(bed.trajectory)
    alive = bed.trajectory.mask.any(-1)
    return float((recurs & alive).sum() / alive.sum())


def _recurs(anchor: Int[Array, "N G T"], alive) -> Array:
    flat = anchor.reshape(len(anchor), -1)
    alike = (flat[:, :, None] == flat[:, None]) & alive.reshape(len(flat), 1, -1)
    return (alike.sum(-1) > 1).reshape(anchor.shape)


def trend(records: list[Record], tasks: tuple[str, ...]) -> Float[np.ndarray, " seeds"]:
    """How gain goes with coverage, where what counts as the same is the same indeed; 0 in a task where one of them does not vary."""

    def of(task, seed):
        some = [r for same in EXACTLY for r in select(records, task=task, seed=seed, same=same)]
        x, y = ([r[k] for r in some] for k in ("coverage", "gain_over_centred"))
        return scipy.stats.spearmanr(x, y).statistic if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0

    return np.array(
        [np.mean([of(task, seed) for task in tasks]) for seed in sorted(distinct(records, "seed"))]
    )


def gain(records: list[Record], task: str, same: str) -> Float[np.ndarray, " seeds"]:
    """Over centred returns; mean over numbers of attempts."""
    some = select(records, task=task, same=same)
    return np.mean(
        [sweep.by_seed(some, "gain_over_centred", attempts=g) for g in distinct(some, "attempts")],
        axis=0,
    )


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """What is gained against coverage: a panel for each task, a line for each anchor through its numbers of attempts."""
    tasks, names = distinct(records, "task"), distinct(records, "same")
    nested = {
        name: dict(markersize=10 - 2.2 * i, markerfacecolor="none") for i, name in enumerate(names)
    }  # where several are at one place
    looks = {name: figures.styles(names)[name] | nested[name] for name in names}
    figure, panels = figures.page(-(-len(tasks) // 2), min(len(tasks), 2), height=2.1, sharey=True)
    for panel, task in zip(panels.flat, tasks, strict=False):
        for name in names:
            some = select(records, task=task, same=name)
            x, y = (
                [sweep.by_seed(some, k, attempts=g) for g in distinct(some, "attempts")]
                for k in ("coverage", "gain_over_centred")
            )
            figures.bars(panel, np.mean(x, axis=1), y, looks[name])
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set(title=words(task), xlim=(-0.03, 1.03))
    for panel in panels.flat[len(tasks) :]:
        panel.set_visible(False)
    figure.supxlabel("coverage: share of turns that recur")
    figure.supylabel(
        "gain in cosine\nover centred returns"
        if len(tasks) < 3
        else "gain in cosine over centred returns"
    )
    handles = figures.entries(looks, label=lambda name: IN_WORDS.get(name, name))
    return figures.legend(
        figure, [*handles, figures.interval_legend(len(distinct(records, "seed")))], above=True
    )


IN_WORDS = {
    "state": "same state",
    "seen at that turn": "same view at that turn",
    "seen": "same view",
    "history": "same history",
}


if __name__ == "__main__":
    console.main(partial(study.run, StateRecurrence()))
