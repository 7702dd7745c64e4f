"""What does learning something new cost of what was known, and does the distance from the old policy foretell it?

    python -m experiments.studies.forgetting
    python -m experiments.studies.forgetting --arms sft rloo --learning-rates 4e-4 8e-4 --kl 0.3 --seeds 20

Policies know three old rules by heart, each of which names one answer to each of 16 words, and are often right under a new one, where half
of all answers are right. Then they are trained on the new rule alone: by demonstrations of one right answer to each word (`sft`), by right
answers drawn from the old policy, which of all right policies is the nearest to it (`oracle_sft`), or from the present one (`rft`), and by
rewards without and with a KL to the old policy (`rloo`, `rloo_kl`). The questions are few, so that the divergence KL(old ‖ new) under the
new rule, and success under the old ones, are exact. (Learning rates, and the success at which arms are compared, were chosen on other
seeds, so that neither nothing nor everything is forgotten.)
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl import algorithms, tokens
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Inside, Positive, Probability
from agentic_rl.envs.parts.one_turn import OneTurn
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.optimizer import Sgd
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from agentic_rl.rollout.actors import Expert
from agentic_rl.types import Spec, TimeStep
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select, t_interval
from experiments.reports.verdicts import above_zero

SMALL = Policy(width=32, layers=1, heads=2, mlp=64, context="markov")
WORDS, OLD = 16, 3  # words, and old rules; the new one is the last
CURVE, NO_CURVE = 0.7, 0.5  # R²: from where one curve holds all arms, and below which it does not
FAR = 0.1  # nats of divergence, at which arms are set side by side
ARMS = {
    "sft": "demonstrations of one right answer",
    "oracle_sft": "right answers drawn from the old policy",
    "rft": "right answers of its own",
    "rloo": "rewards",
    "rloo_kl": "rewards, and a KL to the old policy",
}
QUICK = ("sft", "oracle_sft", "rloo", "rloo_kl")  # rft is oracle_sft with a present teacher


class State(NamedTuple):
    """The question, and whether it was answered."""

    rule: Int[Array, ""]
    word: Int[Array, ""]
    salt: Int[Array, ""]  # nothing depends on it: with it, both splits hold every question
    turn: Int[Array, ""]


@config
class Rules(OneTurn):
    """A rule and a word; old rules have one right answer to a word, under the new one every answer of the word's parity is right."""

    new: Probability = 1.0  # how often the new rule is asked about

    @property
    def spec(self) -> Spec:
        return Spec(3, 1, 1, 1, tuple(range(tokens.VALUE, tokens.VALUE + WORDS)))

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        chosen, old, word, salt = (jax.random.fold_in(key, i) for i in range(4))
        rule = jnp.where(
            jax.random.bernoulli(chosen, self.new), OLD, jax.random.randint(old, (), 0, OLD)
        )
        return self._begin(
            State(
                rule,
                jax.random.randint(word, (), 0, WORDS),
                jax.random.randint(salt, (), 0, 2**16),
                jnp.int32(0),
            )
        )

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.stack(
            [jnp.int32(tokens.BOS), tokens.VERB + state.rule, tokens.entity(state.word)]
        )

    def _judge(self, state: State, action: Int[Array, " A"]) -> Bool[Array, " A"]:
        number = action - tokens.VALUE
        fits = (number >= 0) & (number < WORDS) & (number % 2 == state.word % 2)
        return jnp.where(state.rule == OLD, fits, action == self.expert(state))

    def expert(self, state: State) -> Int[Array, " A"]:
        return tokens.value(jnp.asarray(answers())[state.rule, state.word])[None]

    def render_prompt(self, prompt) -> str:
        return f"rule {prompt[1] - tokens.VERB}, {tokens.text(prompt[2:])}"

    def render_turn(self, observation, action) -> str:
        return f"-> {tokens.text(action)}"


