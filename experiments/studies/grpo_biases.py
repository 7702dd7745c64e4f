"""Which two biases does GRPO have, by its group's deviation and by its episodes' lengths?

    python -m experiments.studies.grpo_biases
    python -m experiments.studies.grpo_biases --attempts 4 64 --chances 0.001 0.5

Difficulty: on a problem that a policy solves with probability p, the expected credit multiplies the
gradient of p with a weight c(p). It is computed from all outcomes of a group, and should not depend
on p.

Length: in wait_chain nothing matters after the choice, so waiting should be neither learned nor
unlearned. The push on it is measured on the episodes of a tabular policy, and is computed in closed
form (experiments/ground_truth/tabular.py, experiments/pages/closed_forms.py).

The rules state how both biases depend on the size of the group.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import scipy.stats
from jaxtyping import Array, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agentic_rl import tokens
from agentic_rl.config import check
from agentic_rl.config.ranges import Count, Range, Several
from agentic_rl.credit.group import Centred, GroupRelative, LeaveOneOut
from agentic_rl.envs.wait_chain import WaitChain
from agentic_rl.losses import loss_terms
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Trajectory, Value
from experiments.cli import console
from experiments.ground_truth import tabular
from experiments.harness import study
from experiments.pages import closed_forms
from experiments.reports import figures
from experiments.reports.display_names import words
from experiments.reports.report import Verdict
from experiments.reports.stats import Record, distinct, select

CREDITS = {
    "group_relative": GroupRelative(eps=1e-9),
    "centred": Centred(),
    "leave_one_out": LeaveOneOut(),
}
RIGHT, WAIT = 0.3, 0.5  # probabilities of the right choice, and of waiting after it
TURNS = 24  # enough for all waiting
NO_VALUE = Value(np.zeros(()), np.zeros(()), np.ones(()))  # no credit here reads values
INTERVAL = 1.96  # standard errors


Chance = Annotated[float, Range(above=0, high=0.5)]


@dataclass(frozen=True)
class GrpoBiases(study.Study):
    """Which two biases has GRPO, by its group's deviation and by its episodes' lengths?

    Computes both.
    """

    seeds: Count = 1  # only 1: weights are exact, and lengths are averaged over --groups
    attempts: tuple[Several, ...] = (2, 4, 8, 16, 64)  # at a problem
    chances: tuple[Chance, ...] = (0.01, 0.03, 0.1, 0.3, 0.5)  # of solving a problem
    groups: Several = 20_000  # of episodes on which the push on waiting is measured

    claim: ClassVar[str] = (
        "Dr. GRPO (2503.20783): dividing by a group's deviation weighs problems by how hard they "
        "are, and averaging over each episode's own tokens makes wrong answers longer. "
        "Predicted: c(.01) / c(.5) is 1 at 2 attempts and grows with them, and is 1 without the "
        "deviation; waiting after an error is pushed up by sequence_mean, less and less by "
        "token_mean as groups grow, and not by constant."
    )
    headline: ClassVar[str] = "value"
    legend: ClassVar[dict[str, str]] = {
        "value": "c(p), or the push on the logit of waiting after a wrong choice",
        "closed form": "the same by formula",
        "±": "half of the 95% interval; exact where there is none",
    }
    fewest: ClassVar[int] = 1
    tiny: ClassVar[dict[str, Any]] = dict(attempts=(2, 4), chances=(0.01, 0.5), groups=200)

    def __post_init__(self):
        super().__post_init__()
        check(
            len(self.attempts) >= 2,
            "Name two numbers of attempts or more: biases are compared between them.",
        )
        check(
            self.seeds == 1, "Weights are exact and lengths an average over --groups: seeds is 1."
        )
        check(
            len(self.chances) >= 2, "Name two chances or more: weights are compared between them."
        )

    def cells(self) -> list[Record]:
        cases = [("difficulty", credit) for credit in CREDITS]
        cases += [("length", aggregation) for aggregation in closed_forms.AGGREGATIONS]
        return [
            dict(bias=bias, form=form, attempts=attempts)
            for bias, form in cases
            for attempts in self.attempts
        ]

    def records(self, cell: Record) -> list[Record]:
        form, attempts = cell["form"], cell["attempts"]
        if cell["bias"] == "length":
            value, error = push(form, attempts, self.groups)
            closed = closed_forms.drift(form, attempts, RIGHT, WAIT, 1, False)
            return [{"p": RIGHT, "value": value, "error": error, "closed": closed}]
        return [
            {
                "p": p,
                "value": weight(form, attempts, p),
                "error": 0.0,
                "closed": closed_form(form, attempts, p),
            }
            for p in self.chances
        ]

    def lines(self, records: list[Record]) -> list[Record]:
        lines = []
        for record in records:
            value = f"{record['value']:.4f}"
            if record["error"] > 0:
                value += f" ± {INTERVAL * record['error']:.4f}"
            line = {column: record[column] for column in ("bias", "form", "attempts", "p")}
            lines.append(line | {"value": value, "closed form": f"{record['closed']:.4f}"})
        return lines

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"grpo_biases": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return [judge_difficulty(records), judge_length(records), judge_token_mean(records)]


# Difficulty


def weight(name: str, attempts: int, p: float) -> float:
    """Returns c(p), which the expected credit multiplies the gradient of p with.

    It is the mean over all numbers of wins in a group.
    """
    wins = np.arange(attempts + 1)
    chance = scipy.stats.binom.pmf(wins, attempts, p)
    won = jnp.arange(attempts) < wins[:, None]  # [wins, G]
    credit = np.asarray(CREDITS[name](bandit(won), NO_VALUE), float).reshape(won.shape)
    return float((chance * (credit * (np.asarray(won) - p)).mean(1)).sum() / (p * (1 - p)))


def bandit(won: Array) -> Trajectory:
    """Returns episodes of one token with these outcomes, [wins, G]."""
    zero = jnp.zeros((*won.shape, 1, 1))
    fields = dict.fromkeys(Trajectory._fields, zero) | {
        "mask": zero == 0,
        "reward": won[..., None].astype(jnp.float32),
        "success": won,
    }
    return Trajectory(**fields)


def closed_form(name: str, attempts: int, p: float) -> float:
    """Returns c(p) by formula."""
    if name == "leave_one_out":
        return 1.0
    if name == "centred":
        return (attempts - 1) / attempts
    wins = np.arange(attempts + 1)
    share = wins / attempts
    deviation = np.sqrt(share * (1 - share) * attempts / (attempts - 1))  # of the sample
    mean_deviation = (scipy.stats.binom.pmf(wins, attempts, p) * deviation).sum()
    return float(mean_deviation * (attempts - 1) / attempts / (p * (1 - p)))


# Length


def push(aggregation: str, attempts: int, groups: int) -> tuple[float, float]:
    """Returns the mean push of a wrong episode on the logit of waiting, and its standard error."""
    task, agent = WaitChain(num_turns=TURNS), tabular.TabularPolicy(choice)
    play = jax.jit(lambda: rollout(task, agent, jax.random.key(0), jnp.arange(groups), attempts))
    episodes = play()
    credit = Centred()(episodes, NO_VALUE)
    weigh = jax.vmap(lambda mask: loss_terms.token_weight([mask], aggregation)[0])
    token_weight = weigh(episodes.mask)
    if aggregation == "constant":
        token_weight = token_weight * TURNS  # in units of an episode's tokens
    after_choice = episodes.mask & (jnp.arange(TURNS)[:, None] > 0)
    score = jnp.where(after_choice, (episodes.action == tokens.WAIT) - WAIT, 0.0)
    is_wrong = ~episodes.success[..., None, None]
    of_group = (credit * token_weight * score * is_wrong).sum((1, 2, 3))
    of_group = np.asarray(of_group, float) / (1 - RIGHT)
    return float(of_group.mean()), float(of_group.std() / np.sqrt(groups))


def choice(task: WaitChain, state: Any) -> Float[Array, " V"]:
    """Returns the policy's probabilities: right with RIGHT, then waiting with WAIT."""
    other = jnp.where(state.side == tokens.LEFT, tokens.RIGHT, tokens.LEFT)
    first = jnp.zeros(tokens.VOCABULARY).at[state.side].set(RIGHT).at[other].set(1 - RIGHT)
    after = jnp.zeros(tokens.VOCABULARY).at[tokens.WAIT].set(WAIT).at[tokens.DONE].set(1 - WAIT)
    return jnp.where(state.turn == 0, first, after)


