"""How does a clone's regret grow with the horizon, and what do DAgger and RL change?

    python -m experiments.studies.horizon
    python -m experiments.studies.horizon --cases drift unseen_recover --horizons 8 16 32 --seeds 10

In chain_pit one wrong turn leads off track, where every turn costs 1. What the regret owes to the horizon depends on the way back: there is
none (`drift`), one that no demonstration shows (`unseen_recover`), or one that every demonstration shows (`demoed_recover`); in `terminal`
there is none either, but only the end is paid. The policies read one turn at a time, so that their error on the expert's states is the same
at every horizon, and the regret of each is compared per such error. Cloning, DAgger and RL go on from the same clone. (The numbers of
updates and the horizons were chosen on a pilot with two of the seeds.)
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import matplotlib
import numpy as np
from jaxtyping import Float
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
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero, near_zero

TASKS = {
    "drift": ChainPit(mode="drift", reward="per_step_cost"),
    "unseen_recover": ChainPit(mode="unseen_recover", reward="per_step_cost"),
    "demoed_recover": ChainPit(mode="demoed_recover", reward="per_step_cost"),
    "terminal": ChainPit(mode="drift"),
}
TRAINED = 16  # turns of the episodes that are trained on
EARLY = 0.35  # errors an episode, above which the regret saturates


@dataclass(frozen=True)
class Horizon(training_study.TrainingStudy):
    """How does a clone's regret grow with the horizon, and what do DAgger and RL change? Fits the regret's slope in four cases."""

    cases: tuple[str, ...] = tuple(TASKS)
    horizons: tuple[Count, ...] = (8, 16, 32, 64)  # turns of the evaluation
    clone_updates: Count = 24  # of cloning, that all arms start from
    updates: Count = 20  # more, of cloning or of DAgger
    rl_updates: Count = 60  # or of RL

    claim: ClassVar[str] = (
        "Ross & Bagnell (2010; 1011.0686): with an error of e a turn, a clone's regret grows as e T², that of DAgger as e T. Foster et al. "
        "(2407.15007): not where what can be lost is bounded. Predicted: slopes of 2 in drift and of 1 in terminal; DAgger loses less than "
        "the clone where there is a way back that no demonstration shows, and no less where there is none."
    )
    headline: ClassVar[str] = "regret"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "error": "of a turn on the expert's states, in percent",
        "regret": "expected return of the expert minus that of the policy",
        "slope": f"of log regret against log horizon, where an episode has less than {EARLY} errors",
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
            replace(TASKS[name], num_turns=min(self.horizons))  # refuses what is too short for it

    def cells(self) -> list[Record]:
        return [
            dict(case=case, arm=arm)
            for case in self.cases
            for arm in (("sft",) if case == "terminal" else ("sft", "dagger", "rloo"))
        ]

    def records(self, cell: Record) -> list[Record]:
        task = replace(TASKS[cell["case"]], num_turns=TRAINED)
        policies = self.policies(task, cell["arm"])
        judge = partial(
            training_study.evaluate_policies,
            policies,
            policy_config=self.policy_config,
            problems=self.problems,
        )
        errors, found = 1 - judge(task)["per_turn_accuracy"], []
        for turns in self.horizons:
            at = replace(task, num_turns=turns)
            found += [
                {"horizon": turns} | r
                for r in training_study.records(
                    {"regret": at.bounds()[1] - judge(at)["return"], "error": errors}
                )
            ]
        return found

    def policies(self, task: ChainPit, arm: str) -> Policies:
        """Of an arm: what it makes of the clone."""
        clone = training_study.clone_policies(
            task, self.policy_config, self.seeds, self.clone_updates
        )
        row = algorithms.by_name()[arm]
        row = row if arm == "rloo" else swap(row, optimizer=training_study.CLONING)
        return training_study.train_policies(
            clone, task, self.policy_config, row, self.rl_updates if arm == "rloo" else self.updates
        )[0]

    def lines(self, records: list[Record]) -> list[Record]:
        found = []
        for case, arm in pairs(records):
            own = select(records, case=case, arm=arm)
            regret = {
                f"T = {t}": sweep.cell(sweep.by_seed(own, "regret", horizon=t), ".3g")
                for t in self.horizons
            }
            errors = sweep.cell(100 * error(own), ".2f")
            found.append(
                {"case": case, "arm": arm, "error": errors, "slope": sweep.cell(slope(own), ".2f")}
                | regret
            )
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"horizon": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        judged = []
        if "drift" in self.cases:
            claim = "Cloning's regret grows with the square of the horizon where every turn costs"
            judged.append(
                above_zero(
                    claim,
                    "the slope of cloning in drift, minus 1.5",
                    slope(select(records, case="drift", arm="sft")) - 1.5,
                )
            )
            claim = "Where nothing leads back, DAgger loses as much as cloning"
            judged.append(
                near_zero(claim, LOSS.format("drift"), log_ratio(records, "drift"), margin=0.25)
            )
        if "terminal" in self.cases:
            claim = "It grows with the horizon itself where only the end is paid"
            judged.append(
                above_zero(
                    claim,
                    "1.3 minus the slope of cloning in terminal",
                    1.3 - slope(select(records, case="terminal", arm="sft")),
                )
            )
        if "unseen_recover" in self.cases:
            claim = "Where no demonstration shows the way back, DAgger loses less than cloning"
            judged.append(
                above_zero(
                    claim, LOSS.format("unseen_recover"), log_ratio(records, "unseen_recover")
                )
            )
            gap = slope(select(records, case="unseen_recover", arm="sft")) - slope(
                select(records, case="unseen_recover", arm="rloo")
            )
            claim = (
                "RL makes the regret's growth shallower where no demonstration shows the way back"
            )
            judged.append(above_zero(claim, "the clone's slope minus that after RL", gap))
        return judged


LOSS = "in {}, at the longest horizon, log(regret / error) of cloning minus that of DAgger"


def pairs(records: list[Record]) -> list[tuple[str, str]]:
    """Each case and arm there is."""
    return list(dict.fromkeys((r["case"], r["arm"]) for r in records))


def error(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Of a turn on the expert's states, of one arm."""
    return sweep.by_seed(records, "error", horizon=min(distinct(records, "horizon")))


