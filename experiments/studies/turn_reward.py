"""Do rewards for a tool call keep an agent calling its tool, where the answer's reward does not?

    python -m experiments.studies.turn_reward
    python -m experiments.studies.turn_reward --familiar 0.2 0.8 --turn-reward-weight 0.5 --seeds 10

Zeng, Wei et al. (2505.11821) report that an agent rewarded for its answer alone often stops calling
its tool. Here one call of tool_chase's LOOKUP shows the answer, which is then given. The answer may
also be guessed at once: one guess, v0, is right with a probability that is varied. All arms go on
from clones that were shown both habits, by demonstrations that are often random. Two verifiers
judge a call: is it well formed (format), and does it ask for the right key (hop)? Their rewards are
added to the episode's return, which credits every turn (merged), or are credited to the turn that
earned them (turn).

Measured are the use of the tool and the share of right answers. The rules ask for outcomes alone to
lose the tool, for turn rewards to keep it and to bring more right answers, and for credit by turn
to beat merged credit. (Sizes, and the form of the first rule, were chosen on three other seeds.
There the result depended on how well the clones read what the tool shows: with outcomes alone, poor
readers always lost the tool and good readers never did.)
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl import metrics, tokens
from agentic_rl.algorithms import RLOO, SFT, Algorithm, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Finite, Positive, Probability
from agentic_rl.credit.group import Group
from agentic_rl.envs.tool_chase import VALUES, State, ToolChase
from agentic_rl.optimizer import Adam
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.types import TimeStep, Trajectory, Value
from experiments.cli import console
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct
from experiments.reports.verdicts import above_zero

GUESS = tokens.value(0)
FORMATS, HOPS = ("merged format", "turn format"), ("merged hop", "turn hop")
OUTCOME, ARMS = "outcome", ("outcome", *FORMATS, *HOPS)
# shares of the episodes, below and above which the tool counts as lost, and as always in use
NEVER, ALWAYS = 0.05, 0.95


@config
class Familiar(ToolChase):
    """One call and an answer, which is v0 with probability `familiar` and else any other value."""

    depth: Count = 1  # look-ups that the answer needs
    num_turns: Count = 2  # turns of an episode
    failure: Probability = 0.0  # probability that a call fails
    familiar: Probability = 1 / VALUES  # probability that the answer is v0

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        pick, other, known = (jax.random.fold_in(key, i) for i in range(3))
        asked = jax.random.randint(pick, (1,), 0, self.num_entries)
        answer = jax.random.randint(other, (self.num_entries,), 1, VALUES)
        answer = jnp.where(
            jax.random.bernoulli(known, self.familiar, (self.num_entries,)), 0, answer
        )
        shown = jnp.stack([jnp.int32(tokens.OBS), jnp.int32(tokens.EMPTY), tokens.entity(asked[0])])
        never = jnp.zeros(self.num_entries, bool), jnp.bool_(False)
        state = State(
            tokens.value(answer),
            asked,
            jnp.int32(0),
            jnp.zeros(self.num_turns, bool),
            jnp.int32(0),
            *never,
            shown,
        )
        return state, TimeStep(shown, jnp.float32(0), jnp.bool_(False), jnp.bool_(False))


@config
class Hasty(Expert):
    """Demonstrates the guess at once in a share `haste` of the episodes, and else is the expert."""

    haste: Probability = 0.5  # share of the episodes in which it guesses at once

    def act(self, task: Familiar, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """Returns the demonstrated action."""
        guesses = (state.turn == 0) & (jax.random.uniform(jax.random.fold_in(key, 2)) < self.haste)
        guess = jnp.array([tokens.ANSWER, GUESS, tokens.END, tokens.PAD])
        return jnp.where(guesses, guess, super().act(task, key, state))


@config
class CallCredit(Group):
    """The return plus what calls earned, minus the mean of the other attempts.

    Of what was earned before a turn, only a share `past` counts at that turn. With past = 1 this is
    RLOO (2402.14740) on the sum. With past = 0 it is the credit of MT-GRPO (2505.11821), not
    divided by the standard deviation.
    """

    format: Finite = 0.0  # for a call in the right form
    hop: Finite = 0.0  # for the expert's call
    past: Finite = 1.0  # share of what earlier turns earned that counts

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns G/(G−1) · (what counts − its mean over the attempts)."""
        call, attempts = is_call(trajectory), trajectory.reward.shape[1]
        earned = self.format * call + self.hop * (call & metrics.matches_expert(trajectory))
        before = jnp.cumsum(earned, axis=-1) - earned
        counts = (trajectory.reward + earned).sum(-1, keepdims=True) - (1 - self.past) * before
        return (counts - counts.mean(1, keepdims=True)) * attempts / (attempts - 1)


