"""Do episodes fail at a constant rate, and what does the shape of their survival tell?

    python -m experiments.studies.half_life
    python -m experiments.studies.half_life --contexts markov --turns 48 --seeds 10

One policy learns to keep easy and hard running sums (one or two numbers a turn), and is judged by the turns before its first error. A
Weibull law, with the chance exp(−(t / λ)ᵏ) to come through t turns, is fitted to easy problems, to hard ones, and to both together. Were
the rate of failure constant, k would be 1; it is below 1 where the rate falls as time goes by. In `markov` context the policy sees its last
answer and no more, so that nothing but the problem can change its rate; in `history` context it sees all that it did before.
"""

import math
import textwrap
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import matplotlib
import numpy as np
import scipy.optimize
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl.algorithms import swap
from agentic_rl.config import ConfigError, check
from agentic_rl.config.ranges import Count, Range
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.metrics import matches_expert
from agentic_rl.policy.transformer import Policy
from agentic_rl.training.run import WarmStart
from agentic_rl.types import Task
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero, near_zero

CONTEXTS = {"markov": "its own turn", "history": "the whole episode"}
ALONE, BOTH = ("easy", "hard"), "mixed"
LEG = 10  # updates between two looks at the accuracy
POINTS = 8  # of the survival that is drawn


