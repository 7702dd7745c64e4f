"""Estimators against a condition that is varied: the records of a test bed, their means over seeds as a table, and as lines."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl.algorithms import Algorithm
from agentic_rl.config import check
from agentic_rl.policy import Policy
from experiments import clones, figures, study, testbed
from experiments.statistics import Record, distinct, select, t_interval

SIZE = Policy(context="markov")
FLOOR = -20.0  # dB: in means, trends and figures, of a signal too weak to be seen
LEGEND = {
    "±": "half of Student's 95% interval over seeds",
    "success": "of the policy, in all batches",
    "snr": "signal over noise of a batch's gradient in decibels; -20 where no signal is seen",
    "expected cosine": "of a batch's gradient with the exact one, mean over batches",
    "key accuracy": "share of the credits with the true advantage's sign, where much is at stake",
    "gain": "of a step of .001 nats a decision along a batch's gradient, in exact expected return, over that of a step along the exact "
    "gradient; it may be above 1, as a gradient is not the steepest direction at a fixed KL",
    "harm": "share of the losses in the sum of the gains' sizes",
}
SCALES = {"log": dict(value="log", base=2), "logit": dict(value="logit"), "linear": dict(value="linear")}


@dataclass(frozen=True)
class BedStudy(study.Study):
    """The flags of studies that score credits on test beds."""

    replicates: int = 32  # independent batches of each policy
    problems: int = 4  # of a batch
    attempts: int = 8  # at each problem

    headline: ClassVar[str] = "expected_cosine"
    legend: ClassVar[dict[str, str]] = LEGEND

    def __post_init__(self):
        super().__post_init__()
        check(min(self.replicates, self.attempts) >= 2, "replicates and attempts must be 2 or more, to tell signal from noise.")
        check(self.problems >= 1, "problems must be 1 or more.")

    def bed(self, task: Any, levels: tuple[float, ...], level: float, seed: int) -> testbed.Bed:
        """See `bed`."""
        return bed(task, levels, level, seed, (self.replicates, self.problems, self.attempts))


def bed(task: Any, levels: tuple[float, ...], level: float, seed: int, shape: tuple[int, int, int]) -> testbed.Bed:
    """Of the clone whose success came nearest to `level`, one of `levels`, with a critic fitted to its rewards to go."""
    most, problems = clones.BANK // 2, shape[1]
    check(problems <= most, f"problems must be {most} or fewer, half of those that the policies are cloned on, not {problems}.")
    params = clones.with_critic(task, SIZE, clones.clones(task, SIZE, levels, seed, problems)[level], seed, problems)
    return testbed.make(task, SIZE, params, shape, clones.bank(seed))


def check_levels(levels: tuple[float, ...]) -> None:
    """Raises: ConfigError."""
    check(len(levels) >= 1 and all(0 < level < 1 for level in levels), "levels are success rates between 0 and 1, one or more.")


def scored(bed: testbed.Bed, rows: Mapping[str, Algorithm]) -> list[Record]:
    """A record for each estimator, with the policy's exact expected return beside, and its success in all batches."""
    facts = {"expected_return": bed.expected_return, "success": success(bed)}
    return [{"estimator": name} | facts | testbed.score(bed, testbed.row(bed, row.credit, row.values)) for name, row in rows.items()]


def success(bed: testbed.Bed) -> float:
    """Of the policy, in all batches."""
    return float(bed.trajectory.success.mean())


def by_seed(records: list[Record], column: str, **where) -> Float[np.ndarray, " seeds"]:
    """A column of the records where this holds, one for each seed; an SNR of −inf dB is FLOOR.

    Raises: ValueError unless there is exactly one for each.
    """
    some, seeds = select(records, **where), sorted(distinct(records, "seed"))
    if sorted(r["seed"] for r in some) != seeds:
        raise ValueError(f"{column} needs one record for each of seeds {seeds} where {where}, but there are {len(some)}.")
    found = np.array([select(some, seed=seed)[0][column] for seed in seeds], float)
    return np.maximum(found, FLOOR) if column.endswith("snr") else found


def table(records: list[Record], x: str, columns: Mapping[str, str], lines: str = "estimator") -> list[Record]:
    """Means over seeds and half of Student's 95% interval; `columns`: of the records, and the format of each."""
    found = []
    for at in distinct(records, x):
        for name in distinct(select(records, **{x: at}), lines):
            cells = {column: _cell(by_seed(records, column, **{x: at, lines: name}), how) for column, how in columns.items()}
            found.append({x: at, lines: name} | {k.replace("_", " "): v for k, v in cells.items()})
    return found


def _cell(value: Float[np.ndarray, " seeds"], how: str) -> str:
    there = value[~np.isnan(value)]
    if not len(there):
        return "–"
    (mean, low, _), missing = t_interval(there), len(value) - len(there)
    said = f"{mean:{how}} ± {mean - low:{how.lstrip('+')}}" if len(there) > 1 else f"{mean:{how}}"
    return said + f" ({len(there)} of {len(value)} seeds)" * (missing > 0)


@matplotlib.rc_context(figures.STYLE)
def figure(
    records: list[Record], x: str, panels: Mapping[str, str], lines: str = "estimator", label: str = "",
    scale: Literal["log", "logit", "linear"] = "log", title: str = "",
) -> Figure:  # fmt: skip
    """A panel for each column, a line for each estimator: means over seeds with Student's 95% band; of those that have a number.

    Args: panels: column -> title; label: of the x axis.
    """
    names, style = distinct(records, lines), figures.styles(distinct(records, lines))
    drawn = Figure(figsize=(figures.WIDTH, 3.2), layout="constrained")
    for panel, (column, what) in zip(drawn.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name in names:
            at = sorted(distinct(select(records, **{lines: name}), x))
            value = [by_seed(records, column, **{x: v, lines: name}) for v in at]
            mean, low, high = np.array([t_interval(y[np.isfinite(y)]) if np.isfinite(y).any() else [np.nan] * 3 for y in value]).T
            panel.plot(at, mean, label=name, **style[name])
            panel.fill_between(at, low, high, color=style[name]["color"], alpha=0.15, linewidth=0)
        if column.endswith("snr"):
            panel.axhline(FLOOR, color="#888888", linewidth=0.8, linestyle=":")
        panel.set_xscale(**SCALES[scale])
        panel.set_xticks(sorted(distinct(records, x)), [f"{v:g}".lstrip("0") or "0" for v in sorted(distinct(records, x))], fontsize=8)
        panel.minorticks_off()
        panel.set_title(what)
        panel.set_xlabel(label or x.replace("_", " "))
    if title:
        drawn.suptitle(title, fontsize=11)
    handles = [Line2D([], [], label=name, **style[name]) for name in names]
    drawn.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False, handlelength=3)
    return drawn
