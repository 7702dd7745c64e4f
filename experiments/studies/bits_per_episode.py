"""How many episodes does it take to learn one of M answers by heart, from demonstrations and from rewards?

    python -m experiments.studies.bits_per_episode
    python -m experiments.studies.bits_per_episode --digits 1 2 3 4 --bases 16 --seeds 5

In memorize a problem has one answer of some digits, M in all. The policies know the answers to 15 other problems, and of this one only
what digits are: there they cloned random ones. A demonstration tells all log2(M) bits of its answer, a reward for the whole answer at most
one, and mostly the little that one of M is wrong. All arms take a gradient step on as many episodes.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float, Int
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

ARMS = {
    "cloning": "exact",
    "RL, reward for all": "exact",
    "RL, reward for each": "share",
}  # and the task's reward
CLONING, WHOLE, EACH = ARMS
SIZE = Policy(width=32, layers=1, heads=2, mlp=64, context="markov")
TARGET = 0.95  # success that counts as having learned it
CLONE = 100  # updates of cloning
LOOKS = 200  # evaluations of a run at most
MISSED = 0.1  # of an arm's runs: above, its exponent decides nothing


@config
class Others(Expert):
    """Demonstrates all problems but the first, where its digits are random."""

    def act(self, task: Memorize, key, state) -> Int[Array, " A"]:
        """The demonstrated action."""
        return jnp.where(state.problem == 0, Random().act(task, key, state), task.expert(state))


@dataclass(frozen=True)
class BitsPerEpisode(training_study.TrainingStudy):
    """How many episodes does it take to learn one of M answers by heart, from demonstrations and
    from rewards?

    Fits the exponent of M.
    """

    seeds: Count = 20
    digits: tuple[Count, ...] = (1, 2, 3)  # of the answer
    bases: tuple[OneToken, ...] = (4, 8)  # what a digit is one of
    episodes: Several = 8  # of a gradient step, in all arms
    updates: Count = 200  # of each run
    patience: Natural = 16  # episodes more for each possible answer
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
        return training_study.TINY if self.quick else SIZE

    def cells(self) -> list[Record]:
        return [
            dict(base=b, digits=d, arm=arm) for b in self.bases for d in self.digits for arm in ARMS
        ]

    def records(self, cell: Record) -> list[Record]:
        task = partial(Memorize, num_digits=cell["digits"], base=cell["base"], num_problems=1)
        answers = cell["base"] ** cell["digits"]
        start = novices(
            replace(task(), num_problems=16),
            self.policy_config,
            self.seeds,
            CLONE if not self.quick else 1,
        )
        every, updates = self.schedule(answers if cell["arm"] != CLONING else 0)
        row = self.row(cell["arm"])
        _, rows = training_study.train_policies(
            start,
            task(reward=ARMS[cell["arm"]]),
            self.policy_config,
            row,
            updates,
            self.problems,
            every,
        )
        steps, reached = first(rows)
        return training_study.records(
            {
                "answers": np.full(self.seeds, answers),
                "episodes": self.episodes * steps,
                "learned": reached.astype(int),
            }
        )

    def schedule(self, answers: int) -> tuple[int, int]:
        """Updates between evaluations, and in all."""
        wanted = self.updates + self.patience * answers // self.episodes
        every = -(-wanted // LOOKS)
        return every, every * -(-wanted // every)

    def row(self, arm: str) -> Algorithm:
        """Of an arm."""
        same = dict(minibatches=1, optimizer=Adam(learning_rate=self.learning_rate, warmup=0))
        if arm == CLONING:
            return swap(algorithms.SFT, problems=self.episodes, attempts=1, **same)
        return swap(algorithms.RLOO, problems=1, attempts=self.episodes, **same)

    def lines(self, records: list[Record]) -> list[Record]:
        found = []
        for cell in self.cells():
            own = select(records, **cell)
            taken, bits = sweep.by_seed(own, "episodes"), np.log2(own[0]["answers"])
            line = (
                {"M": own[0]["answers"]}
                | cell
                | {
                    "episodes": sweep.cell(taken, ".0f"),
                    "bits an episode": sweep.cell(bits / taken, ".2g"),
                }
            )
            found.append(line | {"learned": f"{sum(r['learned'] for r in own)} of {len(own)}"})
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"bits_per_episode": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        power = {arm: exponent(select(records, arm=arm)) for arm in ARMS}
        claims = [
            near_zero(
                "With a reward for the whole answer, episodes grow as the number of answers",
                OVER,
                power[WHOLE] - 1,
                margin=0.25,
            ),
            above_zero(
                "With a reward for each digit they grow slower", UNDER, power[WHOLE] - power[EACH]
            ),
            near_zero(
                "Demonstrations tell answers of any length alike", FLAT, power[CLONING], margin=0.25
            ),
        ]
        return [
            require_learning(verdict, records, some)
            for verdict, some in zip(claims, ((WHOLE,), (WHOLE, EACH), (CLONING,)), strict=True)
        ]


OVER = "the exponent of M in the episodes with a reward for the whole answer, minus 1"
UNDER = "the exponent with a reward for the whole answer minus that with one for each digit"
FLAT = "the exponent of cloning"


@cache
def novices(task: Memorize, policy_config: Policy, seeds: int, updates: int) -> Policies:
    """Clones that know all problems but the first."""
    return training_study.train_policies(
        training_study.fresh(policy_config, seeds),
        task,
        policy_config,
        swap(WarmStart().algorithm, actor=Others()),
        updates,
    )[0]


def first(
    rows: list[training_study.Entry],
) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """At which update an evaluation found TARGET, or else the last one; and whether one did."""
    rows = [row for row in rows if "eval_success" in row]
    there = np.array([row["eval_success"] for row in rows]) >= TARGET
    steps = np.array([row["step"] for row in rows])
    return np.where(there.any(0), steps[there.argmax(0)], steps[-1]), there.any(0)


def exponent(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Of each seed: the slope of log episodes against log M, by least squares; of one arm."""
    fits = []
    for seed in sorted(distinct(records, "seed")):
        own = select(records, seed=seed)
        answers, episodes = (np.log([r[x] for r in own]) for x in ("answers", "episodes"))
        fits.append(least_squares_slope(answers, episodes))
    return np.array(fits)


