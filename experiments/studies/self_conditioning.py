"""Does an agent err more often where it sees errors that it made before, and what cures it?

    python -m experiments.studies.self_conditioning
    python -m experiments.studies.self_conditioning --agents careful mixed rloo --rates 0 0.5 --seeds 10

Policies keep a running sum with all of their earlier answers in view, each marked right or wrong. At the evaluation a share of these
answers is replaced by wrong ones, as if they were the policy's own, and the chance that it answers right in the last quarter of the episode
is read from its probabilities. An answer is right if it follows from the one before, wrong as that may be: only the skill at that turn
counts. As language models do, a policy may learn from authors of different care, whose errors tell who writes.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
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
LEAST = 0.02  # a slope that counts: a hundredth of accuracy, where half of the answers are wrong


@config
class Authors(Expert):
    """Half of the demonstrations are by the expert, half by a careless author, of whose answers a share of `noise` is random."""

    def act(self, task: Environment, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """The demonstrated action."""
        is_careless = problems.instance_hash(state.number) % 2 == 0
        return jnp.where(is_careless, super().act(task, key, state), task.expert(state))


@dataclass(frozen=True)
class SelfConditioning(training_study.TrainingStudy):
    """Does an agent err more often where it sees errors that it made before, and what cures it? Replaces answers by wrong ones."""

    agents: tuple[str, ...] = tuple(AGENTS)
    rates: tuple[Annotated[float, Range(0, 0.9)], ...] = (
        0.0,
        0.1,
        0.25,
        0.5,
    )  # of answers that are wrong
    turns: Annotated[int, Range(4, why="to have a last quarter")] = (
        16  # of an episode, in training too
    )
    noise: Fraction = 0.5  # of careless authors
    clone_updates: Count = 50  # at first, of all agents, on 64 demonstrations without an error
    updates: Count = 40  # of each step after that, on 128 episodes

    claim: ClassVar[str] = (
        "Sinha et al. (2509.09677): a model's accuracy at a step falls as it sees more errors of its own, and larger models are no better. "
        "Predicted: so it is with clones, and most where they learn from authors of different care; further demonstrations without an "
        "error leave more than half of it, while RL, DAgger and cloning what is right behind errors leave less, as does hiding the marks."
    )
    headline: ClassVar[str] = "accuracy"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "slope": "of the accuracy against the share of wrong answers, by least squares",
        "wrong": "share of the answers in view that are wrong; below it the chance of a right one in the last quarter of an episode",
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
        size = replace(self.policy_config, context="markov" if name == "markov" else "history")
        policies = self.policies(name, task, size)
        late = [
            answers(policies, task, size, self.problems, rate)[:, -(self.turns // 4) :].mean(1)
            for rate in self.rates
        ]
        return [
            {"rate": rate} | r
            for rate, accuracy in zip(self.rates, late, strict=True)
            for r in training_study.records({"accuracy": accuracy})
        ]

    def policies(self, name: str, task: RunningSum, policy_config: Policy) -> Policies:
        """Of an agent."""
        if name in ("mixed", "unmarked", "markov"):
            return clone_mixed_authors(self, task, policy_config)
        start = (
            training_study.clone_policies(
                task, policy_config, self.seeds, self.clone_updates, num_demos=64
            )
            if name == "careful"
            else clone_mixed_authors(self, task, policy_config)
        )
        paid = replace(task, reward="per_turn") if name == "rloo" else task
        return training_study.train_policies(
            start, paid, policy_config, algorithm_for(name, self.noise), self.updates
        )[0]

    def lines(self, records: list[Record]) -> list[Record]:
        found = []
        for name in distinct(records, "agent"):
            own = select(records, agent=name)
            wrong = {
                f"{rate:g} wrong": sweep.cell(sweep.by_seed(own, "accuracy", rate=rate), ".3f")
                for rate in self.rates
            }
            found.append({"agent": name, "slope": sweep.cell(slope(own), "+.3f")} | wrong)
        return found

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"self_conditioning": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        slopes = {name: slope(select(records, agent=name)) for name in self.agents}
        judged = [falls(name, slopes[name]) for name in ("careful", "mixed") if name in slopes]
        if "mixed" in slopes:
            judged += [
                leaves(name, slopes["mixed"], slopes[name])
                for name in ("sft", *CURES, "unmarked")
                if name in slopes
            ]
        if "markov" in slopes:
            judged.append(
                near_zero(
                    "What is not seen does not count",
                    "markov's slope",
                    slopes["markov"],
                    margin=LEAST,
                )
            )
        return judged


def algorithm_for(name: str, noise: float) -> Algorithm:
    """What an agent learns by, at last."""
    clone = swap(algorithms.SFT, problems=128, optimizer=training_study.CLONING)
    rows = {
        "mixed": swap(clone, actor=Authors(noise=noise)), "corrected": swap(clone, actor=Expert(noise=noise), labels="expert"),
        "dagger": swap(algorithms.DAGGER, problems=128, optimizer=training_study.CLONING), "rloo": swap(algorithms.RLOO, problems=16),
    }  # fmt: skip
    return rows.get(name, clone)


@cache
def clone_mixed_authors(
    asked: SelfConditioning, task: RunningSum, policy_config: Policy
) -> Policies:
    """Clones of careful and of careless authors."""
    start = training_study.clone_policies(
        task, policy_config, asked.seeds, asked.clone_updates, num_demos=64
    )
    return training_study.train_policies(
        start, task, policy_config, algorithm_for("mixed", asked.noise), asked.updates
    )[0]


def answers(
    policies: Policies, task: RunningSum, policy_config: Policy, count: int, rate: float
) -> Float[np.ndarray, "seeds turns"]:
    """The chance of a right answer at each turn behind answers of which `rate` are wrong, a mean over `count` unseen problems."""
    noise = rate * task.modulus / (task.modulus - 1)  # a random answer may be the right one
    log_prob, _ = training_study.expert_log_probs(policies, task, policy_config, count, noise)
    return np.exp(log_prob[..., 0]).mean(1)


# Rules


def slope(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Of one agent's accuracy against the share of wrong answers, by least squares."""
    rates = sorted(distinct(records, "rate"))
    accuracy = [sweep.by_seed(records, "accuracy", rate=rate) for rate in rates]
    return least_squares_slope(np.array(rates), np.array(accuracy))


