"""How does a clone's regret grow with the horizon, and what do DAgger and RL change?

    python -m experiments.studies.horizon
    python -m experiments.studies.horizon --cases drift unseen_recover --horizons 8 16 32 --seeds 10

Ross and Bagnell (2010; DAgger: 1011.0686) bound the regret of cloning by the square of the horizon,
and that of DAgger by the horizon. In chain_pit one wrong turn leads off track, where every turn
costs 1. How the regret grows depends on the way back:

- `drift`: there is none.
- `unseen_recover`: there is one that no demonstration shows.
- `demoed_recover`: there is one that every demonstration shows.
- `terminal`: there is none, but only the end of the episode is rewarded.

The policies read one turn at a time, so that their error on the expert's states is the same at
every horizon. Measured are this error and the regret at each horizon. Cloning, DAgger and RL go on
from the same clone. The rules judge the slope of log regret against log horizon, and compare the
regret per error of cloning and DAgger. (The numbers of updates and the horizons were chosen in a
pilot with two of the seeds.)
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl import algorithms
from agentic_rl.algorithms import swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count
from agentic_rl.envs.chain_pit import ChainPit
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.display_names import words
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, least_squares_slope, select
from experiments.reports.verdicts import above_zero, near_zero

TASKS = {
    "drift": ChainPit(mode="drift", reward="per_step_cost"),
    "unseen_recover": ChainPit(mode="unseen_recover", reward="per_step_cost"),
    "demoed_recover": ChainPit(mode="demoed_recover", reward="per_step_cost"),
    "terminal": ChainPit(mode="drift"),
}
TRAINED = 16  # turns of the episodes that are trained on
EARLY = 0.35  # errors per episode, above which the regret saturates


@dataclass(frozen=True)
class Horizon(training_study.TrainingStudy):
    """How does a clone's regret grow with the horizon, and what do DAgger and RL change?

    Fits the slope of the regret in four cases.
    """

    cases: tuple[str, ...] = tuple(TASKS)
    horizons: tuple[Count, ...] = (8, 16, 32, 64)  # turns of the evaluation
    clone_updates: Count = 24  # of cloning, that all arms start from
    updates: Count = 20  # of further cloning or of DAgger
    rl_updates: Count = 60  # of RL

    claim: ClassVar[str] = (
        "Ross & Bagnell (2010; 1011.0686): with an error of e a turn, a clone's regret grows as "
        "e T², that of DAgger as e T. Foster et al. (2407.15007): not where what can be lost is "
        "bounded. Predicted: slopes of 2 in drift and of 1 in terminal; DAgger loses less than "
        "the clone where there is a way back that no demonstration shows, and no less where there "
        "is none."
    )
    headline: ClassVar[str] = "regret"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "error": "of a turn on the expert's states, in percent",
        "regret": "expected return of the expert minus that of the policy",
        "slope": "of log regret against log horizon, where an episode has less than "
        f"{EARLY} errors",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        cases=("drift", "terminal"),
        horizons=(4, 8),
        clone_updates=1,
        updates=1,
        rl_updates=1,
        problems=64,
        seeds=2,
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.cases:
            look_up("case", name, TASKS)
        check(len(self.horizons) >= 2, "A slope needs two horizons or more.")
        for name in self.cases:
            # the task refuses a horizon that is too short for it
            replace(TASKS[name], num_turns=min(self.horizons))

    def cells(self) -> list[Record]:
        return [
            dict(case=case, arm=arm)
            for case in self.cases
            for arm in (("sft",) if case == "terminal" else ("sft", "dagger", "rloo"))
        ]

    def records(self, cell: Record) -> list[Record]:
        task = replace(TASKS[cell["case"]], num_turns=TRAINED)
        policies = self.policies(task, cell["arm"])
        evaluate = partial(
            training_study.evaluate_policies,
            policies,
            policy_config=self.policy_config,
            problems=self.problems,
        )
        errors = 1 - evaluate(task)["per_turn_accuracy"]
        records = []
        for turns in self.horizons:
            longer = replace(task, num_turns=turns)
            regret = longer.bounds()[1] - evaluate(longer)["return"]
            for record in training_study.records({"regret": regret, "error": errors}):
                records.append({"horizon": turns} | record)
        return records

    def policies(self, task: ChainPit, arm: str) -> Policies:
        """Returns the policies that an arm makes of the clones."""
        clone = training_study.clone_policies(
            task, self.policy_config, self.seeds, self.clone_updates
        )
        algorithm, updates = algorithms.by_name()[arm], self.rl_updates
        if arm != "rloo":
            algorithm, updates = swap(algorithm, optimizer=training_study.CLONING), self.updates
        return training_study.train_policies(clone, task, self.policy_config, algorithm, updates)[0]

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for case, arm in dict.fromkeys((r["case"], r["arm"]) for r in records):
            selected = select(records, case=case, arm=arm)
            line = {
                "case": case,
                "arm": arm,
                "error": sweep.cell(100 * error(selected), ".2f"),
                "slope": sweep.cell(slope(selected), ".2f"),
            }
            for turns in self.horizons:
                regret = sweep.by_seed(selected, "regret", horizon=turns)
                line[f"T = {turns}"] = sweep.cell(regret, ".3g")
            lines.append(line)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"horizon": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        verdicts = []
        if "drift" in self.cases:
            verdicts += judge_drift(records)
        if "terminal" in self.cases:
            claim = "It grows with the horizon itself where only the end is paid"
            what = "1.3 minus the slope of cloning in terminal"
            gap = 1.3 - slope(select(records, case="terminal", arm="sft"))
            verdicts.append(above_zero(claim, what, gap))
        if "unseen_recover" in self.cases:
            verdicts += judge_unseen_recover(records)
        return verdicts


# Rules

LOSS = "in {}, at the longest horizon, log(regret / error) of cloning minus that of DAgger"


def judge_drift(records: list[Record]) -> list[Verdict]:
    """Returns the verdicts on the case without a way back."""
    gap = slope(select(records, case="drift", arm="sft")) - 1.5
    loss = log_ratio(records, "drift")
    return [
        above_zero(
            "Cloning's regret grows with the square of the horizon where every turn costs",
            "the slope of cloning in drift, minus 1.5",
            gap,
        ),
        near_zero(
            "Where nothing leads back, DAgger loses as much as cloning",
            LOSS.format("drift"),
            loss,
            margin=0.25,
        ),
    ]


def judge_unseen_recover(records: list[Record]) -> list[Verdict]:
    """Returns the verdicts on the case whose way back no demonstration shows."""
    case = "unseen_recover"
    cloned, trained = (slope(select(records, case=case, arm=arm)) for arm in ("sft", "rloo"))
    return [
        above_zero(
            "Where no demonstration shows the way back, DAgger loses less than cloning",
            LOSS.format(case),
            log_ratio(records, case),
        ),
        above_zero(
            "RL makes the regret's growth shallower where no demonstration shows the way back",
            "the clone's slope minus that after RL",
            cloned - trained,
        ),
    ]


def error(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Returns one arm's error rate per turn on the expert's states."""
    return sweep.by_seed(records, "error", horizon=min(distinct(records, "horizon")))


