"""What does learning a new rule cost of the old ones, and does a divergence predict the loss?

    python -m experiments.studies.forgetting
    python -m experiments.studies.forgetting --arms sft rloo --learning-rates 4e-4 8e-4 --seeds 20

Policies know three old rules by heart, each of which names one answer to each of 16 words. They are
often right under a new rule, where half of all answers are right. (The task is in
experiments/harness/rules_task.py.) Then they are trained on the new rule alone:

- by demonstrations of one right answer to each word (`sft`),
- by right answers drawn from the old policy (`oracle_sft`), which of all policies that are always
  right is the nearest to it,
- by right answers of their own (`rft`),
- by rewards, without and with a KL to the old policy (`rloo`, `rloo_kl`).

The questions are few, so all that is measured is exact: success under the new rule, the drop of
success under the old ones, and the divergence KL(old ‖ new) under the new rule. The rules compare
drops at the same success, and ask whether one curve of the divergence holds all arms. (Learning
rates, and the success at which arms are compared, were chosen on other seeds, so that neither
nothing nor everything is forgotten.)
"""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl import algorithms, tokens
from agentic_rl.algorithms import Algorithm, swap
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Inside, Positive
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.optimizer import Sgd
from agentic_rl.policy import transformer
from agentic_rl.policy.transformer import Policy
from experiments.cli import console
from experiments.cli.flags import look_up
from experiments.harness import study, training_study
from experiments.harness.rules_task import OLD, WORDS, Rules, Teacher, answers
from experiments.harness.training_study import Policies
from experiments.reports import figures, sweep
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select, t_interval
from experiments.reports.verdicts import above_zero

POLICY_CONFIG = Policy(width=32, layers=1, heads=2, mlp=64, context="markov")
CURVE, NO_CURVE = 0.7, 0.5  # R² above which one curve holds all arms, and below which it does not
FAR = 0.1  # nats of divergence at which the drops of all arms are stated
ARMS = {
    "sft": "demonstrations of one right answer",
    "oracle_sft": "right answers drawn from the old policy",
    "rft": "right answers of its own",
    "rloo": "rewards",
    "rloo_kl": "rewards, and a KL to the old policy",
}
QUICK_ARMS = ("sft", "oracle_sft", "rloo", "rloo_kl")  # rft runs the code of oracle_sft


