"""Which two biases has GRPO, by its group's deviation and by its episodes' lengths?

    python -m experiments.studies.grpo_biases
    python -m experiments.studies.grpo_biases --attempts 4 64 --chances 0.001 0.5

Difficulty: on a problem that a policy solves with probability p, the credit multiplies the gradient of p with a weight c(p); it is
computed from all outcomes of a group. Length: in wait_chain nothing matters after the choice, so waiting should be neither learned nor
unlearned; the push on it is measured on the episodes of a table (experiments/ground_truth/tabular.py) and in closed form (experiments/pages/closed_forms.py).
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
RIGHT, WAIT = 0.3, 0.5  # how often the choice is right, and waiting is chosen after it
TURNS = 24  # beyond which no one waits
NONE = Value(np.zeros(()), np.zeros(()), np.ones(()))  # no credit here reads values
INTERVAL = 1.96  # standard errors


@dataclass(frozen=True)
class GrpoBiases(study.Study):
    """Which two biases has GRPO, by its group's deviation and by its episodes' lengths?

    Computes both.
    """

    seeds: Count = (
        1  # no other number: the weights are exact, and --groups decides how exact the lengths are
    )
    attempts: tuple[Several, ...] = (2, 4, 8, 16, 64)  # at a problem
    chances: tuple[Annotated[float, Range(above=0, high=0.5)], ...] = (
        0.01,
        0.03,
        0.1,
        0.3,
        0.5,
    )  # of solving it
    groups: Several = 20_000  # of episodes, whose lengths are measured

    claim: ClassVar[str] = (
        "Dr. GRPO (2503.20783): dividing by a group's deviation weighs problems by how hard they "
        "are, and averaging over each episode's own tokens makes wrong answers longer. "
        "Predicted: c(.01) / c(.5) is 1 at 2 attempts and grows with them, and is 1 without the "
        "deviation; waiting after an error is pushed up by sequence_mean, less and less by "
        "token_mean as groups grow, and not by constant."
    )
    headline: ClassVar[str] = "value"
    legend: ClassVar[dict[str, str]] = {
        "value": "c(p), or the push on the logit of waiting after a wrong choice", "closed form": "the same by formula",
        "±": "half of the 95% interval; exact where there is none",
    }  # fmt: skip
    fewest: ClassVar[int] = 1
    tiny: ClassVar[dict[str, Any]] = dict(attempts=(2, 4), chances=(0.01, 0.5), groups=200)

    def __post_init__(self):
        super().__post_init__()
        check(len(self.attempts) >= 2, "attempts are two numbers or more.")
        check(
            self.seeds == 1, "Weights are exact and lengths an average over --groups: seeds is 1."
        )
        check(len(self.chances) >= 2, "chances are two numbers or more.")

    def cells(self) -> list[Record]:
        bases = [("difficulty", name) for name in CREDITS] + [
            ("length", how) for how in closed_forms.AGGREGATIONS
        ]
        return [
            dict(bias=what, form=form, attempts=g) for what, form in bases for g in self.attempts
        ]

    def records(self, cell: Record) -> list[Record]:
        form, attempts = cell["form"], cell["attempts"]
        if cell["bias"] == "difficulty":
            return [
                {
                    "p": p,
                    "value": weight(form, attempts, p),
                    "error": 0.0,
                    "closed": closed_form(form, attempts, p),
                }
                for p in self.chances
            ]
        value, error = push(form, attempts, self.groups)
        return [
            {
                "p": RIGHT,
                "value": value,
                "error": error,
                "closed": closed_forms.drift(form, attempts, RIGHT, WAIT, 1, False),
            }
        ]

    def lines(self, records: list[Record]) -> list[Record]:
        return [
            {"bias": r["bias"], "form": r["form"], "attempts": r["attempts"], "p": r["p"]}
            | {
                "value": f"{r['value']:.4f}" + f" ± {INTERVAL * r['error']:.4f}" * (r["error"] > 0),
                "closed form": f"{r['closed']:.4f}",
            }
            for r in records
        ]

    def figures(self, records: list[Record]) -> dict[str, Figure]:
        return {"grpo_biases": plot_results(records)}

    def verdicts(self, records: list[Record]) -> list[Verdict]:
        return [difficulty(records), length(records), vanishing(records)]


# Difficulty


def weight(name: str, attempts: int, p: float) -> float:
    """c(p): what the expected credit multiplies the gradient of p with, from all numbers of wins in a group."""
    wins = np.arange(attempts + 1)
    chance = scipy.stats.binom.pmf(wins, attempts, p)
    won = jnp.arange(attempts) < wins[:, None]  # [wins, G]
    credit = np.asarray(CREDITS[name](bandit(won), NONE), float).reshape(won.shape)
    return float((chance * (credit * (np.asarray(won) - p)).mean(1)).sum() / (p * (1 - p)))


def bandit(won: Array) -> Trajectory:
    """Episodes of one token, [wins, G]."""
    zero = jnp.zeros((*won.shape, 1, 1))
    fields = dict.fromkeys(Trajectory._fields, zero) | {
        "mask": zero == 0,
        "reward": won[..., None].astype(jnp.float32),
        "success": won,
    }
    return Trajectory(**fields)


def closed_form(name: str, attempts: int, p: float) -> float:
    """c(p) by formula."""
    wins = np.arange(attempts + 1)
    spread = np.sqrt(
        wins / attempts * (1 - wins / attempts) * attempts / (attempts - 1)
    )  # the sample's standard deviation
    sample = (
        (scipy.stats.binom.pmf(wins, attempts, p) * spread).sum()
        * (attempts - 1)
        / attempts
        / (p * (1 - p))
    )
    return float(
        {"group_relative": sample, "centred": (attempts - 1) / attempts, "leave_one_out": 1.0}[name]
    )


# Length


def push(aggregation: str, attempts: int, groups: int) -> tuple[float, float]:
    """The mean push of a wrong episode on the logit of waiting, and its standard error, over groups."""
    task = WaitChain(num_turns=TURNS)
    made = jax.jit(
        lambda: rollout(
            task, tabular.TabularPolicy(choice), jax.random.key(0), jnp.arange(groups), attempts
        )
    )()
    credit = Centred()(made, NONE)
    share = jax.vmap(lambda mask: loss_terms.token_weight([mask], aggregation)[0])(made.mask)
    share = (
        share * TURNS if aggregation == "constant" else share
    )  # in units of an episode's tokens, whatever the room for more
    score = jnp.where(
        made.mask & (jnp.arange(TURNS)[:, None] > 0), (made.action == tokens.WAIT) - WAIT, 0.0
    )
    of_group = np.asarray(
        (credit * share * score * ~made.success[..., None, None]).sum((1, 2, 3)), float
    ) / (1 - RIGHT)
    return float(of_group.mean()), float(of_group.std() / np.sqrt(groups))


def choice(task: WaitChain, state: Any) -> Float[Array, " V"]:
    """The table: right with RIGHT, then waiting with WAIT."""
    other = jnp.where(state.side == tokens.LEFT, tokens.RIGHT, tokens.LEFT)
    first = jnp.zeros(tokens.VOCABULARY).at[state.side].set(RIGHT).at[other].set(1 - RIGHT)
    after = jnp.zeros(tokens.VOCABULARY).at[tokens.WAIT].set(WAIT).at[tokens.DONE].set(1 - WAIT)
    return jnp.where(state.turn == 0, first, after)


# Verdicts


def difficulty(records: list[Record]) -> Verdict:
    low, high = (
        min(r["p"] for r in records if r["bias"] == "difficulty"),
        max(r["p"] for r in records if r["bias"] == "difficulty"),
    )
    value = lambda form, g, p: select(records, bias="difficulty", form=form, attempts=g, p=p)[0][
        "value"
    ]  # noqa: E731
    groups = sorted(distinct(records, "attempts"))
    ratio = {form: [value(form, g, low) / value(form, g, high) for g in groups] for form in CREDITS}
    grows = all(np.diff(ratio["group_relative"]) > 0) and ratio["group_relative"][-1] > 1
    flat = np.allclose([ratio[form] for form in ("centred", "leave_one_out")], 1, rtol=1e-3)
    said = "; ".join(
        f"{g} attempts {x:.2f}" for g, x in zip(groups, ratio["group_relative"], strict=True)
    )
    rule = (
        f"c({low}) / c({high}) grows with the attempts to above 1 with the deviation, and is 1 "
        "without it; exact, else falsified."
    )
    claim = (
        "Dividing by a group's deviation weighs hard problems more, the more the larger the group"
    )
    return Verdict(claim, rule, "supported" if grows and flat else "falsified", f"{said}.")


def length(records: list[Record]) -> Verdict:
    """At every number of attempts."""
    (low, high), (under, over) = (
        ends(pushes(records, form)) for form in ("sequence_mean", "constant")
    )
    kind = (
        "supported"
        if (low > 0).all() and ((under <= 0) & (over >= 0)).all()
        else "falsified"
        if (high < 0).any()
        else "inconclusive"
    )
    said = "; ".join(
        f"{form} {numbers(pushes(records, form))}" for form in ("sequence_mean", "constant")
    )
    rule = (
        "By intervals that are right together in 95% of cases (Bonferroni), the push of "
        "sequence_mean lies above 0 and that of constant holds 0 at every number of attempts; "
        "falsified if the first lies below at one."
    )
    return Verdict(
        "Averaging over each episode's own tokens lengthens wrong ones, a constant does not",
        rule,
        kind,
        f"{said}.",
    )


def ends(records: list[Record]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Of intervals that are right together in 95% of cases."""
    value, error = (np.array([r[k] for r in records]) for k in ("value", "error"))
    half = scipy.stats.norm.ppf(1 - 0.025 / len(records)) * error
    return value - half, value + half


