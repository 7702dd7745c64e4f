"""Does an agent err more often where it sees errors that it made before, and what cures it?

    python -m experiments.studies.self_conditioning
    python -m experiments.studies.self_conditioning --agents careful mixed rloo --rates 0 0.5

Sinha et al. (2509.09677) find that a language model's accuracy at a step falls as it sees more
errors of its own. Here policies keep a running sum with all of their earlier answers in view, each
marked right or wrong. At the evaluation a share of these answers is replaced by wrong ones, as if
they were the policy's own. Measured is the probability of a right answer in the last quarter of the
episode. An answer is right if it follows from the one before, even if that one is wrong, so that
only the skill at that turn counts. As language models do, a policy may learn from authors of
different care, whose errors tell who writes.

The rules judge the slope of the accuracy against the share of wrong answers: it must be negative
after cloning, and each cure must leave less than half of it.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agentic_rl import algorithms, problems
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Fraction, Range
from agentic_rl.envs.running_sum import RunningSum
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.types import Environment, State
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, least_squares_slope, select
from experiments.reports.verdicts import above_zero, near_zero

AGENTS = {
    "careful": "clones demonstrations without an error",
    "mixed": "clones authors, half of them careless",
    "sft": "mixed, then clones demonstrations without an error",
    "corrected": "mixed, then clones what is right behind errors",
    "dagger": "mixed, then asks the expert behind its own answers",
    "rloo": "mixed, then RL for right answers",
    "unmarked": "mixed, but no mark says what was right",
    "markov": "unmarked, and sees its own turn alone",
}
CURES = ("corrected", "dagger", "rloo")
LEAST = 0.02  # a slope that counts: .01 of accuracy where half of the answers are wrong


@config
class Authors(Expert):
    """Half of the demonstrations are by the expert, half by a careless author.

    A share of `noise` of the careless author's answers is random.
    """

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """Returns the demonstrated action; each problem has one author throughout."""
        is_careless = problems.instance_hash(state.number) % 2 == 0
        return jnp.where(is_careless, super().act(task, key, state), task.expert(state))


@dataclass(frozen=True)
class SelfConditioning(training_study.TrainingStudy):
    """Does an agent err more often where it sees errors that it made before, and what cures it?

    Replaces answers in view by wrong ones.
    """

    agents: tuple[str, ...] = tuple(AGENTS)
    # shares of the answers in view that are wrong
    rates: tuple[Annotated[float, Range(0, 0.9)], ...] = (0.0, 0.1, 0.25, 0.5)
    # turns of an episode, in training too
    turns: Annotated[int, Range(4, why="to have a last quarter")] = 16
    noise: Fraction = 0.5  # share of random answers by careless authors
    clone_updates: Count = 50  # of all agents at first, on 64 demonstrations without an error
    updates: Count = 40  # of each later step, on 128 episodes

    claim: ClassVar[str] = (
        "Sinha et al. (2509.09677): a model's accuracy at a step falls as it sees more errors of "
        "its own, and larger models are no better. Predicted: so it is with clones, and most where "
        "they learn from authors of different care; further demonstrations without an error leave "
        "more than half of it, while RL, DAgger and cloning what is right behind errors leave "
        "less, as does hiding the marks."
    )
    headline: ClassVar[str] = "accuracy"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "slope": "of the accuracy against the share of wrong answers, by least squares",
        "wrong": "share of the answers in view that are wrong; below it the chance of a right one "
        "in the last quarter of an episode",
    } | AGENTS
    tiny: ClassVar[dict[str, Any]] = dict(
        agents=("mixed", "rloo", "markov"),
        rates=(0.0, 0.5),
        turns=4,
        clone_updates=1,
        updates=1,
        problems=64,
        seeds=2,
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.agents:
            look_up("agent", name, AGENTS)
        check(len(self.rates) >= 2, "rates are two shares or more.")

    def cells(self) -> list[Record]:
        return [dict(agent=agent) for agent in self.agents]

    def records(self, cell: Record) -> list[Record]:
        name = cell["agent"]
        task = RunningSum(num_turns=self.turns, feedback=name not in ("unmarked", "markov"))
        config = replace(self.policy_config, context="markov" if name == "markov" else "history")
        policies = self.policies(name, task, config)
        records = []
        for rate in self.rates:
            chances = answer_chances(policies, task, config, self.problems, rate)
            accuracy = chances[:, -(self.turns // 4) :].mean(1)
            for record in training_study.records({"accuracy": accuracy}):
                records.append({"rate": rate} | record)
        return records

    def policies(self, name: str, task: RunningSum, policy_config: Policy) -> Policies:
        """Returns the trained policies of an agent."""
        if name in ("mixed", "unmarked", "markov"):
            return clone_mixed_authors(self, task, policy_config)
        if name == "careful":
            start = clone_careful_author(self, task, policy_config)
        else:
            start = clone_mixed_authors(self, task, policy_config)
        if name == "rloo":
            task = replace(task, reward="per_turn")
        algorithm = algorithm_for(name, self.noise)
        return training_study.train_policies(start, task, policy_config, algorithm, self.updates)[0]

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for name in distinct(records, "agent"):
            selected = select(records, agent=name)
            line = {"agent": name, "slope": sweep.cell(slope(selected), "+.3f")}
            for rate in self.rates:
                accuracy = sweep.by_seed(selected, "accuracy", rate=rate)
                line[f"{rate:g} wrong"] = sweep.cell(accuracy, ".3f")
            lines.append(line)
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"self_conditioning": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        slopes = {name: slope(select(records, agent=name)) for name in self.agents}
        verdicts = [
            judge_fall(name, slopes[name]) for name in ("careful", "mixed") if name in slopes
        ]
        if "mixed" in slopes:
            for name in ("sft", *CURES, "unmarked"):
                if name in slopes:
                    verdicts.append(judge_cure(name, slopes["mixed"], slopes[name]))
        if "markov" in slopes:
            claim, what = "What is not seen does not count", "markov's slope"
            verdicts.append(near_zero(claim, what, slopes["markov"], margin=LEAST))
        return verdicts


# Policies


def algorithm_for(name: str, noise: float) -> Algorithm:
    """Returns the algorithm of an agent's last step of training."""
    clone = swap(algorithms.SFT, problems=128, optimizer=training_study.CLONING)
    own = {
        "mixed": swap(clone, actor=Authors(noise=noise)),
        "corrected": swap(clone, actor=Expert(noise=noise), labels="expert"),
        "dagger": swap(algorithms.DAGGER, problems=128, optimizer=training_study.CLONING),
        "rloo": swap(algorithms.RLOO, problems=16),
    }
    return own.get(name, clone)