@dataclass(frozen=True)
class Forgetting(training_study.TrainingStudy):
    """What does learning something new cost of what was known?

    Compares supervised and reinforcement learning at the same new skill.
    """

    arms: tuple[str, ...] = tuple(ARMS)
    seeds: Count = 10
    learning_rates: tuple[Positive, ...] = (2e-4, 4e-4, 8e-4, 1.6e-3)  # of plain gradient descent
    kl: Positive = 0.1  # coefficient of the KL to the old policy
    known: Inside = 0.7  # success under the new rule before it is trained
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
        arms=QUICK_ARMS, learning_rates=(1e-3, 2e-3), clone_updates=1, updates=1, seeds=2
    )

    def __post_init__(self):
        super().__post_init__()
        for name in self.arms:
            look_up("arm", name, ARMS)
        check(
            {"sft", "rloo"} <= set(self.arms),
            "The arms are compared with sft and rloo: leave these two in --arms.",
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
        return training_study.TINY if self.quick else POLICY_CONFIG

    def cells(self) -> list[Record]:
        return [dict(arm=arm, rate=rate) for arm in self.arms for rate in self.learning_rates]

    def records(self, cell: Record) -> list[Record]:
        old = clone_old_rules(self.policy_config, self.seeds, self.clone_updates, self.known)
        algorithm = self.algorithm(cell["arm"], cell["rate"])
        new, _ = training_study.train_policies(
            old, Rules(), self.policy_config, algorithm, self.updates
        )
        before, after = (log_probs(policies, self.policy_config) for policies in (old, new))
        return training_study.records(measure_forgetting(before, after))

    def algorithm(self, arm: str, rate: float) -> Algorithm:
        """Returns the algorithm of an arm at a learning rate."""
        shared = dict(optimizer=Sgd(learning_rate=rate), minibatches=1)
        if arm == "sft":
            return swap(algorithms.SFT, actor=Teacher(), **shared)
        if arm == "rft":
            return swap(algorithms.RFT, refresh=1, **shared)
        if arm == "oracle_sft":  # what acts is not renewed before the end, and stays the old policy
            return swap(algorithms.RFT, refresh=self.updates + 1, **shared)
        kl = ReferenceKL(self.kl if arm == "rloo_kl" else 0.0)
        return swap(algorithms.RLOO, kl=kl, **shared)

    def lines(self, records: list[Record]) -> list[Record]:
        columns = {"began": ".2f", "success": ".3f", "drop": ".3f", "divergence": ".2f"}
        return sweep.table(records, "rate", columns, lines="arm")

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"forgetting": plot_results(records, self.matched)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        at = (
            "drop of success under the old rules, where success under the new one is "
            f"{self.matched}"
        )
        comparisons = [
            ("RL forgets less than supervised learning", "sft", "rloo"),
            ("So does supervised learning on what is near to the old policy", "sft", "oracle_sft"),
            ("A KL to the old policy saves more", "rloo", "rloo_kl"),
        ]
        verdicts = [judge_single_curve(records)]
        for claim, more, less in comparisons:
            if more not in self.arms or less not in self.arms:
                continue
            gap = drop_at(records, more, self.matched) - drop_at(records, less, self.matched)
            reached = gap[~np.isnan(gap)]
            missing = len(gap) - len(reached)
            note = f"{missing} seeds of {more} or {less} do not reach it." if missing else ""
            verdicts.append(above_zero(claim, f"{at}: {more} minus {less}", reached, note))
        return verdicts


@cache
def clone_old_rules(policy_config: Policy, seeds: int, updates: int, known: float) -> Policies:
    """Returns policies that know the old rules, and are often right under the new one."""
    algorithm = swap(
        algorithms.SFT,
        actor=Teacher(habit=1.0, right=known),
        optimizer=training_study.CLONING,
        minibatches=1,
    )
    start = training_study.fresh(policy_config, seeds)
    all_rules = Rules(new=1 / (OLD + 1))
    return training_study.train_policies(start, all_rules, policy_config, algorithm, updates)[0]


def log_probs(policies: Policies, policy_config: Policy) -> Float[np.ndarray, "S rules words V"]:
    """Returns the log-probability of every token as the answer to every question."""
    return np.asarray(_log_probs(policy_config, policies.params), float)


@partial(jax.jit, static_argnums=0)
def _log_probs(policy_config, params):
    rule, word = np.divmod(np.arange((OLD + 1) * WORDS), WORDS)
    blank = [np.full_like(rule, x) for x in (tokens.BOS, 0, 0, tokens.ACT, tokens.PAD)]
    token = np.stack(blank, axis=1)
    token[:, 1], token[:, 2] = tokens.VERB + rule, tokens.ENTITY + word
    token = jnp.asarray(token)
    valid, spec = jnp.ones_like(token, bool), Rules().spec
    logits = jax.lax.map(
        lambda one: transformer.apply(policy_config, one, spec, token, valid)[0], params
    )
    return jax.nn.log_softmax(logits).reshape(-1, OLD + 1, WORDS, tokens.VOCABULARY)


def measure_forgetting(
    old: Float[np.ndarray, "S rules words V"], new: Float[np.ndarray, "S rules words V"]
) -> dict[str, Float[np.ndarray, " S"]]:
    """Returns columns over seeds, all exact means over words.

    `began` and `success` are under the new rule, before and after; `knew` is the success under the
    old rules before, `drop` what is lost of it, and `divergence` KL(old ‖ new) under the new rule.
    """
    known_answer = answers()[:OLD, :, None] + tokens.VALUE

    def success_old(log_prob):
        right = np.take_along_axis(log_prob[:, :OLD], known_answer[None], axis=-1)
        return np.exp(right).mean((1, 2, 3))

    is_right = np.arange(WORDS)[:, None] % 2 == np.arange(WORDS) % 2

    def success_new(log_prob):
        probability = np.exp(log_prob[:, OLD, :, tokens.VALUE : tokens.VALUE + WORDS])
        return np.where(is_right, probability, 0).sum(-1).mean(-1)

    knew = success_old(old)
    divergence = (np.exp(old[:, OLD]) * (old[:, OLD] - new[:, OLD])).sum(-1).mean(-1)
    return {
        "began": success_new(old),
        "success": success_new(new),
        "knew": knew,
        "drop": knew - success_old(new),
        "divergence": divergence,
    }


def drop_at(
    records: list[Record], arm: str, value: float, by: str = "success"
) -> Float[np.ndarray, " seeds"]:
    """Returns the drop of an arm for each seed, where its success, or another column, is `value`.

    It is interpolated between the start and the arm's learning rates; NaN if it is never reached.
    """
    drops = []
    for seed in sorted(distinct(records, "seed")):
        of_seed = select(records, arm=arm, seed=seed)
        start = of_seed[0]["began"] if by == "success" else 0.0
        points = [(start, 0.0), *((r[by], r["drop"]) for r in of_seed)]
        drops.append(_between(points, value))
    return np.array(drops)


def _between(points: list[tuple[float, float]], at: float) -> float:
    """Returns y at x = `at` by linear interpolation of (x, y), or NaN beyond the largest x.

    >>> _between([(0.5, 0.0), (1.0, 0.4), (0.75, 0.1)], 0.875)
    0.25
    """
    x, y = np.array(sorted(points)).T
    return float(np.interp(at, x, y, right=np.nan))


def r_squared(records: list[Record]) -> Float[np.ndarray, " seeds"]:
    """Returns, for each seed, R² of a parabola in the divergence.

    It is fitted to the drops of all arms and learning rates.
    """
    values = []
    for seed in sorted(distinct(records, "seed")):
        x, y = np.array([(r["divergence"], r["drop"]) for r in select(records, seed=seed)]).T
        residual = y - np.polyval(np.polyfit(x, y, 2), x)
        values.append(1 - residual.var() / y.var())
    return np.array(values)


def judge_single_curve(records: list[Record]) -> Verdict:
    """Returns the verdict on whether one curve of the divergence holds all arms."""
    values = r_squared(records)
    mean, low, high = map(float, t_interval(values))
    kind = "supported" if low > CURVE else "falsified" if high < NO_CURVE else "inconclusive"
    rule = (
        "R² of one parabola in KL(old ‖ new) under the new rule, for the drops of all arms and "
        f"learning rates: the 95% t interval over seeds lies above {CURVE}; falsified if it lies "
        f"below {NO_CURVE}."
    )
    drops = {arm: drop_at(records, arm, FAR, by="divergence") for arm in distinct(records, "arm")}
    by_arm = ", ".join(
        f"{np.nanmean(drop):.2f} by {arm}" for arm, drop in drops.items() if np.isfinite(drop).any()
    )
    evidence = (
        f"{mean:.2f} [{low:.2f}, {high:.2f}] over {len(values)} seeds. "
        f"At a divergence of {FAR} the drop is {by_arm or 'not measured'}."
    )
    claim = "The divergence on the new task foretells what is forgotten"
    return Verdict(claim, rule, kind, evidence)


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record], matched: float) -> Figure:
    """Plots the drop against the divergence, and against success under the new rule.

    A column of panels for each arm has a point for each seed and learning rate; others are grey.
    """
    arms = distinct(records, "arm")
    figure, panels = figures.page(2, len(arms), height=1.9, sharey=True, sharex="row")
    for line, column in zip(panels, ("divergence", "success"), strict=True):
        for panel, arm in zip(line, arms, strict=True):
            others = [r for r in records if r["arm"] != arm]
            plot_points(panel, others, column, "#cccccc", ".")
            color = figures.styles(arms)[arm]["color"]
            plot_points(panel, select(records, arm=arm), column, color, "o")
    for panel, arm in zip(panels[0], arms, strict=True):
        panel.set_title(TITLES[arm], fontsize=9)
        figures.log_scale(panel, "x")
        figures.ticks(panel, [0.001, 0.1], ["0.001", "0.1"])
    for panel in panels[1]:
        panel.axvline(matched, color=figures.GREY, linewidth=0.8, linestyle="--")
    figures.fit(panels.flat, "share")
    panels[0][len(arms) // 2].set_xlabel("KL(old ‖ new) under the new rule, nats (log scale)")
    panels[1][len(arms) // 2].set_xlabel(
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
    "sft": "SFT",
    "oracle_sft": "SFT, old policy's\nright answers",
    "rft": "RFT, own\nright answers",
    "rloo": "RLOO",
    "rloo_kl": "RLOO, KL to\nthe old policy",
}


def plot_points(panel: Axes, records: list[Record], column: str, color: str, marker: str) -> None:
    """Plots the drops of these records against a column."""
    x, y = ([r[name] for r in records] for name in (column, "drop"))
    fill = "none" if marker == "o" else color
    panel.plot(x, y, marker, color=color, markersize=3.5, markerfacecolor=fill)


if __name__ == "__main__":
    console.main(partial(study.run, Forgetting()))
