"""Does an agent that is paid for its answer alone stop calling its tool, and do rewards for the call itself keep it calling?

    python -m experiments.studies.turn_reward
    python -m experiments.studies.turn_reward --familiar 0.2 0.8 --turn-reward-weight 0.5 --seeds 10

One call of tool_chase's LOOKUP shows the answer, which is then given; or it is guessed at once, and one guess, v0, is right with a
chance that is varied. The clones that all arms go on from were shown both habits, by demonstrations that are often random. Two verifiers
judge a call: is it well formed (format), and does it ask for the right key (hop)? Their rewards are added to the episode's return, by which
every turn is credited (merged), or credited to the turn that earned them (turn). (Sizes, and the first rule's form, were chosen on three
other seeds. The outcome hangs on how well the clones read what the tool shows: where they read it badly, outcomes alone always lost the
tool, and where they read it well, never.)
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
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
NEVER, ALWAYS = (
    0.05,
    0.95,
)  # shares of the episodes, below and above which the tool counts as lost, and as always in use


@config
class Familiar(ToolChase):
    """One call and an answer, which is v0 with probability `familiar`; else it is any other."""

    depth: Count = 1
    num_turns: Count = 2
    failure: Probability = 0.0
    familiar: Probability = 1 / VALUES

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
    """Demonstrates the guess at once in this share of the episodes; else it is the expert, with its noise."""

    haste: Probability = 0.5

    def act(self, task: Familiar, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """The demonstrated action."""
        guesses = (state.turn == 0) & (jax.random.uniform(jax.random.fold_in(key, 2)) < self.haste)
        return jnp.where(
            guesses,
            jnp.array([tokens.ANSWER, GUESS, tokens.END, tokens.PAD]),
            super().act(task, key, state),
        )


@config
class CallCredit(Group):
    """The return and what calls earned, minus the other attempts' mean; of what was earned before a turn, only a share counts there.

    past 1: RLOO (2402.14740) on the sum. past 0: the credit of MT-GRPO (2505.11821), not divided by the standard deviation.
    """

    format: Finite = 0.0  # for a call in the right form
    hop: Finite = 0.0  # for the expert's call
    past: Finite = 1.0

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """G/(G−1) · (what counts − its mean over the attempts)."""
        call, attempts = is_call(trajectory), trajectory.reward.shape[1]
        earned = self.format * call + self.hop * (call & metrics.matches_expert(trajectory))
        before = jnp.cumsum(earned, axis=-1) - earned
        counts = (trajectory.reward + earned).sum(-1, keepdims=True) - (1 - self.past) * before
        return (counts - counts.mean(1, keepdims=True)) * attempts / (attempts - 1)


@dataclass(frozen=True)
class TurnReward(training_study.TrainingStudy):
    """Do rewards for the call itself keep an agent calling its tool? Compares outcomes alone with sums and with credit by turn."""

    familiar: tuple[Probability, ...] = (0.1, 0.3, 0.5)  # the chance of a guess
    turn_reward_weight: Positive = (
        0.2  # what a call earns that passes the verifier; a right answer earns 1
    )
    haste: Probability = 0.5  # share of the demonstrations that guess
    noise: Probability = 0.1  # share of the other demonstrated actions that are random
    clone_updates: Count = 500  # of cloning; so few that a third of their calls bring a right answer (on pilot seeds), between the chances
    learning_rate: Positive = 1e-3  # of RL
    updates: Count = 200

    claim: ClassVar[str] = (
        "Zeng, Wei et al. (2505.11821): rewards of turns, credited by turn, make an agent call its tool always and be right in half of all "
        "cases; with outcomes alone, or the sum over the episode, it is right in 20 to 30%, and outcomes alone often end without any call. "
        "Predicted: outcomes alone lose the tool where a guess is good, rewards for turns do not."
    )
    headline: ClassVar[str] = "use"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "familiar": "the chance that a guess is right",
        "arm": "what earns besides the answer, and whether it is merged into the episode's return or credited by turn",
        "use": "share of the unseen problems at which the tool was called, in the right form; began: before RL",
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
        start = clone_both_habits(
            self.policy_config,
            self.seeds,
            self.clone_updates,
            Hasty(noise=self.noise, haste=self.haste),
        )
        policies, _ = training_study.train_policies(
            start, task, self.policy_config, self.row(cell["arm"]), self.updates
        )
        before, after = (
            measure_tool_use(
                training_study.play_test_episodes(x, task, self.policy_config, self.problems)
            )
            for x in (start, policies)
        )
        return training_study.records({"began": before["use"]} | after)

    def row(self, arm: str) -> Algorithm:
        """On-policy; what a call earns is credited as the arm says."""
        how, _, what = arm.partition(" ")
        credit = CallCredit(
            **({what: self.turn_reward_weight} if what else {}), past=float(how != "turn")
        )
        return swap(
            RLOO, credit=credit, minibatches=1, optimizer=Adam(learning_rate=self.learning_rate)
        )

    def lines(self, records: list[Record]) -> list[Record]:
        return sweep.table(
            records,
            "familiar",
            dict.fromkeys(("began", "use", "success", "reading"), ".2f"),
            lines="arm",
        )

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"turn_reward": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        merged, turn = (
            np.mean([mean(records, f"{how} {what}") for what in ("format", "hop")], axis=0)
            for how in ("merged", "turn")
        )
        use = {what: mean(records, f"turn {what}", "use") for what in ("format", "hop")}
        always, each = (
            np.mean(list(use.values()), axis=0),
            ", ".join(f"{x.mean():.2f} by {what}" for what, x in use.items()),
        )
        return [
            lost(records),
            above_zero(
                "Rewards of turns keep the tool in use",
                f"Its use {OVER}, by turn, minus {ALWAYS}",
                always - ALWAYS,
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
    """Those that cloned both habits, where a guess is right by mere chance."""
    row = swap(SFT, actor=actor, optimizer=training_study.CLONING)
    return training_study.train_policies(
        training_study.fresh(policy_config, seeds), Familiar(), policy_config, row, updates
    )[0]


def is_call(trajectory: Trajectory) -> Bool[Array, "N G T"]:
    """Which turns are a call in the right form."""
    verb, key, end = (trajectory.action[..., i] for i in range(3))
    return (
        (verb == tokens.LOOKUP)
        & (key >= tokens.ENTITY)
        & (key < tokens.ENTITY + Familiar().num_entries)
        & (end == tokens.END)
    )


def measure_tool_use(played: Trajectory) -> dict[str, Float[np.ndarray, " S"]]:
    """Use of the tool, success, and success behind the right call (NaN without one) of each seed, of episodes [S, N, 1, ...]."""
    call, agrees = (np.asarray(jax.vmap(f)(played)) for f in (is_call, metrics.matches_expert))
    right, success = (call & agrees).any(-1), np.asarray(played.success)
    with np.errstate(invalid="ignore"):
        reading = (success & right).sum((1, 2)) / right.sum((1, 2))
    return {"use": call.any(-1).mean((1, 2)), "success": success.mean((1, 2)), "reading": reading}


def mean(records: list[Record], arm: str, column: str = "success") -> Float[np.ndarray, " seeds"]:
    """Of each seed over the chances of a guess."""
    return np.mean(
        [
            sweep.by_seed(records, column, arm=arm, familiar=chance)
            for chance in distinct(records, "familiar")
        ],
        axis=0,
    )


def lost(records: list[Record]) -> Verdict:
    """Whether outcomes alone often lose the tool, where a guess is best."""
    chance = max(distinct(records, "familiar"))
    use = sweep.by_seed(records, "use", arm=OUTCOME, familiar=chance)
    gone, count = int((use < NEVER).sum()), len(use)
    kind = (
        "falsified"
        if (use > ALWAYS).all()
        else "supported"
        if 2 * gone >= count
        else "inconclusive"
    )
    rule = (
        f"After RL on outcomes, where a guess is right with probability {chance:g}, at least half of the seeds use the tool in less than "
        f"{NEVER:.0%} of their episodes; falsified if every seed uses it in more than {ALWAYS:.0%}."
    )
    return Verdict(
        "Outcomes alone often end without the tool",
        rule,
        kind,
        f"{gone} of {count} seeds lost it, the least use is {use.min():.1%}.",
    )


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Use of the tool, and success beyond that by outcomes, against the chance of a guess: each seed, and means."""
    chances, looks = (
        distinct(records, "familiar"),
        {arm: figures.styles(ARMS)[arm] | {"linestyle": ""} for arm in ARMS},
    )
    figure, panels = figures.page(1, 2, height=2.8)
    place = np.arange(len(chances))
    for panel, column in zip(panels[0], ("use", "success"), strict=True):
        for i, arm in enumerate(ARMS):
            each = np.array(
                [sweep.by_seed(records, column, arm=arm, familiar=chance) for chance in chances]
            )
            if column == "success":
                each = each - np.array(
                    [
                        sweep.by_seed(records, column, arm=OUTCOME, familiar=chance)
                        for chance in chances
                    ]
                )
            x = place + 0.16 * (i - 2)
            panel.plot(x, each, **looks[arm], alpha=0.6)
            panel.hlines(each.mean(1), x - 0.07, x + 0.07, color=looks[arm]["color"], linewidth=2)
        figures.ticks(panel, place, [figures.number(chance) for chance in chances])
        panel.set(xlabel="chance that a guess is right", title=TITLES[column])
    figures.fit([panels[0][0]], "share")
    mean = Line2D(
        [],
        [],
        color="black",
        linewidth=2,
        label=f"mean over {len(distinct(records, 'seed'))} seeds",
    )
    handles = figures.entries(looks, label=IN_WORDS.get)
    return figures.legend(figure, [*handles, mean])


TITLES = {
    "use": "share of episodes\nthat call the tool",
    "success": "right answers, minus those\nwith outcomes alone",
}
IN_WORDS = {
    OUTCOME: "outcomes alone", "merged format": "call's form, merged", "turn format": "call's form, by turn",
    "merged hop": "expert's call, merged", "turn hop": "expert's call, by turn",
}  # fmt: skip


if __name__ == "__main__":
    console.main(partial(study.run, TurnReward()))
