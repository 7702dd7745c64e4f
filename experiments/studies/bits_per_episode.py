"""How many episodes does it take to learn one of M answers, from demonstrations or rewards?

    python -m experiments.studies.bits_per_episode
    python -m experiments.studies.bits_per_episode --digits 1 2 3 4 --bases 16 --seeds 5

In memorize a problem has one answer of a few digits, which is one of M. The policies know the
answers to 15 other problems. Of this one they only know what digits are, because there they cloned
random ones. A demonstration tells all log2(M) bits of the answer. A reward for the whole answer
tells one bit at most, and usually only that one of the M answers is wrong.

Three arms take gradient steps on equally many episodes: cloning, RL with a reward for the whole
answer, and RL with a reward for each digit. Measured is the number of episodes until an evaluation
finds 95% success. The rules are about the exponent of M in that number: 1 with the whole reward,
smaller with one for each digit, and 0 by cloning.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl import algorithms
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Natural, OneToken, Positive, Several
from agentic_rl.envs.micro import Memorize
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert, Random
from agentic_rl.training.run import WarmStart
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, least_squares_slope, select
from experiments.reports.verdicts import above_zero, near_zero

ARMS = {  # and the task's reward
    "cloning": "exact",
    "RL, reward for all": "exact",
    "RL, reward for each": "share",
}
CLONING, WHOLE, EACH = ARMS
POLICY_CONFIG = Policy(width=32, layers=1, heads=2, mlp=64, context="markov")
TARGET = 0.95  # success that counts as having learned the answer
CLONE_UPDATES = 100
MAX_EVALUATIONS = 200  # of a run
MAX_MISSED = 0.1  # share of runs that may not learn it, or the exponent of an arm is open


@config
class OthersExpert(Expert):
    """Demonstrates all problems but the first, which it answers with random digits."""

    def act(self, task: Memorize, key, state) -> Int[Array, " A"]:
        """Returns the demonstrated action."""
        return jnp.where(state.problem == 0, Random().act(task, key, state), task.expert(state))


@dataclass(frozen=True)
class BitsPerEpisode(training_study.TrainingStudy):
    """How many episodes does it take to learn one of M answers by heart, from demonstrations and
    from rewards?

    Fits the exponent of M.
    """

    seeds: Count = 20
    digits: tuple[Count, ...] = (1, 2, 3)  # of the answer
    bases: tuple[OneToken, ...] = (4, 8)  # number of values of a digit
    episodes: Several = 8  # of a gradient step, in all arms
    updates: Count = 200  # of each run, at least
    patience: Natural = 16  # further episodes for each possible answer
    learning_rate: Positive = 3e-3  # of all arms
    problems: Count = 256

    claim: ClassVar[str] = (
        "LoRA Without Regret (Thinking Machines, 2025): a demonstration tells all bits of an "
        "answer, an episode of policy gradient about one at most. A replication (bledden) needed "
        "2 demonstrations at each of 10, 100 and 500 answers, and 19, 129 and 599 episodes of "
        "RL. Predicted: with a reward for the whole answer episodes grow as M, with one for each "
        "digit far slower, by cloning not at all."
    )
    headline: ClassVar[str] = "episodes"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "M": "possible answers, base to the power of digits",
        "episodes": f"until an evaluation finds a success of {TARGET}; a run that never gets "
        "there counts with its whole budget",
        "bits an episode": "log2(M) / episodes",
        "learned": "runs that got there",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        digits=(1,), bases=(2, 4), updates=2, patience=1, problems=16, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        check(
            len({b**d for d in self.digits for b in self.bases}) >= 2,
            "An exponent needs two numbers of answers or more.",
        )

    @property
    def policy_config(self) -> Policy:
        return training_study.TINY if self.quick else POLICY_CONFIG

    def cells(self) -> list[Record]:
        return [
            dict(base=b, digits=d, arm=arm) for b in self.bases for d in self.digits for arm in ARMS
        ]

    def records(self, cell: Record) -> list[Record]:
        digits, base, arm = cell["digits"], cell["base"], cell["arm"]
        task = Memorize(num_digits=digits, base=base, num_problems=1)
        num_answers = base**digits
        start = clone_other_problems(
            replace(task, num_problems=16),
            self.policy_config,
            self.seeds,
            1 if self.quick else CLONE_UPDATES,
        )
        every, updates = self.schedule(0 if arm == CLONING else num_answers)
        _, entries = training_study.train_policies(
            start,
            replace(task, reward=ARMS[arm]),
            self.policy_config,
            self.algorithm(arm),
            updates,
            self.problems,
            every,
        )
        steps, reached = first_success(entries)
        columns = {
            "answers": np.full(self.seeds, num_answers),
            "episodes": self.episodes * steps,
            "learned": reached.astype(int),
        }
        return training_study.records(columns)

    def schedule(self, num_answers: int) -> tuple[int, int]:
        """Returns the updates between evaluations, and the updates in all."""
        updates = self.updates + self.patience * num_answers // self.episodes
        every = -(-updates // MAX_EVALUATIONS)
        return every, every * -(-updates // every)

    def algorithm(self, arm: str) -> Algorithm:
        """Returns the algorithm of an arm."""
        shared = dict(minibatches=1, optimizer=Adam(learning_rate=self.learning_rate, warmup=0))
        if arm == CLONING:
            return swap(algorithms.SFT, problems=self.episodes, attempts=1, **shared)
        return swap(algorithms.RLOO, problems=1, attempts=self.episodes, **shared)

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for cell in self.cells():
            of_cell = select(records, **cell)
            num_answers = of_cell[0]["answers"]
            episodes = sweep.by_seed(of_cell, "episodes")
            columns = {
                "episodes": sweep.cell(episodes, ".0f"),
                "bits an episode": sweep.cell(np.log2(num_answers) / episodes, ".2g"),
                "learned": f"{sum(r['learned'] for r in of_cell)} of {len(of_cell)}",
            }
            lines.append({"M": num_answers} | cell | columns)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"bits_per_episode": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        power = {arm: exponent(select(records, arm=arm)) for arm in ARMS}
        whole = near_zero(
            "With a reward for the whole answer, episodes grow as the number of answers",
            OVER,
            power[WHOLE] - 1,
            margin=0.25,
        )
        each = above_zero(
            "With a reward for each digit they grow slower", UNDER, power[WHOLE] - power[EACH]
        )
        cloning = near_zero(
            "Demonstrations tell answers of any length alike", FLAT, power[CLONING], margin=0.25
        )
        return [
            require_learning(whole, records, (WHOLE,)),
            require_learning(each, records, (WHOLE, EACH)),
            require_learning(cloning, records, (CLONING,)),
        ]


OVER = "the exponent of M in the episodes with a reward for the whole answer, minus 1"
UNDER = "the exponent with a reward for the whole answer minus that with one for each digit"
FLAT = "the exponent of cloning"


@cache
def clone_other_problems(
    task: Memorize, policy_config: Policy, seeds: int, updates: int
) -> Policies:
    """Returns policies that know the answers to all problems but the first."""
    algorithm = swap(WarmStart().algorithm, actor=OthersExpert())
    start = training_study.fresh(policy_config, seeds)
    return training_study.train_policies(start, task, policy_config, algorithm, updates)[0]


def first_success(
    entries: list[training_study.Entry],
) -> tuple[Float[np.ndarray, " S"], Bool[np.ndarray, " S"]]:
    """Returns the update at which an evaluation first found TARGET, and whether one did.

    The update is the last one for seeds that never got there.
    """
    evaluated = [entry for entry in entries if "eval_success" in entry]
    reached = np.array([entry["eval_success"] for entry in evaluated]) >= TARGET
    steps = np.array([entry["step"] for entry in evaluated])
    learned = reached.any(0)
    return np.where(learned, steps[reached.argmax(0)], steps[-1]), learned


def exponent(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Returns, for each seed, the exponent of M in the episodes of one arm.

    It is the least-squares slope of log episodes against log M.
    """
    slopes = []
    for seed in sorted(distinct(records, "seed")):
        of_seed = select(records, seed=seed)
        log_answers = np.log([r["answers"] for r in of_seed])
        log_episodes = np.log([r["episodes"] for r in of_seed])
        slopes.append(least_squares_slope(log_answers, log_episodes))
    return np.array(slopes)


