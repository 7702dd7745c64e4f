"""Does comparing actions from the same state help as much as states recur?

    python -m experiments.studies.state_recurrence
    python -m experiments.studies.state_recurrence --tasks key_door --attempts 2 8 --seeds 2

GiGPO (2505.10978) adds to an episode's credit a comparison of each turn with other attempts' turns
in the same state (its anchor). The study varies what counts as the same: the task's state, the
observation at that turn, the observation at any turn, or the whole history. It also varies the
number of attempts at a problem, and whether the observation hides a part of the state. Measured are
the coverage, which is the share of turns that recur, and the gain in cosine with the exact gradient
over centred returns. The rules ask for the gain to rise with the coverage, and to be smaller where
the anchor hides a part of the state.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import scipy.stats
from jaxtyping import Array, Bool, Float, Int
from matplotlib.axes import Axes
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

HIDDEN = "hidden key_door"
TASKS = {
    "chain_pit": ChainPit(),
    "graph_nav": GraphNav(),
    "key_door": KeyDoor(),
    HIDDEN: KeyDoor(hide_inventory=True),
}
EXACTLY = ("state", "history")  # anchors that equate only states of equal value
Same = Literal["state", "seen at that turn", "seen", "history"]


@dataclass(frozen=True)
class StateRecurrence(study.Study):
    """Does comparing actions from the same state help as much as states recur?

    Scores GiGPO's credit against coverage.
    """

    tasks: tuple[str, ...] = tuple(TASKS)
    level: Inside = 0.5  # success of the policies
    # independent batches of each policy
    replicates: Annotated[int, Range(2, why="to tell signal from noise")] = 32
    problems: Count = 2  # of a batch
    attempts: tuple[Several, ...] = (2, 8)  # at a problem

    claim: ClassVar[str] = (
        "GiGPO (2505.10978): states that recur among attempts give credit to single steps for "
        "free. Predicted: what it gains over centred returns rises with the share of turns that "
        "recur, and is less where the observation that it compares by hides a part of the state."
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
        check(len(self.attempts) >= 2, "Name attempts, two numbers or more.")
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
        algorithms = {"centred": swap(REINFORCE, credit=Centred())}
        for same in get_args(Same):
            algorithms[same] = swap(REINFORCE, credit=AnchoredGigpo(same=same))
        records = credit_study.score_estimators(bed, algorithms)
        for record in records:
            same = record.pop("estimator")
            record |= {"same": same, "coverage": 0.0 if same == "centred" else coverage(bed, same)}
            record["gain_over_centred"] = record["expected_cosine"] - records[0]["expected_cosine"]
        return records

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {
            "coverage": ".2f",
            "expected_cosine": ".2f",
            "gain_over_centred": "+.3f",
            "snr": "+.1f",
        }
        lines = []
        for task in self.tasks:
            for attempts in self.attempts:
                selected = select(records, task=task, attempts=attempts)
                for line in sweep.table(selected, "task", columns, "same"):
                    lines.append({"task": task, "attempts": attempts} | line)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"state_recurrence": plot_results([r for r in records if r["same"] != "centred"])}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        verdicts = [
            above_zero(
                "GiGPO gains as states recur",
                "Spearman's correlation of gain and coverage over numbers of attempts, by state "
                "and by history, in each task; mean over tasks, one for each seed",
                correlations(records, self.tasks),
            )
        ]
        if HIDDEN in self.tasks:
            state, seen = (gain(records, HIDDEN, same) for same in ("state", "seen at that turn"))
            verdicts.append(
                above_zero(
                    "Comparing by what hides a part of the state gains less",
                    "Where the keys in hand are hidden, the gain of comparing by state minus that "
                    "by what is seen, mean over attempts",
                    state - seen,
                )
            )
        return verdicts


# Anchors


@config
class AnchoredGigpo(Gigpo):
    """GiGPO with a choice of what counts as the same state."""

    same: Same = "state"  # what makes two turns the same

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns the credit of each turn."""
        return super().__call__(trajectory._replace(anchor=anchor(trajectory, self.same)), value)


def anchor(trajectory: Trajectory, same: Same) -> Int[Array, "N G T"]:
    """Returns a number for each turn, which is equal for turns that count as the same."""
    if same == "state":
        return trajectory.anchor
    seen = _hash(trajectory.observation)
    if same == "seen":
        return seen
    if same == "seen at that turn":
        turn = jnp.broadcast_to(jnp.arange(seen.shape[-1]), seen.shape)
        return _hash(jnp.stack([seen, turn], axis=-1))
    last_action = jnp.roll(_hash(trajectory.action), 1, axis=-1).at[..., 0].set(0)
    events = jnp.moveaxis(jnp.stack([seen, last_action], axis=-1), 2, 0)

    def extend(history, event):
        history = _hash(jnp.concatenate([history[..., None], event], axis=-1))
        return history, history

    _, histories = jax.lax.scan(extend, jnp.zeros(seen.shape[:2], jnp.int32), events)
    return jnp.moveaxis(histories, 0, 2)