def slope(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Returns the least-squares slope of log regret against log horizon.

    It is fitted to the horizons with fewer than EARLY errors per episode. It is NaN with fewer than
    two of them, or where a regret is not positive.
    """
    turns = np.array(sorted(distinct(records, "horizon")))
    slopes = []
    for seed in sorted(distinct(records, "seed")):
        each = [select(records, seed=seed, horizon=t)[0] for t in turns]
        regret = np.array([r["regret"] for r in each])
        early = turns * each[0]["error"] < EARLY
        if early.sum() >= 2 and (regret[early] > 0).all():
            slopes.append(least_squares_slope(np.log(turns[early]), np.log(regret[early])))
        else:
            slopes.append(np.nan)
    return np.array(slopes)


def log_ratio(records: list[Record], case: str) -> Float[np.ndarray, " seeds"]:
    """Returns the log of cloning's regret per error over DAgger's, at the longest horizon."""
    longest = max(distinct(records, "horizon"))
    loss = {}
    for arm in ("sft", "dagger"):
        selected = select(records, case=case, arm=arm)
        loss[arm] = sweep.by_seed(selected, "regret", horizon=longest) / error(selected)
    return np.log(loss["sft"] / loss["dagger"])


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots the regret per error against the horizon, in a panel for each case.

    Grey lines show growth with the horizon and with its square.
    """
    cases, arms = distinct(records, "case"), distinct(records, "arm")
    looks = {arm: figures.styles(arms)[arm] for arm in arms}
    figure, panels = figures.page(1, len(cases), height=2.7, sharey=True)
    for panel, case in zip(panels[0], cases, strict=True):
        plot_case(panel, select(records, case=case), looks)
        panel.set(title=words(case), xlabel="turns")
    panels[0][0].set_ylabel("regret / error of a turn")
    growth = [
        Line2D([], [], color=figures.GREY, linestyle=line, label=label)
        for line, label in ((":", "T"), ("--", "T²/2"))
    ]
    seeds = figures.interval_legend(len(distinct(records, "seed")), mean="geometric mean, ")
    return figures.legend(figure, [*figures.entries(looks), *growth, seeds])


def plot_case(panel: Axes, records: list[Record], looks: dict[str, dict]) -> None:
    """Plots a line for each arm, and the two laws of growth."""
    turns = np.array(sorted(distinct(records, "horizon")), float)
    for power, line in ((1, ":"), (2, "--")):
        panel.plot(turns, turns**power / power, color=figures.GREY, linestyle=line, linewidth=1)
    for i, arm in enumerate(distinct(records, "arm")):
        selected = select(records, arm=arm)
        each = [sweep.by_seed(selected, "regret", horizon=t) / error(selected) for t in turns]
        figures.bars(panel, turns, each, looks[arm], "ratio", (i, len(looks)))
    figures.log_scale(panel)
    panel.set_xscale("log", base=2)
    figures.ticks(panel, turns)


if __name__ == "__main__":
    console.main(partial(study.run, Horizon()))