def falls(name: str, own: Float[np.ndarray, " seeds"]) -> Verdict:
    claim = f"{name}: an agent that {AGENTS[name]} answers worse, the more errors it sees"
    return above_zero(
        claim, f"minus {name}'s slope, less the {LEAST} from which on it counts", -own - LEAST
    )


def leaves(
    name: str, before: Float[np.ndarray, " seeds"], after: Float[np.ndarray, " seeds"]
) -> Verdict:
    """That it leaves more than half of the slope of mixed, or less."""
    more = name == "sft"
    claim = f"{name} ({AGENTS[name]}) has {'more' if more else 'less'} than half of that"
    what = f"{name}'s slope minus half of mixed's" + ", negated" * more
    return above_zero(claim, what, (after - before / 2) * (-1 if more else 1))


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Accuracy against the share of wrong answers in view: of what was cloned, and of what came after mixed."""
    names = distinct(records, "agent")
    looks = {name: look for name, look in figures.styles(list(AGENTS)).items() if name in names}
    parts = {
        "what was cloned": ("careful", "mixed", "unmarked", "markov"),
        "what came after mixed authors": ("mixed", "sft", *CURES),
    }
    figure, panels = figures.page(1, 2, height=2.8, sharey=True)
    for panel, (title, shown) in zip(panels[0], parts.items(), strict=True):
        for i, name in enumerate(there := [n for n in names if n in shown]):
            own = select(records, agent=name)
            rates = sorted(distinct(own, "rate"))
            each = [sweep.by_seed(own, "accuracy", rate=rate) for rate in rates]
            figures.bars(panel, rates, each, looks[name], "share", (i, len(there)))
        figures.ticks(panel, rates)
        panel.set(title=title, xlabel="share of wrong answers in view")
    panels[0][0].set(ylabel="chance of a right answer", ylim=(-0.03, 1.03))
    handles = figures.entries(looks, label=IN_WORDS.get)
    return figures.legend(
        figure, [*handles, figures.interval_legend(len(distinct(records, "seed")))]
    )


IN_WORDS = {
    "careful": "careful authors", "mixed": "mixed authors", "unmarked": "mixed, no marks", "markov": "mixed, sees one turn",
    "sft": "then SFT without errors", "corrected": "then SFT behind errors", "dagger": "then DAgger", "rloo": "then RLOO",
}  # fmt: skip


if __name__ == "__main__":
    console.main(partial(study.run, SelfConditioning()))