def _hash(x: Int[Array, "*b M"]) -> Int[Array, "*b"]:
    """Returns a hash of 31 bits over the last axis."""
    value = jnp.zeros(x.shape[:-1], jnp.uint32)
    for i in range(x.shape[-1]):
        value = (value ^ x[..., i].astype(jnp.uint32)) * jnp.uint32(16777619) + jnp.uint32(i + 1)
        value ^= value >> 15
    return (value >> 1).astype(jnp.int32)


def coverage(bed: testbed.Testbed, same: Same) -> float:
    """Returns the share of turns that equal another turn of any attempt at their problem."""
    trajectory = bed.trajectory
    alive = trajectory.mask.any(-1)
    recurs = jax.vmap(_recurs)(jax.vmap(lambda batch: anchor(batch, same))(trajectory), alive)
    return float((recurs & alive).sum() / alive.sum())


def _recurs(anchor: Int[Array, "N G T"], alive: Bool[Array, "N G T"]) -> Bool[Array, "N G T"]:
    flat = anchor.reshape(len(anchor), -1)
    alike = (flat[:, :, None] == flat[:, None]) & alive.reshape(len(flat), 1, -1)
    return (alike.sum(-1) > 1).reshape(anchor.shape)


# Rules


def correlations(records: list[Record], tasks: tuple[str, ...]) -> Float[np.ndarray, " seeds"]:
    """Returns the mean over tasks of the correlation between gain and coverage, per seed."""
    means = []
    for seed in sorted(distinct(records, "seed")):
        of_seed = select(records, seed=seed)
        means.append(np.mean([correlation(select(of_seed, task=task)) for task in tasks]))
    return np.array(means)


def correlation(records: list[Record]) -> float:
    """Returns Spearman's correlation of gain and coverage, 0 if one of them does not vary.

    It takes only anchors that never call two states of different value the same.
    """
    selected = [record for same in EXACTLY for record in select(records, same=same)]
    covered = [record["coverage"] for record in selected]
    gains = [record["gain_over_centred"] for record in selected]
    varies = np.ptp(covered) > 0 and np.ptp(gains) > 0
    return scipy.stats.spearmanr(covered, gains).statistic if varies else 0.0


def gain(records: list[Record], task: str, same: str) -> Float[np.ndarray, " seeds"]:
    """Returns the gain over centred returns per seed, as a mean over numbers of attempts."""
    selected = select(records, task=task, same=same)
    return np.mean(by_attempts(selected, "gain_over_centred"), axis=0)


def by_attempts(records: list[Record], column: str) -> list[Float[np.ndarray, " seeds"]]:
    """Returns a column for each number of attempts."""
    return [sweep.by_seed(records, column, attempts=g) for g in distinct(records, "attempts")]


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots the gain against coverage, in a panel for each task.

    Each anchor has a line through its numbers of attempts.
    """
    tasks, names = distinct(records, "task"), distinct(records, "same")
    looks = {}
    for i, name in enumerate(names):
        # hollow markers of falling size, as several may be at one place
        hollow = dict(markersize=10 - 2.2 * i, markerfacecolor="none")
        looks[name] = figures.styles(names)[name] | hollow
    figure, panels = figures.page(-(-len(tasks) // 2), min(len(tasks), 2), height=2.1, sharey=True)
    for panel, task in zip(panels.flat, tasks, strict=False):
        plot_task(panel, select(records, task=task), looks)
        panel.set(title=words(task), xlim=(-0.03, 1.03))
    for panel in panels.flat[len(tasks) :]:
        panel.set_visible(False)
    figure.supxlabel("coverage: share of turns that recur")
    line_break = "\n" if len(tasks) < 3 else " "
    figure.supylabel(f"gain in cosine{line_break}over centred returns")
    handles = figures.entries(looks, label=lambda name: IN_WORDS.get(name, name))
    seeds = figures.interval_legend(len(distinct(records, "seed")))
    return figures.legend(figure, [*handles, seeds], above=True)


def plot_task(panel: Axes, records: list[Record], looks: dict[str, dict]) -> None:
    """Plots a line for each anchor."""
    for name, look in looks.items():
        selected = select(records, same=name)
        covered = np.mean(by_attempts(selected, "coverage"), axis=1)
        figures.bars(panel, covered, by_attempts(selected, "gain_over_centred"), look)
    panel.axhline(0, color="black", linewidth=0.8)


IN_WORDS = {
    "state": "same state",
    "seen at that turn": "same view at that turn",
    "seen": "same view",
    "history": "same history",
}


if __name__ == "__main__":
    console.main(partial(study.run, StateRecurrence()))