def numbers(records: list[Record]) -> str:
    return ", ".join(format(r["value"], "+.4f") for r in records)


def vanishing(records: list[Record]) -> Verdict:
    first, *_, last = sorted(pushes(records, "token_mean"), key=lambda r: r["attempts"])
    gap, half = (
        first["value"] - last["value"],
        INTERVAL * float(np.hypot(first["error"], last["error"])),
    )
    kind = "supported" if gap > half else "falsified" if gap < -half else "inconclusive"
    rule = (
        f"The push of token_mean at {first['attempts']} attempts minus that at "
        f"{last['attempts']} lies above 0, by its 95% interval."
    )
    return Verdict(
        "Averaging over a group's tokens has less of that bias, the larger the group",
        rule,
        kind,
        f"{gap:+.4f} ± {half:.4f}.",
    )


def pushes(records: list[Record], form: str) -> list[Record]:
    return select(records, bias="length", form=form)


@matplotlib.rc_context(figures.STYLE)
def plot_results(records: list[Record]) -> Figure:
    """Weights of problems, and the push on waiting; lines are closed forms, markers what was computed or measured."""
    figure, panels = figures.page(1, 2, height=3.0)
    left, right = panels[0]
    weights(left, select(records, bias="difficulty", form="group_relative"))
    for form in closed_forms.AGGREGATIONS:
        own = pushes(records, form)
        line(
            right,
            own,
            "attempts",
            1.0,
            words(form),
            figures.styles(closed_forms.AGGREGATIONS)[form],
        )
    right.axhline(0, color="black", linewidth=0.8)
    right.set_xscale("log", base=2)
    figures.ticks(right, [r["attempts"] for r in own])
    right.set(
        xlabel="attempts", ylabel="push on waiting after an error", title="Length: what should be 0"
    )
    right.set_ylim(top=1.6 * right.get_ylim()[1])  # room for the legend
    for panel in (left, right):
        panel.legend(frameon=False, fontsize=8.5, loc="upper right")
    handles = [
        Line2D([], [], color=figures.GREY, marker=m, linestyle=line_, label=s, markersize=k)
        for m, line_, s, k in MARKS
    ]
    return figures.legend(figure, handles)