def clone_careful_author(
    flags: SelfConditioning, task: RunningSum, policy_config: Policy
) -> Policies:
    """Returns clones of 64 demonstrations without an error."""
    return training_study.clone_policies(
        task, policy_config, flags.seeds, flags.clone_updates, num_demos=64
    )


@cache
def clone_mixed_authors(
    flags: SelfConditioning, task: RunningSum, policy_config: Policy
) -> Policies:
    """Returns clones of careful and of careless authors."""
    start = clone_careful_author(flags, task, policy_config)
    algorithm = algorithm_for("mixed", flags.noise)
    return training_study.train_policies(start, task, policy_config, algorithm, flags.updates)[0]


def answer_chances(
    policies: Policies, task: RunningSum, policy_config: Policy, problems: int, rate: float
) -> Float[np.ndarray, "seeds turns"]:
    """Returns the probability of a right answer at each turn, as a mean over unseen problems.

    Args: rate: share of the earlier answers in view that is wrong.
    """
    noise = rate * task.modulus / (task.modulus - 1)  # a random answer may be the right one
    log_prob, _ = training_study.expert_log_probs(policies, task, policy_config, problems, noise)
    return np.exp(log_prob[..., 0]).mean(1)


# Rules


def slope(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Returns the least-squares slope of an agent's accuracy against the share of wrong answers."""
    rates = sorted(distinct(records, "rate"))
    accuracy = [sweep.by_seed(records, "accuracy", rate=rate) for rate in rates]
    return least_squares_slope(np.array(rates), np.array(accuracy))


def judge_fall(name: str, own: Float[np.ndarray, " seeds"]) -> Verdict:
    """Judges whether an agent answers worse, the more errors it sees.

    Args: own: its slope.
    """
    claim = f"{name}: an agent that {AGENTS[name]} answers worse, the more errors it sees"
    what = f"minus {name}'s slope, less the {LEAST} from which on it counts"
    return above_zero(claim, what, -own - LEAST)


def judge_cure(
    name: str, before: Float[np.ndarray, " seeds"], after: Float[np.ndarray, " seeds"]
) -> Verdict:
    """Judges whether an agent has less than half of the slope of mixed, or more than half for sft.

    Args: before: the slope of mixed; after: the agent's slope.
    """
    more = name == "sft"
    claim = f"{name} ({AGENTS[name]}) has {'more' if more else 'less'} than half of that"
    what = f"{name}'s slope minus half of mixed's" + ", negated" * more
    return above_zero(claim, what, (after - before / 2) * (-1 if more else 1))


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots accuracy against the share of wrong answers in view.

    Left: agents by what they cloned. Right: what came after mixed.
    """
    names = distinct(records, "agent")
    looks = {name: look for name, look in figures.styles(list(AGENTS)).items() if name in names}
    parts = {
        "what was cloned": ("careful", "mixed", "unmarked", "markov"),
        "what came after mixed authors": ("mixed", "sft", *CURES),
    }
    figure, panels = figures.page(1, 2, height=2.8, sharey=True)
    for panel, (title, shown) in zip(panels[0], parts.items(), strict=True):
        plot_agents(panel, records, {name: looks[name] for name in names if name in shown})
        panel.set(title=title, xlabel="share of wrong answers in view")
    panels[0][0].set(ylabel="chance of a right answer", ylim=(-0.03, 1.03))
    handles = figures.entries(looks, label=IN_WORDS.get)
    seeds = figures.interval_legend(len(distinct(records, "seed")))
    return figures.legend(figure, [*handles, seeds])


def plot_agents(panel: Axes, records: list[Record], looks: dict[str, dict]) -> None:
    """Plots a line for each agent in `looks`."""
    rates = sorted(distinct(records, "rate"))
    for i, (name, look) in enumerate(looks.items()):
        each = [sweep.by_seed(records, "accuracy", agent=name, rate=rate) for rate in rates]
        figures.bars(panel, rates, each, look, "share", (i, len(looks)))
    figures.ticks(panel, rates)


IN_WORDS = {
    "careful": "careful authors",
    "mixed": "mixed authors",
    "unmarked": "mixed, no marks",
    "markov": "mixed, sees one turn",
    "sft": "then SFT without errors",
    "corrected": "then SFT behind errors",
    "dagger": "then DAgger",
    "rloo": "then RLOO",
}


if __name__ == "__main__":
    console.main(partial(study.run, SelfConditioning()))
