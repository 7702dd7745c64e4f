"""Do episodes fail at a constant rate, and what does the shape of their survival tell?

    python -m experiments.studies.half_life
    python -m experiments.studies.half_life --contexts markov --turns 48 --seeds 10

Kwa et al. (METR, 2503.14499) and Ord (2505.05115) describe an agent's success as falling
exponentially with the length of the task, as if it failed at a constant rate. Here one policy
learns to keep easy and hard running sums (one or two numbers a turn). The measured quantity is the
number of turns before an episode's first error. A Weibull law is fitted to it, in which the chance
to survive t turns is exp(−(t / λ)ᵏ) (experiments/harness/survival.py): for easy problems, for hard
ones, and for both together.

With a constant failure rate k is 1, and it is below 1 if the rate falls over time. In `markov`
context the policy sees only its last answer, so that nothing but the problem can change its rate.
In `history` context it sees all that it did before. The rules ask for k = 1 in markov context, for
a lower k where easy and hard problems are mixed, and for k above 1 and clustered errors in history
context.
"""

import math
import textwrap
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import matplotlib
import numpy as np
from jaxtyping import Bool, Float
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
from experiments.harness.survival import measure_survival
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select
from experiments.reports.verdicts import above_zero, near_zero

CONTEXTS = {"markov": "its own turn", "history": "the whole episode"}
ALONE, BOTH = ("easy", "hard"), "mixed"
LEG = 10  # updates between two evaluations of the accuracy