@dataclass(frozen=True)
class TurnReward(training_study.TrainingStudy):
    """Do rewards for the call itself keep an agent calling its tool?

    Compares outcomes alone with summed rewards and with credit by turn.
    """

    familiar: tuple[Probability, ...] = (0.1, 0.3, 0.5)  # probability that the guess is right
    # what a call earns that passes the verifier; a right answer earns 1
    turn_reward_weight: Positive = 0.2
    haste: Probability = 0.5  # share of the demonstrations that guess
    noise: Probability = 0.1  # share of the other demonstrated actions that are random
    # of cloning; so few that a third of the calls bring a right answer (on pilot seeds)
    clone_updates: Count = 500
    learning_rate: Positive = 1e-3  # of RL
    updates: Count = 200

    claim: ClassVar[str] = (
        "Zeng, Wei et al. (2505.11821): rewards of turns, credited by turn, make an agent call its "
        "tool always and be right in half of all cases; with outcomes alone, or the sum over the "
        "episode, it is right in 20 to 30%, and outcomes alone often end without any call. "
        "Predicted: outcomes alone lose the tool where a guess is good, rewards for turns do not."
    )
    headline: ClassVar[str] = "use"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "familiar": "the chance that a guess is right",
        "arm": "what earns besides the answer, and whether it is merged into the episode's return "
        "or credited by turn",
        "use": "share of the unseen problems at which the tool was called, in the right form; "
        "began: before RL",
        "success": "right answers at all problems",
        "reading": "right answers behind a call that asked for the right key",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        familiar=(0.3,), clone_updates=1, updates=1, problems=64, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        check(bool(self.familiar), "familiar is one probability or several.")

    @property
    def policy_config(self) -> Policy:
        return training_study.TINY

    def cells(self) -> list[Record]:
        return [dict(familiar=chance, arm=arm) for chance in self.familiar for arm in ARMS]

    def records(self, cell: Record) -> list[Record]:
        task = Familiar(familiar=cell["familiar"])
        actor = Hasty(noise=self.noise, haste=self.haste)
        start = clone_both_habits(self.policy_config, self.seeds, self.clone_updates, actor)
        algorithm = self.algorithm(cell["arm"])
        trained, _ = training_study.train_policies(
            start, task, self.policy_config, algorithm, self.updates
        )
        before, after = (self.tool_use(policies, task) for policies in (start, trained))
        return training_study.records({"began": before["use"]} | after)

    def tool_use(self, policies: Policies, task: Familiar) -> dict[str, Float[np.ndarray, " S"]]:
        """Plays unseen problems, and returns use, success and reading of each seed."""
        return measure_tool_use(
            training_study.play_test_episodes(policies, task, self.policy_config, self.problems)
        )

    def algorithm(self, arm: str) -> Algorithm:
        """Returns on-policy RLOO that credits what a call earns as the arm says."""
        how, _, verifier = arm.partition(" ")
        weights = {verifier: self.turn_reward_weight} if verifier else {}
        return swap(
            RLOO,
            credit=CallCredit(**weights, past=float(how != "turn")),
            minibatches=1,
            optimizer=Adam(learning_rate=self.learning_rate),
        )

    def lines(self, records: list[Record]) -> list[Record]:
        columns = dict.fromkeys(("began", "use", "success", "reading"), ".2f")
        return sweep.table(records, "familiar", columns, lines="arm")

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"turn_reward": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        merged = np.mean([mean(records, arm) for arm in (FORMATS[0], HOPS[0])], axis=0)
        turn = np.mean([mean(records, arm) for arm in (FORMATS[1], HOPS[1])], axis=0)
        use = {name: mean(records, f"turn {name}", "use") for name in ("format", "hop")}
        each = ", ".join(f"{x.mean():.2f} by {name}" for name, x in use.items())
        return [
            judge_loss(records),
            above_zero(
                "Rewards of turns keep the tool in use",
                f"Its use {OVER}, by turn, minus {ALWAYS}",
                np.mean(list(use.values()), axis=0) - ALWAYS,
                f"Its use is {each}.",
            ),
            above_zero(
                "They bring more right answers than outcomes",
                f"Success {OVER}, by turn minus by outcomes",
                turn - mean(records, OUTCOME),
            ),
            above_zero(
                "It matters that they are credited by turn",
                f"Success {OVER}, by turn minus merged",
                turn - merged,
            ),
        ]


OVER = "on average over the chances of a guess"


@cache
def clone_both_habits(policy_config: Policy, seeds: int, updates: int, actor: Hasty) -> Policies:
    """Returns clones of both habits, from a task where a guess is right by mere chance."""
    algorithm = swap(SFT, actor=actor, optimizer=training_study.CLONING)
    start = training_study.fresh(policy_config, seeds)
    return training_study.train_policies(start, Familiar(), policy_config, algorithm, updates)[0]