def slope(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Of log regret against log horizon, by least squares; NaN with less than two horizons below EARLY errors, or without a regret."""
    turns = np.array(sorted(distinct(records, "horizon")))
    found = []
    for seed in sorted(distinct(records, "seed")):
        own = [select(records, seed=seed, horizon=t)[0] for t in turns]
        regret, early = np.array([r["regret"] for r in own]), turns * own[0]["error"] < EARLY
        fits = early.sum() >= 2 and (regret[early] > 0).all()
        found.append(
            np.polyfit(np.log(turns[early]), np.log(regret[early]), 1)[0] if fits else np.nan
        )
    return np.array(found)


def log_ratio(records: list[Record], case: str) -> Float[np.ndarray, " seeds"]:
    """Of the regret for each error, cloning's over DAgger's."""
    most = max(distinct(records, "horizon"))
    own = {arm: select(records, case=case, arm=arm) for arm in ("sft", "dagger")}
    loss = {
        arm: sweep.by_seed(some, "regret", horizon=most) / error(some) for arm, some in own.items()
    }
    return np.log(loss["sft"] / loss["dagger"])


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Regret for each error against the horizon, a panel for each case; grey: growth with T and with its square."""
    cases, arms_ = distinct(records, "case"), distinct(records, "arm")
    looks = {arm: figures.styles(arms_)[arm] for arm in arms_}
    figure, panels = figures.page(1, len(cases), height=2.7, sharey=True)
    for panel, case in zip(panels[0], cases, strict=True):
        own = select(records, case=case)
        turns = np.array(sorted(distinct(own, "horizon")), float)
        for power, line in ((1, ":"), (2, "--")):
            panel.plot(turns, turns**power / power, color=figures.GREY, linestyle=line, linewidth=1)
        for i, arm in enumerate(distinct(own, "arm")):
            some = select(own, arm=arm)
            each = [sweep.by_seed(some, "regret", horizon=t) / error(some) for t in turns]
            figures.bars(panel, turns, each, looks[arm], "ratio", (i, len(arms_)))
        figures.log_scale(panel)
        panel.set_xscale("log", base=2)
        figures.ticks(panel, turns)
        panel.set(title=words(case), xlabel="turns")
    panels[0][0].set_ylabel("regret / error of a turn")
    growth = [
        Line2D([], [], color=figures.GREY, linestyle=line, label=label)
        for line, label in ((":", "T"), ("--", "T²/2"))
    ]
    seeds = figures.interval_legend(len(distinct(records, "seed")), mean="geometric mean, ")
    return figures.legend(figure, [*figures.entries(looks), *growth, seeds])


if __name__ == "__main__":
    console.main(partial(study.run, Horizon()))