@dataclass(frozen=True)
class HalfLife(training_study.TrainingStudy):
    """Do episodes fail at a constant rate, and what does the shape of their survival tell?

    Fits Weibull laws to the first errors.
    """

    contexts: tuple[str, ...] = tuple(CONTEXTS)
    turns: Annotated[int, Range(3)] = 24  # of an episode, in training too
    # accuracy at hard problems at which cloning ends, for each seed
    target: Annotated[float, Range(0, below=1)] = 0.9
    updates: Count = 800  # of cloning at most, on 64 easy and 64 hard demonstrations each
    demos: Count = 128  # of easy problems, and as many of hard ones; seen again and again
    problems: Count = 2048  # unseen easy ones, and as many hard ones

    claim: ClassVar[str] = (
        "Kwa et al. (METR, 2503.14499) and Ord (2505.05115): an agent's success falls "
        "exponentially with a task's length, as if it failed at a constant rate. Hamilton (2026): "
        "Weibull laws with k below 1 fit better. Predicted: k = 1 for problems that are equally "
        "hard; below 1 where easy and hard ones are mixed, whose survivors are the easy ones, so "
        "that k < 1 is no sign of corrected errors; above 1 where an agent reads all that it did "
        "before, and errors breed errors."
    )
    headline: ClassVar[str] = "k"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "accuracy": "of a turn, in episodes without an error so far",
        "k": "of the Weibull law; 1: the rate of failure is constant, below 1: it falls",
        "T50, T80": "turns that half of the episodes, and 80% of them, come through, by that "
        "law; constant rate: T50 = 3.1 T80",
        "AIC gain": "Akaike's criterion of the law with k = 1 minus that of the Weibull law; "
        "above 0 the latter is better",
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
            f"updates must be a multiple of {LEG}, the updates between two evaluations, "
            f"not {self.updates}.",
        )

    def cells(self) -> list[Record]:
        return [dict(context=context) for context in self.contexts]

    def records(self, cell: Record) -> list[Record]:
        config = replace(self.policy_config, context=cell["context"])
        tasks = {
            name: RunningSum(num_turns=self.turns, numbers_per_turn=n)
            for name, n in zip(ALONE, (1, 2), strict=True)
        }
        policies = self.clones(tasks, config)
        right = {name: self.right_turns(policies, task, config) for name, task in tasks.items()}
        right[BOTH] = np.concatenate([right[name] for name in ALONE], axis=1)
        records = []
        for name, of_seeds in right.items():
            for seed, of_seed in enumerate(of_seeds):
                records.append({"seed": seed, "difficulty": name} | measure_survival(of_seed))
        return records

    def right_turns(
        self, policies: Policies, task: RunningSum, policy_config: Policy
    ) -> Bool[np.ndarray, "S N T"]:
        """Returns which turns are right in an episode of each unseen problem."""
        episodes = training_study.play_test_episodes(policies, task, policy_config, self.problems)
        return np.asarray(matches_expert(episodes))[:, :, 0]

    def clones(self, tasks: Task, policy_config: Policy) -> Policies:
        """Returns the clones of each seed that first reach the target accuracy.

        Raises: ConfigError if a seed does not reach it.
        """
        algorithm = swap(
            WarmStart(num_demos=self.demos).algorithm,
            optimizer=replace(training_study.CLONING, warmup=0),
            problems=128,
        )
        policies, reached = training_study.fresh(policy_config, self.seeds), {}
        for _ in range(self.updates // LEG):
            policies, _ = training_study.train_policies(
                policies, tasks, policy_config, algorithm, LEG
            )
            metrics = training_study.evaluate_policies(
                policies, tasks["hard"], policy_config, problems=256
            )
            accuracies = metrics["per_turn_accuracy"]
            for seed, accuracy in enumerate(accuracies):
                if accuracy >= self.target and seed not in reached:
                    reached[seed] = jax.tree.map(lambda x, seed=seed: x[seed], policies.params)
            if len(reached) == self.seeds:
                params = [reached[seed] for seed in range(self.seeds)]
                return policies._replace(params=jax.tree.map(lambda *x: np.stack(x), *params))
        missing = [float(accuracies[seed]) for seed in range(self.seeds) if seed not in reached]
        raise ConfigError(
            f"{len(missing)} of {self.seeds} seeds did not reach an accuracy of {self.target} in "
            f"{self.updates} updates (the lowest ended at {min(missing):.2f}): raise --updates, or "
            "lower --target."
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
        lines = []
        for context in self.contexts:
            selected = select(records, context=context)
            for line in sweep.table(selected, "difficulty", columns, lines="context"):
                lines.append({"context": context} | line)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"half_life": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        verdicts = []
        if "markov" in self.contexts:
            verdicts.append(judge_constant_rate(records))
        verdicts += [judge_mixing(records, context) for context in self.contexts]
        if len(self.contexts) == 2:
            verdicts += [judge_rising_rate(records), judge_clustering(records)]
        return verdicts


# Rules


def judge_constant_rate(records: list[Record]) -> Verdict:
    """Judges whether k is 1 among problems that are equally hard, in markov context."""
    return near_zero(
        "Among problems that are equally hard, an agent that sees its own turn fails at a "
        "constant rate",
        "markov: k of easy and of hard problems, on average, minus 1",
        k_alone(records, "markov") - 1,
        margin=0.1,
    )


def judge_mixing(records: list[Record], context: str) -> Verdict:
    """Judges whether mixing easy and hard problems lowers k."""
    mixed = sweep.by_seed(records, "k", context=context, difficulty=BOTH)
    return above_zero(
        "Mixing easy and hard problems alone lowers k where the agent sees " + CONTEXTS[context],
        f"{context}: that average minus k of mixed problems",
        k_alone(records, context) - mixed,
    )


def judge_rising_rate(records: list[Record]) -> Verdict:
    """Judges whether k is above 1 in history context."""
    return above_zero(
        "An agent that sees all that it did before fails at a rate that rises",
        "history: k of easy and of hard problems, on average, minus 1",
        k_alone(records, "history") - 1,
    )


def judge_clustering(records: list[Record]) -> Verdict:
    """Judges whether errors cluster more in history context than in markov context."""
    more = {name: clustering(records, name) for name in ALONE}
    means = ", ".join(f"{x.mean():+.2f} in {name} ones" for name, x in more.items())
    return above_zero(
        "There, errors come in clusters, in problems that are equally hard",
        "log of the rate of errors after the first one over that until then, easy and hard on "
        "average, in history minus in markov",
        np.mean(list(more.values()), axis=0),
        f"It is {means}.",
    )


def clustering(records: list[Record], difficulty: str) -> Float[np.ndarray, " seeds"]:
    """Returns how much more errors follow the first one in history than in markov context."""
    history, markov = (
        sweep.by_seed(records, "after", context=name, difficulty=difficulty)
        for name in ("history", "markov")
    )
    return history - markov


def k_alone(records: list[Record], context: str) -> Float[np.ndarray, " seeds"]:
    """Returns the mean k of easy and of hard problems, each measured on its own."""
    each = [sweep.by_seed(records, "k", context=context, difficulty=name) for name in ALONE]
    return np.mean(each, axis=0)


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots survival in each context, measured (marks) and by the fitted laws (lines), and k.

    Survival is a geometric mean over seeds.
    """
    contexts, difficulties = distinct(records, "context"), distinct(records, "difficulty")
    looks = {name: figures.styles(difficulties)[name] for name in difficulties}
    figure, panels = figures.page(1, len(contexts) + 1, height=2.7)
    *alive, last = panels[0]
    for panel, context in zip(alive, contexts, strict=True):
        for name, look in looks.items():
            selected = select(records, context=context, difficulty=name)
            if selected:
                plot_survival(panel, selected, look)
        panel.set(title=f"sees {CONTEXTS[context]}", xlabel="turns", yscale="log", ylim=(0.1, 1.1))
        panel.set_yticks([0.1, 0.3, 1], ["10%", "30%", "100%"])
        panel.minorticks_off()
    alive[0].set_ylabel("episodes without an error")
    plot_k(last, records, looks)
    kinds = (("o", "", "measured, geometric mean"), ("", "-", "fitted law"))
    grey = [
        Line2D([], [], color=figures.GREY, marker=marker, linestyle=line, label=label)
        for marker, line, label in kinds
    ]
    seeds = figures.interval_legend(len(distinct(records, "seed")), mean="k: ")
    return figures.legend(figure, [*figures.entries(looks), *grey, seeds])


def plot_survival(panel: Axes, records: list[Record], look: dict) -> None:
    """Plots marks and a line; a constant rate is a straight line."""
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


def plot_k(panel: Axes, records: list[Record], looks: dict[str, dict]) -> None:
    """Plots k with its 95% interval over seeds, a line for each context and difficulty."""
    contexts, difficulties = distinct(records, "context"), (*ALONE, BOTH)
    num_lines = len(contexts) * len(difficulties)
    places = np.arange(num_lines).reshape(len(contexts), len(difficulties))
    for context, of_context in zip(contexts, places, strict=True):
        for name, y in zip(difficulties, of_context, strict=True):
            k = sweep.by_seed(records, "k", context=context, difficulty=name)
            figures.bars(panel, [y], [k], looks[name] | {"linestyle": ""}, across=True)
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set(
        title="k of the Weibull law", xlabel="< 1: the rate falls", ylim=(num_lines - 0.4, -0.6)
    )
    labels = [f"sees\n{textwrap.fill(CONTEXTS[context], 10)}" for context in contexts]
    panel.set_yticks(places.mean(axis=1), labels, fontsize=8)
    panel.grid(axis="y", visible=False)


if __name__ == "__main__":
    console.main(partial(study.run, HalfLife()))