# Verdicts


def judge_difficulty(records: list[Record]) -> Verdict:
    """Returns the verdict on how the deviation weighs hard problems against easy ones."""
    records = select(records, bias="difficulty")
    low, high = min(distinct(records, "p")), max(distinct(records, "p"))
    groups = sorted(distinct(records, "attempts"))

    def ratios(form):
        values = {(r["attempts"], r["p"]): r["value"] for r in select(records, form=form)}
        return [values[group, low] / values[group, high] for group in groups]

    with_deviation = ratios("group_relative")
    grows = all(np.diff(with_deviation) > 0) and with_deviation[-1] > 1
    is_flat = np.allclose([ratios("centred"), ratios("leave_one_out")], 1, rtol=1e-3)
    evidence = "; ".join(
        f"{group} attempts {x:.2f}" for group, x in zip(groups, with_deviation, strict=True)
    )
    rule = (
        f"c({low}) / c({high}) grows with the attempts to above 1 with the deviation, and is 1 "
        "without it; exact, else falsified."
    )
    claim = (
        "Dividing by a group's deviation weighs hard problems more, the more the larger the group"
    )
    kind = "supported" if grows and is_flat else "falsified"
    return Verdict(claim, rule, kind, f"{evidence}.")


def judge_length(records: list[Record]) -> Verdict:
    """Returns the verdict on the push on waiting, at every number of attempts."""
    own_tokens, constant = pushes(records, "sequence_mean"), pushes(records, "constant")
    low, high = joint_intervals(own_tokens)
    below, above = joint_intervals(constant)
    kind = "inconclusive"
    if (low > 0).all() and ((below <= 0) & (above >= 0)).all():
        kind = "supported"
    elif (high < 0).any():
        kind = "falsified"
    rule = (
        "By intervals that are right together in 95% of cases (Bonferroni), the push of "
        "sequence_mean lies above 0 and that of constant holds 0 at every number of attempts; "
        "falsified if the first lies below at one."
    )
    evidence = f"sequence_mean {format_values(own_tokens)}; constant {format_values(constant)}."
    claim = "Averaging over each episode's own tokens lengthens wrong ones, a constant does not"
    return Verdict(claim, rule, kind, evidence)