def answers() -> Int[np.ndarray, "rules words"]:
    """The expert's, drawn once and for all."""
    random, word = np.random.default_rng(0), np.arange(WORDS)
    old = [random.permutation(WORDS) for _ in range(OLD)]
    return np.stack([*old, 2 * random.integers(0, WORDS // 2, WORDS) + word % 2])


@config
class Teacher(Expert):
    """The expert; or, under the new rule, one who gives any of the right answers with probability `right`, else any wrong one."""

    habit: Probability = 0.0  # share of the answers under the new rule that are such a one's
    right: Probability = 0.7

    def act(self, task: Rules, key: PRNGKeyArray, state: State) -> Int[Array, " A"]:
        """The demonstrated answer."""
        half, errs, mine = (jax.random.fold_in(key, i) for i in range(2, 5))
        parity = (state.word + ~jax.random.bernoulli(errs, self.right)) % 2
        drawn = tokens.value(2 * jax.random.randint(half, (1,), 0, WORDS // 2) + parity)
        mine = (state.rule == OLD) & jax.random.bernoulli(mine, self.habit)
        return jnp.where(mine, drawn, super().act(task, key, state))


@dataclass(frozen=True)
class Forgetting(training_study.TrainingStudy):
    """What does learning something new cost of what was known?

    Compares supervised and reinforcement learning at the same new skill.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    seeds: Count = 10
    learning_rates: tuple[Positive, ...] = (2e-4, 4e-4, 8e-4, 1.6e-3)  # of plain gradient descent
    kl: Positive = 0.1  # coefficient of the KL to the old policy
    known: Inside = 0.7  # success under the new rule before
    matched: Inside = 0.8  # success under the new rule at which arms are compared
    clone_updates: Count = 1000  # of learning the old rules
    updates: Count = 100

    claim: ClassVar[str] = (
        "Shenfeld et al. (RL's Razor, 2509.04259): RL forgets less than supervised learning, "
        "because of all that is right it finds what is near to the old policy; the divergence "
        "KL(old ‖ new) on the new task foretells the loss, whatever the method (R² = .96 in a "
        "toy, .71 in language models), and demonstrations chosen to be near do as well as RL. "
        "Against it: RL Forgets! (2607.04364)."
    )
    headline: ClassVar[str] = "drop"
    legend: ClassVar[dict[str, str]] = {
        "±": "half of Student's 95% interval over seeds",
        "arm": "; ".join(f"{name}: {what}" for name, what in ARMS.items()),
        "success": "under the new rule, exact; began: before",
        "drop": "of success under the old rules, exact",
        "divergence": "KL(old ‖ new) under the new rule, in nats, exact",
    }
    tiny: ClassVar[dict[str, Any]] = dict(
        arms=QUICK, learning_rates=(1e-3, 2e-3), clone_updates=1, updates=1, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.arms:
            look_up("arm", name, ARMS)
        check(
            {"sft", "rloo"} <= set(self.arms), "arms are compared with sft and rloo: leave them in."
        )
        check(
            len(self.learning_rates) >= 2,
            "learning_rates are two or more: arms are compared at the same success, between them.",
        )
        check(
            self.known < self.matched,
            f"known ({self.known}) must be below matched ({self.matched}).",
        )

    @property
    def policy_config(self) -> Policy:
        return training_study.TINY if self.quick else SMALL

    def cells(self) -> list[Record]:
        return [dict(arm=arm, rate=rate) for arm in self.arms for rate in self.learning_rates]

    def records(self, cell: Record) -> list[Record]:
        old = clone_old_rules(self.policy_config, self.seeds, self.clone_updates, self.known)
        new, _ = training_study.train_policies(
            old, Rules(), self.policy_config, self.row(cell["arm"], cell["rate"]), self.updates
        )
        return training_study.records(
            measure_forgetting(
                log_probs(old, self.policy_config), log_probs(new, self.policy_config)
            )
        )

    def row(self, arm: str, rate: float) -> Algorithm:
        """Of an arm; a policy that is renewed after the last update is the old one."""
        how = dict(optimizer=Sgd(learning_rate=rate), minibatches=1)
        if arm == "sft":
            return swap(algorithms.SFT, actor=Teacher(), **how)
        if arm in ("rft", "oracle_sft"):
            return swap(algorithms.RFT, refresh=1 if arm == "rft" else self.updates + 1, **how)
        return swap(algorithms.RLOO, kl=ReferenceKL(self.kl if arm == "rloo_kl" else 0.0), **how)

    def lines(self, records: list[Record]) -> list[Record]:
        return sweep.table(
            records,
            "rate",
            {"began": ".2f", "success": ".3f", "drop": ".3f", "divergence": ".2f"},
            lines="arm",
        )

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"forgetting": plot_results(records, self.matched)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        at = (
            "drop of success under the old rules, where success under the new one is "
            f"{self.matched}"
        )
        cases = [
            ("RL forgets less than supervised learning", "sft", "rloo"),
            ("So does supervised learning on what is near to the old policy", "sft", "oracle_sft"),
            ("A KL to the old policy saves more", "rloo", "rloo_kl"),
        ]
        found = [judge_single_curve(records)]
        for claim, more, less in (case for case in cases if set(case[1:]) <= set(self.arms)):
            difference = loss(records, more, self.matched) - loss(records, less, self.matched)
            there = difference[~np.isnan(difference)]
            missing = (
                f"{len(difference) - len(there)} seeds of {more} or {less} do not reach it."
                if len(there) < len(difference)
                else ""
            )
            found.append(above_zero(claim, f"{at}: {more} minus {less}", there, missing))
        return found


@cache
def clone_old_rules(policy_config: Policy, seeds: int, updates: int, known: float) -> Policies:
    """Those that know the old rules, and are often right under the new one."""
    row = swap(
        algorithms.SFT,
        actor=Teacher(habit=1.0, right=known),
        optimizer=training_study.CLONING,
        minibatches=1,
    )
    return training_study.train_policies(
        training_study.fresh(policy_config, seeds),
        Rules(new=1 / (OLD + 1)),
        policy_config,
        row,
        updates,
    )[0]


def log_probs(policies: Policies, policy_config: Policy) -> Float[np.ndarray, "S rules words V"]:
    """Of every token as the answer to every question."""
    return np.asarray(_log_probs(policy_config, policies.params), float)


@partial(jax.jit, static_argnums=0)
def _log_probs(size, params):
    task, (rule, word) = Rules(), np.divmod(np.arange((OLD + 1) * WORDS), WORDS)
    token = np.stack(
        [np.full_like(rule, x) for x in (tokens.BOS, 0, 0, tokens.ACT, tokens.PAD)], axis=1
    )
    token[:, 1], token[:, 2] = tokens.VERB + rule, tokens.ENTITY + word
    token = jnp.asarray(token)
    logits = jax.lax.map(
        lambda p: transformer.apply(size, p, task.spec, token, jnp.ones_like(token, bool))[0],
        params,
    )
    return jax.nn.log_softmax(logits).reshape(-1, OLD + 1, WORDS, tokens.VOCABULARY)


def measure_forgetting(
    old: Float[np.ndarray, "S rules words V"], new: Float[np.ndarray, "S rules words V"]
) -> dict[str, Float[np.ndarray, " S"]]:
    """Success under the new rule, the drop under the old ones, and KL(old ‖ new) under the new one: means over all words."""
    known = answers()[:OLD, :, None] + tokens.VALUE
    before, after = (
        np.exp(np.take_along_axis(x[:, :OLD], known[None], axis=-1)).mean((1, 2, 3))
        for x in (old, new)
    )
    fits = np.arange(WORDS)[:, None] % 2 == np.arange(WORDS) % 2
    began, success = (
        np.where(fits, np.exp(x[:, OLD, :, tokens.VALUE : tokens.VALUE + WORDS]), 0)
        .sum(-1)
        .mean(-1)
        for x in (old, new)
    )
    divergence = (np.exp(old[:, OLD]) * (old[:, OLD] - new[:, OLD])).sum(-1).mean(-1)
    return {
        "began": began,
        "success": success,
        "knew": before,
        "drop": before - after,
        "divergence": divergence,
    }


def loss(
    records: list[Record], arm: str, matched: float, by: str = "success"
) -> Float[np.ndarray, " seeds"]:
    """The drop of an arm where its success, or its divergence, is `matched`, between its learning rates and the start.

    NaN for seeds that never reach it.
    """
    own = [select(records, arm=arm, seed=seed) for seed in sorted(distinct(records, "seed"))]
    start = [some[0]["began"] if by == "success" else 0.0 for some in own]
    return np.array(
        [
            _between([(x, 0.0), *((r[by], r["drop"]) for r in some)], matched)
            for x, some in zip(start, own, strict=True)
        ]
    )


def _between(points: list[tuple[float, float]], at: float) -> float:
    """Linear interpolation.

    >>> _between([(0.5, 0.0), (1.0, 0.4), (0.75, 0.1)], 0.875)
    0.25
    """
    x, y = np.array(sorted(points)).T
    return float(np.interp(at, x, y, right=np.nan))


def r_squared(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Of a parabola in the divergence, fitted to the drops of all arms and learning rates of a seed."""
    found = []
    for seed in sorted(distinct(records, "seed")):
        x, y = np.array([(r["divergence"], r["drop"]) for r in select(records, seed=seed)]).T
        rest = y - np.polyval(np.polyfit(x, y, 2), x)
        found.append(1 - rest.var() / y.var())
    return np.array(found)


def judge_single_curve(records: list[Record]) -> Verdict:
    """Whether one curve holds all arms."""
    found = r_squared(records)
    mean, low, high = map(float, t_interval(found))
    kind = "supported" if low > CURVE else "falsified" if high < NO_CURVE else "inconclusive"
    rule = (
        "R² of one parabola in KL(old ‖ new) under the new rule, for the drops of all arms and "
        f"learning rates: the 95% t interval over seeds lies above {CURVE}; falsified if it lies "
        f"below {NO_CURVE}."
    )
    far = {arm: loss(records, arm, FAR, by="divergence") for arm in distinct(records, "arm")}
    words = ", ".join(
        f"{np.nanmean(x):.2f} by {arm}" for arm, x in far.items() if np.isfinite(x).any()
    )
    evidence = (
        f"{mean:.2f} [{low:.2f}, {high:.2f}] over {len(found)} seeds. At a divergence of {FAR} "
        f"the drop is {words or 'not measured'}."
    )
    return Verdict(
        "The divergence on the new task foretells what is forgotten", rule, kind, evidence
    )


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record], matched: float) -> Figure:
    """The drop against the divergence, and against success under the new rule: a point for each seed and learning rate, a column for
    each arm, with all others in grey."""
    arms_ = distinct(records, "arm")
    figure, panels = figures.page(2, len(arms_), height=1.9, sharey=True, sharex="row")
    for line, column in zip(panels, ("divergence", "success"), strict=True):
        for panel, arm in zip(line, arms_, strict=True):
            points(panel, [r for r in records if r["arm"] != arm], column, "#cccccc", ".")
            points(
                panel, select(records, arm=arm), column, figures.styles(arms_)[arm]["color"], "o"
            )
    for panel, arm in zip(panels[0], arms_, strict=True):
        panel.set_title(TITLES[arm], fontsize=9)
        figures.log_scale(panel, "x")
        figures.ticks(panel, [0.001, 0.1], ["0.001", "0.1"])
    for panel in panels[1]:
        panel.axvline(matched, color=figures.GREY, linewidth=0.8, linestyle="--")
    figures.fit(panels.flat, "share")
    panels[0][len(arms_) // 2].set_xlabel("KL(old ‖ new) under the new rule, nats (log scale)")
    panels[1][len(arms_) // 2].set_xlabel(
        "success under the new rule (dashed: where arms are compared)"
    )
    figure.supylabel("drop of success under the old rules")
    handles = [Line2D([], [], linestyle="", marker=m, color=c, label=s) for m, c, s in POINTS]
    return figures.legend(figure, handles)


POINTS = (
    ("o", "black", "one seed at one learning rate"),
    (".", "#cccccc", "the other ways to learn"),
)
TITLES = {
    "sft": "SFT", "oracle_sft": "SFT, old policy's\nright answers", "rft": "RFT, own\nright answers", "rloo": "RLOO",
    "rloo_kl": "RLOO, KL to\nthe old policy",
}  # fmt: skip


def points(panel: Axes, records: list[Record], column: str, color: str, marker: str) -> None:
    """The drops of these records."""
    x, y = ([r[name] for r in records] for name in (column, "drop"))
    panel.plot(
        x,
        y,
        marker,
        color=color,
        markersize=3.5,
        markerfacecolor="none" if marker == "o" else color,
    )


if __name__ == "__main__":
    console.main(partial(study.run, Forgetting()))