# Measures and rules


def is_call(trajectory: Trajectory) -> Bool[Array, "N G T"]:
    """Returns which turns are a call in the right form."""
    verb, key, end = (trajectory.action[..., i] for i in range(3))
    is_key = (key >= tokens.ENTITY) & (key < tokens.ENTITY + Familiar().num_entries)
    return (verb == tokens.LOOKUP) & is_key & (end == tokens.END)


def measure_tool_use(episodes: Trajectory) -> dict[str, Float[np.ndarray, " S"]]:
    """Returns numbers of each seed, measured in episodes [S, N, 1, ...].

    `use` is the share of episodes with a call, `success` that with a right answer, and `reading`
    that with a right answer among those that asked for the right key (NaN if there are none).
    """
    call = np.asarray(jax.vmap(is_call)(episodes))
    agrees = np.asarray(jax.vmap(metrics.matches_expert)(episodes))
    right, success = (call & agrees).any(-1), np.asarray(episodes.success)
    with np.errstate(invalid="ignore"):
        reading = (success & right).sum((1, 2)) / right.sum((1, 2))
    return {"use": call.any(-1).mean((1, 2)), "success": success.mean((1, 2)), "reading": reading}


def mean(records: list[Record], arm: str, column: str = "success") -> Float[np.ndarray, " seeds"]:
    """Returns each seed's mean of a column over the chances of a guess."""
    return np.mean(by_chance(records, arm, column), axis=0)


def by_chance(records: list[Record], arm: str, column: str) -> Float[np.ndarray, "chances seeds"]:
    """Returns a column of an arm at each chance of a guess."""
    chances = distinct(records, "familiar")
    return np.array([sweep.by_seed(records, column, arm=arm, familiar=x) for x in chances])


def judge_loss(records: list[Record]) -> Verdict:
    """Judges whether outcomes alone often lose the tool, where a guess is best."""
    chance = max(distinct(records, "familiar"))
    use = sweep.by_seed(records, "use", arm=OUTCOME, familiar=chance)
    num_lost, num_seeds = int((use < NEVER).sum()), len(use)
    outcome = "inconclusive"
    if (use > ALWAYS).all():
        outcome = "falsified"
    elif 2 * num_lost >= num_seeds:
        outcome = "supported"
    rule = (
        f"After RL on outcomes, where a guess is right with probability {chance:g}, at least half "
        f"of the seeds use the tool in less than {NEVER:.0%} of their episodes; falsified if every "
        f"seed uses it in more than {ALWAYS:.0%}."
    )
    evidence = f"{num_lost} of {num_seeds} seeds lost it, the least use is {use.min():.1%}."
    return Verdict("Outcomes alone often end without the tool", rule, outcome, evidence)


# Figure


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots use of the tool, and success beyond that by outcomes, against the chance of a guess.

    Points are seeds, and dashes are means.
    """
    chances = distinct(records, "familiar")
    looks = {arm: figures.styles(ARMS)[arm] | {"linestyle": ""} for arm in ARMS}
    figure, panels = figures.page(1, 2, height=2.8)
    use, success = panels[0]
    plot_arms(use, {arm: by_chance(records, arm, "use") for arm in ARMS}, looks)
    baseline = by_chance(records, OUTCOME, "success")
    gains = {arm: by_chance(records, arm, "success") - baseline for arm in ARMS}
    plot_arms(success, gains, looks)
    use.set_title("share of episodes\nthat call the tool")
    success.set_title("right answers, minus those\nwith outcomes alone")
    for panel in (use, success):
        figures.ticks(panel, range(len(chances)), [figures.number(x) for x in chances])
        panel.set(xlabel="chance that a guess is right")
    figures.fit([use], "share")
    label = f"mean over {len(distinct(records, 'seed'))} seeds"
    mean = Line2D([], [], color="black", linewidth=2, label=label)
    return figures.legend(figure, [*figures.entries(looks, label=IN_WORDS.get), mean])


def plot_arms(
    panel: Axes,
    values: dict[str, Float[np.ndarray, "chances seeds"]],
    looks: dict[str, dict],
) -> None:
    """Plots each seed's value, and the means over seeds, of arms side by side."""
    for i, (arm, each) in enumerate(values.items()):
        x = np.arange(len(each)) + 0.16 * (i - 2)
        panel.plot(x, each, **looks[arm], alpha=0.6)
        panel.hlines(each.mean(1), x - 0.07, x + 0.07, color=looks[arm]["color"], linewidth=2)


IN_WORDS = {
    OUTCOME: "outcomes alone",
    "merged format": "call's form, merged",
    "turn format": "call's form, by turn",
    "merged hop": "expert's call, merged",
    "turn hop": "expert's call, by turn",
}


if __name__ == "__main__":
    console.main(partial(study.run, TurnReward()))