def joint_intervals(
    records: list[Record],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Returns the ends of intervals that are right together in 95% of cases."""
    value, error = (np.array([r[column] for r in records]) for column in ("value", "error"))
    half = scipy.stats.norm.ppf(1 - 0.025 / len(records)) * error
    return value - half, value + half


def format_values(records: list[Record]) -> str:
    return ", ".join(format(r["value"], "+.4f") for r in records)


def judge_token_mean(records: list[Record]) -> Verdict:
    """Returns the verdict on whether the push of token_mean vanishes as groups grow."""
    first, *_, last = sorted(pushes(records, "token_mean"), key=lambda r: r["attempts"])
    gap = first["value"] - last["value"]
    half = INTERVAL * float(np.hypot(first["error"], last["error"]))
    kind = "supported" if gap > half else "falsified" if gap < -half else "inconclusive"
    rule = (
        f"The push of token_mean at {first['attempts']} attempts minus that at "
        f"{last['attempts']} lies above 0, by its 95% interval."
    )
    claim = "Averaging over a group's tokens has less of that bias, the larger the group"
    return Verdict(claim, rule, kind, f"{gap:+.4f} ± {half:.4f}.")


def pushes(records: list[Record], form: str) -> list[Record]:
    return select(records, bias="length", form=form)


# Figure

MARKS = (  # marker, line style, size and label of the legend's entries
    ("", "-", 0, "by formula"),
    ("o", "", 5, "computed"),
    ("|", "", 11, "95% interval"),
)


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Plots the weights of problems, and the push on waiting."""
    figure, panels = figures.page(1, 2, height=3.0)
    left, right = panels[0]
    plot_weights(left, select(records, bias="difficulty", form="group_relative"))
    looks = figures.styles(closed_forms.AGGREGATIONS)
    for form in closed_forms.AGGREGATIONS:
        of_form = pushes(records, form)
        plot_curve(right, of_form, "attempts", 1.0, words(form), looks[form])
    right.axhline(0, color="black", linewidth=0.8)
    right.set_xscale("log", base=2)
    figures.ticks(right, [r["attempts"] for r in of_form])
    right.set(
        xlabel="attempts", ylabel="push on waiting after an error", title="Length: what should be 0"
    )
    right.set_ylim(top=1.6 * right.get_ylim()[1])  # room for the legend
    for panel in (left, right):
        panel.legend(frameon=False, fontsize=8.5, loc="upper right")
    handles = [
        Line2D(
            [], [], color=figures.GREY, marker=marker, linestyle=line, label=label, markersize=size
        )
        for marker, line, size, label in MARKS
    ]
    return figures.legend(figure, handles)


def plot_weights(panel: Axes, records: list[Record]) -> None:
    """Plots c(p) over that of the likeliest p, a line for each number of attempts."""
    groups, highest = distinct(records, "attempts"), max(r["p"] for r in records)
    looks = figures.styles([str(group) for group in groups])
    for group in groups:
        of_group = sorted(select(records, attempts=group), key=lambda r: r["p"])
        unit = of_group[-1]["closed"]
        plot_curve(panel, of_group, "p", unit, f"{group} attempts", looks[str(group)])
    panel.set(
        xscale="log",
        xlabel="chance p of solving it",
        ylabel=f"weight c(p) / c({highest:g})",
        title="GRPO: weight of a problem",
    )
    figures.ticks(panel, [r["p"] for r in of_group])


def plot_curve(
    panel: Axes, records: list[Record], column: str, unit: float, label: str, look: dict
) -> None:
    """Plots the closed form against a column as a line, and values with intervals as markers."""
    x, value, error, formula = (
        np.array([r[name] for r in records]) for name in (column, "value", "error", "closed")
    )
    color = look["color"]
    panel.plot(x, formula / unit, color=color, linestyle="-")
    marks = dict(color=color, marker=look["marker"], linestyle="", capsize=2, label=label)
    panel.errorbar(x, value / unit, INTERVAL * error / unit, **marks)


if __name__ == "__main__":
    console.main(partial(study.run, GrpoBiases()))