def require_learning(verdict: Verdict, records: list[Record], arms: tuple[str, ...]) -> Verdict:
    """Returns the verdict, or an inconclusive one if too many runs of an arm did not learn it."""
    learned = [r["learned"] for r in records if r["arm"] in arms]
    missed = len(learned) - sum(learned)
    smallest = min(np.mean([r["learned"] for r in select(records, arm=arm)]) for arm in arms)
    rule = (
        f"{verdict.rule} Inconclusive if more than {MAX_MISSED:.0%} of the runs of an arm did not "
        "learn it."
    )
    evidence = f"{verdict.evidence} {missed:.0f} of {len(learned)} runs did not learn it."
    kind = verdict.outcome if smallest >= 1 - MAX_MISSED else "inconclusive"
    return verdict._replace(rule=rule, outcome=kind, evidence=evidence)


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots episodes, and bits an episode, against the number of answers: geometric means.

    Markers are filled where the base is largest.
    """
    figure, panels = figures.page(1, 2, height=2.7)
    left, right = panels[0]
    bases = distinct(records, "base")
    looks = {arm: figures.styles(list(ARMS))[arm] for arm in ARMS}
    runs = [(arm, base) for base in bases for arm in ARMS]
    for i, (arm, base) in enumerate(runs):
        of_run = select(records, arm=arm, base=base)
        answers = np.array(sorted(distinct(of_run, "answers")))
        episodes = [sweep.by_seed(of_run, "episodes", answers=m) for m in answers]
        bits = [np.log2(m) / x for m, x in zip(answers, episodes)]
        fill = looks[arm]["color"] if base == max(bases) else "white"
        look = looks[arm] | {"markerfacecolor": fill}
        figures.bars(left, answers, episodes, look, "ratio", (i, len(runs)))
        figures.bars(right, answers, bits, look, "ratio", (i, len(runs)))
    answers = np.array(sorted(distinct(records, "answers")))
    left.plot(answers, answers, color=figures.GREY, linestyle=":", linewidth=1)
    for panel in (left, right):
        figures.log_scale(panel)
        panel.set_xscale("log", base=2)
        figures.ticks(panel, answers)
        panel.set_xlabel("possible answers M")
    left.set_ylabel(f"episodes until {TARGET:.0%} success")
    right.set_ylabel("bits an episode")
    num_seeds = len(distinct(records, "seed"))
    handles = [
        *figures.entries(looks),
        Line2D([], [], color=figures.GREY, linestyle=":", label="M episodes"),
        *(_base_marker(base, filled=base == max(bases)) for base in bases),
        figures.interval_legend(num_seeds, mean="geometric mean, "),
    ]
    return figures.legend(figure, handles)


def _base_marker(base: int, filled: bool) -> Line2D:
    fill = figures.GREY if filled else "white"
    look = dict(marker="o", linestyle="", color=figures.GREY, markerfacecolor=fill)
    return Line2D([], [], label=f"digits with {base} values", **look)


if __name__ == "__main__":
    console.main(partial(study.run, BitsPerEpisode()))