def require_learning(verdict: Verdict, records: list[Record], some: tuple[str, ...]) -> Verdict:
    """The verdict, which is open if too many runs of these arms did not get there."""
    ends = [r["learned"] for r in records if r["arm"] in some]
    rule = (
        f"{verdict.rule} Inconclusive if more than {MISSED:.0%} of the runs of an arm did not "
        "learn it."
    )
    least = min(np.mean([r["learned"] for r in select(records, arm=arm)]) for arm in some)
    said = verdict.outcome if least >= 1 - MISSED else "inconclusive"
    evidence = (
        f"{verdict.evidence} {len(ends) - sum(ends):.0f} of {len(ends)} runs did not learn it."
    )
    return verdict._replace(rule=rule, outcome=said, evidence=evidence)


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Episodes, and bits an episode, against the number of answers: geometric means, 95% intervals; filled where the base is largest."""
    (figure, panels), bases = figures.page(1, 2, height=2.7), distinct(records, "base")
    left, right = panels[0]
    looks = {arm: figures.styles(list(ARMS))[arm] for arm in ARMS}
    runs = [(arm, base) for base in bases for arm in ARMS]
    for i, (arm, base) in enumerate(runs):
        own = select(records, arm=arm, base=base)
        answers = np.array(sorted(distinct(own, "answers")))
        taken = [sweep.by_seed(own, "episodes", answers=m) for m in answers]
        look = looks[arm] | {
            "markerfacecolor": looks[arm]["color"] if base == max(bases) else "white"
        }
        figures.bars(left, answers, taken, look, "ratio", (i, len(runs)))
        figures.bars(
            right,
            answers,
            [np.log2(m) / x for m, x in zip(answers, taken)],
            look,
            "ratio",
            (i, len(runs)),
        )
    answers = np.array(sorted(distinct(records, "answers")))
    left.plot(answers, answers, color=figures.GREY, linestyle=":", linewidth=1)
    for panel, label in (
        (left, f"episodes until {TARGET:.0%} success"),
        (right, "bits an episode"),
    ):
        figures.log_scale(panel)
        panel.set_xscale("log", base=2)
        figures.ticks(panel, answers)
        panel.set(xlabel="possible answers M", ylabel=label)
    handles = [
        *figures.entries(looks),
        Line2D([], [], color=figures.GREY, linestyle=":", label="M episodes"),
    ]
    for base in bases:
        filled = dict(
            color=figures.GREY, markerfacecolor=figures.GREY if base == max(bases) else "white"
        )
        handles.append(
            Line2D([], [], marker="o", linestyle="", label=f"digits with {base} values", **filled)
        )
    return figures.legend(
        figure,
        [
            *handles,
            figures.interval_legend(len(distinct(records, "seed")), mean="geometric mean, "),
        ],
    )


if __name__ == "__main__":
    console.main(partial(study.run, BitsPerEpisode()))