MARKS = (("", "-", "by formula", 0), ("o", "", "computed", 5), ("|", "", "95% interval", 11))


def weights(panel: Axes, records: list[Record]) -> None:
    """c(p) over that of the likeliest p, a line for each number of attempts."""
    groups, most = distinct(records, "attempts"), max(r["p"] for r in records)
    style = figures.styles([str(g) for g in groups])
    for g in groups:
        own = sorted(select(records, attempts=g), key=lambda r: r["p"])
        line(panel, own, "p", own[-1]["closed"], f"{g} attempts", style[str(g)])
    panel.set(
        xscale="log",
        xlabel="chance p of solving it",
        ylabel=f"weight c(p) / c({most:g})",
        title="GRPO: weight of a problem",
    )
    figures.ticks(panel, [r["p"] for r in own])


def line(panel: Axes, records: list[Record], x: str, unit: float, label: str, look: dict) -> None:
    """The closed form as a line, the values as markers with 95% intervals."""
    at, value, error, formula = (
        np.array([r[k] for r in records]) for k in (x, "value", "error", "closed")
    )
    panel.plot(at, formula / unit, color=look["color"], linestyle="-")
    marks = dict(color=look["color"], marker=look["marker"], linestyle="", capsize=2, label=label)
    panel.errorbar(at, value / unit, INTERVAL * error / unit, **marks)


if __name__ == "__main__":
    console.main(partial(study.run, GrpoBiases()))