@dataclass(frozen=True)
class HalfLife(training_study.TrainingStudy):
    """Do episodes fail at a constant rate, and what does the shape of their survival tell? Fits Weibull laws to the first errors."""

    contexts: tuple[str, ...] = tuple(CONTEXTS)
    turns: Annotated[int, Range(3)] = 24  # of an episode, in training too
    target: Annotated[float, Range(0, below=1)] = (
        0.9  # accuracy at hard problems at which cloning ends, for each seed
    )
    updates: Count = 800  # of cloning at most, on 64 easy and 64 hard demonstrations each
    demos: Count = 128  # of easy problems, and as many of hard ones; seen again and again
    problems: Count = 2048  # unseen easy ones, and as many hard ones

    claim: ClassVar[str] = (
        "Kwa et al. (METR, 2503.14499) and Ord (2505.05115): an agent's success falls exponentially with a task's length, as if it "
        "failed at a constant rate. Hamilton (2026): Weibull laws with k below 1 fit better. Predicted: k = 1 for problems that are "
        "equally hard; below 1 where easy and hard ones are mixed, whose survivors are the easy ones, so that k < 1 is no sign of "
        "corrected errors; above 1 where an agent reads all that it did before, and errors breed errors."
    )
    headline: ClassVar[str] = "k"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "accuracy": "of a turn, in episodes without an error so far",
        "k": "of the Weibull law; 1: the rate of failure is constant, below 1: it falls",
        "T50, T80": "turns that half of the episodes, and 80% of them, come through, by that law; constant rate: T50 = 3.1 T80",
        "AIC gain": "Akaike's criterion of the law with k = 1 minus that of the Weibull law; above 0 the latter is better",
        "after": "log of the rate of errors after an episode's first one over the rate until then",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        turns=6, target=0.0, updates=10, demos=8, problems=64, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.contexts:
            look_up("context", name, CONTEXTS)
        check(len(self.contexts) >= 1, "Name a context: markov, history, or both.")
        check(
            self.updates % LEG == 0,
            f"updates must be a multiple of {LEG}, the accuracy being measured as often, not {self.updates}.",
        )

    def cells(self) -> list[Record]:
        return [dict(context=context) for context in self.contexts]

    def records(self, cell: Record) -> list[Record]:
        size = replace(self.policy_config, context=cell["context"])
        tasks = {
            name: RunningSum(num_turns=self.turns, numbers_per_turn=n)
            for name, n in zip(ALONE, (1, 2), strict=True)
        }
        policies = self.clones(size, tasks)
        right = {
            name: np.asarray(
                matches_expert(
                    training_study.play_test_episodes(policies, task, size, self.problems)
                )
            )[:, :, 0]
            for name, task in tasks.items()
        }
        right[BOTH] = np.concatenate([right[name] for name in ALONE], axis=1)
        return [
            {"seed": s, "difficulty": name} | measure_survival(x[s])
            for name, x in right.items()
            for s in range(self.seeds)
        ]

    def clones(self, policy_config: Policy, tasks: Task) -> Policies:
        """Those of each seed that first come to the target.

        Raises: ConfigError if a seed does not.
        """
        row = swap(
            WarmStart(num_demos=self.demos).algorithm,
            optimizer=replace(training_study.CLONING, warmup=0),
            problems=128,
        )
        policies, there = training_study.fresh(policy_config, self.seeds), {}
        for _ in range(self.updates // LEG):
            policies = training_study.train_policies(policies, tasks, policy_config, row, LEG)[0]
            accuracies = training_study.evaluate_policies(
                policies, tasks["hard"], policy_config, problems=256
            )["per_turn_accuracy"]
            for seed, accuracy in enumerate(accuracies):
                if accuracy >= self.target:
                    there.setdefault(
                        seed, jax.tree.map(lambda x, seed=seed: x[seed], policies.params)
                    )
            if len(there) == self.seeds:
                return policies._replace(
                    params=jax.tree.map(
                        lambda *x: np.stack(x), *[there[seed] for seed in range(self.seeds)]
                    )
                )
        missing = [float(accuracies[seed]) for seed in range(self.seeds) if seed not in there]
        raise ConfigError(
            f"{len(missing)} of {self.seeds} seeds did not come to an accuracy of {self.target} in {self.updates} updates (the worst ended "
            f"at {min(missing):.2f}): raise --updates, or lower --target."
        )

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {
            "accuracy": ".3f",
            "k": ".2f",
            "T50": ".1f",
            "T80": ".1f",
            "AIC gain": "+.1f",
            "after": "+.2f",
        }
        contexts = {
            name: sweep.table(select(records, context=name), "difficulty", columns, lines="context")
            for name in self.contexts
        }
        return [{"context": name} | line for name, lines in contexts.items() for line in lines]

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"half_life": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        shape = {name: alone(select(records, context=name), "k") for name in self.contexts}
        judged = []
        if "markov" in self.contexts:
            claim = "Among problems that are equally hard, an agent that sees its own turn fails at a constant rate"
            judged.append(
                near_zero(
                    claim,
                    "markov: k of easy and of hard problems, on average, minus 1",
                    shape["markov"] - 1,
                    margin=0.1,
                )
            )
        for name in self.contexts:
            mixed = sweep.by_seed(records, "k", context=name, difficulty=BOTH)
            claim = f"Mixing easy and hard problems alone lowers k where the agent sees {CONTEXTS[name]}"
            judged.append(
                above_zero(
                    claim, f"{name}: that average minus k of mixed problems", shape[name] - mixed
                )
            )
        if len(self.contexts) == 2:
            claim = "An agent that sees all that it did before fails at a rate that rises"
            judged.append(
                above_zero(
                    claim,
                    "history: k of easy and of hard problems, on average, minus 1",
                    shape["history"] - 1,
                )
            )
            what = "log of the rate of errors after the first one over that until then, easy and hard on average, in history minus in markov"
            more = {name: clustering(records, name) for name in ALONE}
            words = ", ".join(f"{x.mean():+.2f} in {name} ones" for name, x in more.items())
            claim = "There, errors come in clusters, in problems that are equally hard"
            judged.append(
                above_zero(claim, what, np.mean(list(more.values()), axis=0), f"It is {words}.")
            )
        return judged


def clustering(records: list[Record], difficulty: str) -> Float[np.ndarray, " seeds"]:
    """How much more errors follow the first one in history than in markov."""
    history, markov = (
        sweep.by_seed(records, "after", context=name, difficulty=difficulty)
        for name in ("history", "markov")
    )
    return history - markov


def alone(records: list[Record], column: str) -> Float[np.ndarray, " seeds"]:
    """The mean of a column over easy and hard problems, each measured on its own."""
    return np.mean([sweep.by_seed(records, column, difficulty=name) for name in ALONE], axis=0)


# Survival


class Law(NamedTuple):
    """A Weibull law: an episode comes through t of its T turns with the chance exp(−total (t / T)ᵏ)."""

    k: float
    total: float

    def hazard(self, turns: int) -> Float[np.ndarray, " turns+1"]:
        """Minus the log of the chance to come through 0, 1, ... turns."""
        return self.total * (np.arange(turns + 1) / turns) ** self.k

    def lifetime(self, share: float, turns: int) -> float:
        """The turns that this share of the episodes comes through."""
        return float(turns * (-np.log(share) / self.total) ** (1 / self.k))

    def log_likelihood(self, died: Int[np.ndarray, " turns"], alive: int) -> float:
        """Of so many episodes that had their first error at each turn, and so many that had none until the end, where they are censored.

        log(exp(−a) − exp(−b)) = −a + log(1 − exp(a − b)), for turns that begin at a and end at b.
        """
        hazard = self.hazard(len(died))
        return float(
            died @ (-hazard[:-1] + np.log(-np.expm1(-np.diff(hazard)))) - alive * hazard[-1]
        )


def constant(died: Int[np.ndarray, " turns"], alive: int) -> Law:
    """The likeliest law with k = 1: errors over turns at risk."""
    turns = np.arange(1, len(died) + 1)
    rate = died.sum() / (died @ turns + alive * len(died))
    return Law(1.0, float(-len(died) * np.log1p(-rate)))


def weibull(died: Int[np.ndarray, " turns"], alive: int) -> Law:
    """The likeliest law."""

    def loss(log):
        return -Law(*np.exp(log)).log_likelihood(died, alive) / (died.sum() + alive)

    return Law(
        *map(
            float,
            np.exp(
                scipy.optimize.minimize(loss, np.log(constant(died, alive)), method="Nelder-Mead").x
            ),
        )
    )


def measure_survival(right: Bool[np.ndarray, "episodes turns"]) -> dict[str, float]:
    """What the table shows, and at some turns the share of episodes without an error so far; NaN where errors at two turns or more lack."""
    whole = np.logical_and.accumulate(right, axis=1)
    fresh = np.concatenate(
        [np.ones_like(whole[:, :1]), whole[:, :-1]], axis=1
    )  # no error before this turn
    died, alive, turns = (fresh & ~right).sum(0), int(whole[:, -1].sum()), right.shape[1]
    rate, later = died.sum() / fresh.sum(), (~right)[~fresh]
    found = {"accuracy": 1 - rate, "after": np.log(later.mean() / rate) if later.any() else np.nan}
    found |= {f"alive {t}": whole[:, t - 1].mean() for t in marks(turns)}
    laws = (weibull(died, alive), constant(died, alive)) if (died > 0).sum() > 1 else ()
    return {
        name: float(x)
        for name, x in (found | (shape(*laws, died, alive) if laws else UNKNOWN)).items()
    }


def shape(law: Law, plain: Law, died: Int[np.ndarray, " turns"], alive: int) -> dict[str, float]:
    """Of the likeliest law, and what it gains over the one with k = 1, for one more parameter."""
    gain = 2 * (law.log_likelihood(died, alive) - plain.log_likelihood(died, alive)) - 2
    return {
        "k": law.k,
        "T50": law.lifetime(0.5, len(died)),
        "T80": law.lifetime(0.8, len(died)),
        "AIC gain": gain,
    }


UNKNOWN = dict.fromkeys(("k", "T50", "T80", "AIC gain"), np.nan)


def marks(turns: int) -> list[int]:
    """Some turns, evenly spaced.

    >>> marks(24), marks(6)
    ([3, 6, 9, 12, 15, 18, 21, 24], [1, 2, 3, 4, 5, 6])
    """
    return list(range(-(-turns // POINTS), turns + 1, -(-turns // POINTS)))


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Survival in each context, geometric means over seeds, measured (marks) and by the fitted laws (lines); and k of each."""
    contexts = distinct(records, "context")
    looks = {
        name: figures.styles(distinct(records, "difficulty"))[name]
        for name in distinct(records, "difficulty")
    }
    figure, panels = figures.page(1, len(contexts) + 1, height=2.7)
    *alive, last = panels[0]
    for panel, context in zip(alive, contexts, strict=True):
        for name, look in looks.items():
            own = select(records, context=context, difficulty=name)
            if own:
                survival(panel, own, look)
        panel.set(title=f"sees {CONTEXTS[context]}", xlabel="turns", yscale="log", ylim=(0.1, 1.1))
        panel.set_yticks([0.1, 0.3, 1], ["10%", "30%", "100%"])
        panel.minorticks_off()
    alive[0].set_ylabel("episodes without an error")
    shapes(last, records, looks)
    parts = (("o", "", "measured, geometric mean"), ("", "-", "fitted law"))
    grey = [
        Line2D([], [], color=figures.GREY, marker=m, linestyle=line, label=label)
        for m, line, label in parts
    ]
    return figures.legend(
        figure,
        [
            *figures.entries(looks),
            *grey,
            figures.interval_legend(len(distinct(records, "seed")), mean="k: "),
        ],
    )


def survival(panel: Axes, records: list[Record], look: dict) -> None:
    """Marks and a line; a constant rate is a straight line."""
    turns = np.array([int(name.split()[1]) for name in records[0] if name.startswith("alive")])
    log = np.array([[math.log(max(r[f"alive {t}"], 1e-9)) for t in turns] for r in records])
    law = np.array([[math.log(0.5) * (t / r["T50"]) ** r["k"] for t in turns] for r in records])
    panel.plot(
        turns,
        np.exp(log.mean(0)),
        label=records[0]["difficulty"],
        color=look["color"],
        marker=look["marker"],
        linestyle="",
    )
    panel.plot(turns, np.exp(law.mean(0)), color=look["color"], linestyle=look["linestyle"])


def shapes(panel: Axes, records: list[Record], style: dict[str, dict]) -> None:
    """k with its 95% interval over seeds, a line for each context and difficulty."""
    names = [(context, name) for context in distinct(records, "context") for name in (*ALONE, BOTH)]
    for y, (context, name) in enumerate(names):
        k = sweep.by_seed(records, "k", context=context, difficulty=name)
        figures.bars(panel, [y], [k], style[name] | {"linestyle": ""}, across=True)
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set(
        title="k of the Weibull law", xlabel="< 1: the rate falls", ylim=(len(names) - 0.4, -0.6)
    )
    shown = {
        context: [y for y, (one, _) in enumerate(names) if one == context] for context, _ in names
    }
    panel.set_yticks(
        [np.mean(places) for places in shown.values()],
        [f"sees\n{textwrap.fill(CONTEXTS[c], 10)}" for c in shown],
        fontsize=8,
    )
    panel.grid(axis="y", visible=False)


if __name__ == "__main__":
    console.main(partial(study.run, HalfLife()))
