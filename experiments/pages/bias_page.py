"""Which estimators are unbiased, for which objective, and how large is the bias of the others? Exactly, by enumeration.

    python -m experiments.pages.bias_page  # writes docs/bias.md and results/bias/bias.csv

Every credit as it comes, with every aggregation and two kinds of rewards; then the variants and objectives that matter; then two closed
forms. In about a minute.
"""

import itertools
import math
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.stats
from jaxtyping import Float

from agentic_rl import credit
from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import checked, named
from agentic_rl.credit.anchors import Gigpo
from agentic_rl.credit.gae import GAE, LengthAdaptiveGAE
from agentic_rl.credit.group import (
    BatchRelative,
    Centred,
    GroupRelative,
    LeaveOneOut,
    LeaveOneOutToGo,
    LengthWeighted,
    OptimalToken,
)
from agentic_rl.credit.process import ProcessAdvantage
from agentic_rl.credit.returns import RewardToGo
from agentic_rl.credit.supervised import AdvantageWeighted, SuccessOnly
from agentic_rl.credit.turns import BiLevelGAE, TurnGAE
from agentic_rl.losses.kl import ReferenceKL
from agentic_rl.rewards import KlReward, Shaped
from experiments.cli import console
from experiments.cli.flags import from_flags
from experiments.ground_truth.enumeration import enumerate_task
from experiments.ground_truth.expected_update import AGGREGATIONS, EnumeratedValues, update
from experiments.ground_truth.objectives import BETA, DISCOUNT, gradients, group_weight
from experiments.reports import report
from experiments.reports.stats import Record, distinct, select

EXACT = 1e-8  # a relative error below is rounding
MISTAKE = 0.5  # of a wrong value
P, Q = 0.3, 0.5  # of the closed form on lengths
OPTIONAL = {
    "rewards": "rewards",
    "beside": "with",
    "attempts": "attempts",
}  # columns that a table shows if they tell lines apart
INTRODUCTION = """# Which estimators are unbiased, and for which objective

Written by `python -m experiments.pages.bias_page`, with results/bias/bias.csv. Nothing here is sampled: a task of two problems, two turns and two
tokens a turn has 7 episodes of each problem, so all groups of attempts and all batches can be enumerated. The policy is a small
transformer in float64, and the expected credit goes through the learner's own loss. (experiments/ground_truth/enumeration.py) The expected update is
compared with the gradient of an objective, mostly of J, the expected return.

- *error*: the distance of the two over the gradient's length; the update is in units in which the tokens' weights sum to an episode's
  mean length
- *direction*: the same after the update got the best length, which is what no learning rate repairs
- *cosine*: of the angle between the two
- *verdict*: an error below 1e-8 is rounding; an update is unbiased, or wrong by a factor only, or biased, or expected to be nothing

How large a bias is depends on the task and the policy, which were chosen such that biases show; it is stated for these. Where a table does
not say otherwise, there are 2 attempts, and one step is made on the batch of all attempts at both problems.

## What it shows

- Unbiased for J, with `constant`: `EpisodeReturn`, `RewardToGo`, `LeaveOneOut`, `LeaveOneOutToGo`; not whitened, also `GAE` and `TurnGAE`
  where the values are exact or lambda is 1. `Centred` expects (G − 1)/G of the gradient: an episode is part of its own baseline.
- With `token_mean` and `sequence_mean` all of these are biased: how long an episode gets is chosen by its actions.
- `GroupRelative` (GRPO), for a reward of 0 or 1, expects exactly Σ c(p) ∇p over the problems, p the chance of success and c a function of
  the number of attempts. c is a constant for 2 and 3 attempts; for more it prefers the very easy and the very hard, and with ever more
  attempts the update becomes the gradient of 2 arcsin √p.
- `SuccessOnly` is unbiased for the chance of success, whatever else is rewarded. `Imitation` of one's own actions expects nothing.
- A baseline that weighs an episode by what it did itself is a bias, which gets less with more attempts: by its length (`LengthWeighted`),
  its probabilities (`OptimalToken`), the states it came through (`Gigpo`). So is whitening over a small batch.
- `LengthAdaptiveGAE` and `BiLevelGAE` are biased even where the values are exact: the one's lambda depends on how long the episode turned
  out, the other's value at the end of a turn on which token ended it.
- A discount in the reward to go is the gradient neither of J nor of the discounted return, in which later turns count less. (1906.07073)
- Shaping by a potential changes nothing in expectation at discount 1; the same progress in the credit does (`ProcessAdvantage`).
- A KL belongs into the reward, and as k1: that is the gradient of J − β KL(π‖ref). As a term of the loss k1 expects nothing, k2 is the
  gradient of KL(π‖ref) and k3 that of KL(ref‖π) in the states visited, as if no action decided which come next. (2506.09477)
"""
SECTIONS = {
    "objectives": """## Other objectives

`turns`: rewards in every turn; `outcome`: 1 for success at the end. c(p) is that of the closed form below, with the credit's own eps and
sample standard deviation.
""",
    "attempts": """## More attempts

1 for success at the end. Of more than 4 attempts, a batch holds one problem.
""",
    "values": """## Right and wrong values

Rewards in every turn. A wrong value is off by a normal random number, the same whenever one comes to a state. At alpha 0.05 lambda is 0 in
episodes as short as these.
""",
    "steps": """## Steps, progress and shaping

Rewards in every turn. The potential is arbitrary.
""",
    "kl": f"""## The KL from a reference

Rewards in every turn, β = {BETA}. *Visits fixed*: in the states, each as likely as it is now.
""",
}
FACTOR = """## GRPO's weight of a problem, in closed form

c(p) = E[std] / (p (1 − p)) is what GRPO multiplies the gradient of a problem with that is solved with probability p (with the population's
standard deviation and eps 0). Its limit is 1 / √(p (1 − p)), the slope of 2 arcsin √p. (after Dr. GRPO, 2503.20783)
"""
LENGTH = f"""## The push of lengths, in closed form

Choose once, then wait with probability q or stop (`wait_chain` without a horizon): how long it lasts has nothing to do with how it ends,
so that nothing should push on the logit of waiting. This is what does, per episode that went wrong or right, at p = {P} and q = {Q}, if
`Centred` is the credit: the expected sum over an episode's tokens, over its length (`sequence_mean`) or over the mean length of the group
(`token_mean`). In `wait_chain` the choice is itself a token; without it the lengths are those of the waiting alone. (after Dr. GRPO)
"""


class Case(NamedTuple):
    """An estimator, and what its expectation is compared with the gradients of."""

    table: str
    rewards: str  # "turns": in every turn; "outcome": 1 for success at the end
    algorithm: Algorithm
    objectives: tuple[str, ...] = ("J",)


def algorithm_with(
    credited: Any, attempts: int = 2, mistake: float = 0.0, **parts: Any
) -> Algorithm:
    """One step on a batch of all attempts at both problems."""
    sizes = dict(problems=2, attempts=attempts, minibatches=1)
    return swap(
        REINFORCE,
        credit=credited,
        values=EnumeratedValues(mistake),
        **sizes | {"aggregation": "constant"} | parts,
    )


def cases() -> list[Case]:
    """All rows of all tables."""
    every = [cls() for cls in named(credit).values()]
    kinds = itertools.product(("turns", "outcome"), AGGREGATIONS, every)
    defaults = [
        Case("defaults", rewards, algorithm_with(one, aggregation=how))
        for rewards, how, one in kinds
    ]
    return defaults + of_objectives() + of_attempts() + of_values() + of_steps() + of_kl()


def of_objectives() -> list[Case]:
    """Credits whose own objective is not the expected return."""
    grpo = [
        Case(
            "objectives",
            "outcome",
            algorithm_with(GroupRelative(), g),
            ("J", "2 arcsin √p", f"Σ c(p) ∇p, G = {g}"),
        )
        for g in (2, 3, 4, 8, 16)
    ]
    weighted = [
        Case("objectives", "turns", algorithm_with(AdvantageWeighted(temperature=t)))
        for t in (0.2, 1.0, 5.0)
    ]
    discounted = Case(
        "objectives", "turns", algorithm_with(RewardToGo(discount=DISCOUNT)), ("J", "J, discounted")
    )
    return [
        Case("objectives", "turns", algorithm_with(SuccessOnly()), ("J", "P(success)")),
        discounted,
        *weighted,
        *grpo,
    ]


def of_attempts() -> list[Case]:
    """Whether a bias goes away with more attempts; what looks at the whole batch is enumerated up to 4."""
    groups = [
        Centred(),
        LeaveOneOut(),
        LeaveOneOutToGo(),
        LengthWeighted(),
        OptimalToken(),
        Gigpo(discount=1.0),
        GroupRelative(),
    ]
    batch = [
        BatchRelative(),
        Centred(whiten=True),
        RewardToGo(whiten=True),
        GAE(),
        GAE(lambda_=1.0),
    ]
    return [
        Case("attempts", "outcome", algorithm_with(one, g))
        for ones, gs in ((groups, (2, 4, 8)), (batch, (2, 4)))
        for one in ones
        for g in gs
    ]


def of_values() -> list[Case]:
    """Right and wrong values, nothing whitened."""
    plain = dict(whiten=False)
    token = [GAE(lambda_=x, **plain) for x in (0.0, 0.95, 1.0)] + [
        LengthAdaptiveGAE(alpha=a, **plain) for a in (0.05, 0.5)
    ]
    turn = [TurnGAE(lambda_=x, **plain) for x in (0.0, 0.95, 1.0)]
    both = [
        BiLevelGAE(lambda_=x, turn_discount=y, **plain)
        for x, y in ((0.95, 1.0), (1.0, 1.0), (0.95, 0.95))
    ]
    return [
        Case("values", "turns", algorithm_with(one, mistake=wrong))
        for one in token + turn + both
        for wrong in (0.0, MISTAKE)
    ]


def of_steps() -> list[Case]:
    """Credits and rewards that tell steps apart."""
    anchored = [
        Gigpo(),
        Gigpo(omega=0.0),
        Gigpo(omega=0.0, baseline="turns"),
        Gigpo(discount=1.0),
        Gigpo(scale="mean_std"),
    ]
    plain = [*anchored, ProcessAdvantage(), ProcessAdvantage(alpha=0.1), GroupRelative()]
    shaped = [
        algorithm_with(one, reward=Shaped(discount=x))
        for x in (1.0, DISCOUNT)
        for one in (RewardToGo(), LeaveOneOut(), GroupRelative())
    ]
    return [Case("steps", "turns", x) for x in [*map(algorithm_with, plain), *shaped]]


def of_kl() -> list[Case]:
    """The KL from a reference, in the reward and as a term of the loss."""
    reward = [
        algorithm_with(one, reward=KlReward(BETA, how))
        for one in (RewardToGo(), LeaveOneOut())
        for how in ("k1", "k2", "k3")
    ]
    loss = [algorithm_with(RewardToGo(), kl=ReferenceKL(BETA, how)) for how in ("k1", "k2", "k3")]
    fixed = ("J", "J − β KL", "J − β KL, visits fixed", "J − β KL(ref‖π), visits fixed")
    return [Case("kl", "turns", x, fixed[1:2]) for x in reward] + [
        Case("kl", "turns", x, fixed) for x in loss
    ]


def measure(case: Case) -> list[Record]:
    """A record for each objective."""
    row, found = case.algorithm, update(enumerate_task(case.rewards), case.algorithm)
    beside = [describe(part) for part in (row.reward, row.kl) if fields(part)]
    if row.credit.reads_value:
        beside.append(f"value off by {row.values.mistake}" if row.values.mistake else "exact value")
    about = dict(
        table=case.table,
        rewards=case.rewards,
        credit=describe(row.credit),
        beside=", ".join(beside),
    )
    about |= dict(attempts=row.attempts, aggregation=row.aggregation)
    return [
        about | {"objective": name} | compare(found, gradients(case.rewards)[name])
        for name in case.objectives
    ]


def describe(part: Any) -> str:
    """A config by its class, and the fields that are not as usual.

    >>> describe(GAE(lambda_=0.5))
    'GAE(lambda=0.5)'
    """
    changed = [
        f"{f.name.rstrip('_')}={getattr(part, f.name)}"
        for f in fields(part)
        if getattr(part, f.name) != f.default
    ]
    return type(part).__name__ + (f"({', '.join(changed)})" if changed else "")


def compare(found: Float[np.ndarray, " W"], truth: Float[np.ndarray, " W"]) -> Record:
    """Relative error as it is and at the best length, the angle's cosine (0 for nothing), and what follows.

    >>> compare(np.array([2.0, 0.0]), np.array([4.0, 0.0]))
    {'error': 0.5, 'direction': 0.0, 'cosine': 1.0, 'verdict': 'a factor of 0.5'}
    """
    size, length = np.linalg.norm(found), np.linalg.norm(truth)
    if size < EXACT * length:
        return dict(error=1.0, direction=1.0, cosine=0.0, verdict="nothing")
    cosine = found @ truth / size / length
    error, direction = (
        np.linalg.norm(x - truth) / length for x in (found, cosine * length / size * found)
    )
    factor = f"a factor of {size / length:.3g}" if cosine > 0 else "biased"
    verdict = "unbiased" if error < EXACT else factor if direction < EXACT else "biased"
    numbers = dict(error=error, direction=direction, cosine=cosine)
    return {name: 0.0 if abs(x) < EXACT else float(f"{x:.6g}") for name, x in numbers.items()} | {
        "verdict": verdict
    }


def drift(aggregation: str, attempts: int, p: float, q: float, decision: int, right: bool) -> float:
    """The expected push on the logit of WAIT from an episode that went right or wrong, in `wait_chain` without a horizon.

    `decision` is 1 if the choice counts among the tokens of its episode.
    """
    together = (
        attempts if aggregation == "token_mean" else 1
    )  # episodes whose lengths are in the denominator
    count = np.arange(
        together, together + 2000
    )  # their tokens after the choice: all but one of each are WAIT
    chance = scipy.stats.nbinom.pmf(count - together, together, 1 - q)
    weight = 1.0 if aggregation == "constant" else 1 / (count + decision * together)
    score = (chance * weight * (count * (1 - q) - together)).sum()
    return float((right - p) * (attempts - 1) / attempts * score)


def page(records: list[Record]) -> str:
    """Everything as markdown."""
    parts = [INTRODUCTION, "## Every credit as it comes", ""]
    for rewards, title in (
        ("turns", "Rewards in every turn"),
        ("outcome", "1 for success at the end"),
    ):
        plain = select(records, table="defaults", rewards=rewards, aggregation="constant")
        parts += [f"{title}:", "", report.markdown(lines(plain)), ""]
    every = by_aggregation(select(records, table="defaults"))
    parts += ["The error of direction, by rewards and aggregation:", "", report.markdown(every), ""]
    for name, words in SECTIONS.items():
        parts += [words, report.markdown(lines(select(records, table=name))), ""]
    return "\n".join(
        [*parts, FACTOR, report.markdown(factors()), "", LENGTH, report.markdown(drifts()), ""]
    )


def lines(records: list[Record]) -> list[Record]:
    """Records for the eye: short numbers, and no optional column in which all are alike."""
    told = {name: title for name, title in OPTIONAL.items() if len(distinct(records, name)) > 1}
    columns = ("error", "direction", "cosine")
    return [
        {"credit": f"`{r['credit']}`"} | {title: r[name] for name, title in told.items()} | {"aggregation": r["aggregation"]}
        | {"objective": r["objective"]} | {name: short(r[name]) for name in columns} | {"verdict": r["verdict"]} for r in records
    ]  # fmt: skip


def by_aggregation(records: list[Record]) -> list[Record]:
    """The error of direction, a column for each kind of rewards and aggregation."""
    found = {
        (r["credit"], f"{r['rewards']}: {r['aggregation']}"): short(r["direction"]) for r in records
    }
    credits, columns = (list(dict.fromkeys(names)) for names in zip(*found))
    return [
        {"credit": f"`{one}`"} | {column: found[one, column] for column in columns}
        for one in credits
    ]


def short(x: float) -> str:
    """Three digits, and only a 0 for nothing.

    >>> short(0.0), short(0.12345), short(12.345), short(1.0)
    ('0', '0.123', '12.3', '1')
    """
    return f"{x:.3g}" if abs(x) >= 1 or not x else f"{x:.3f}"


def factors() -> list[Record]:
    """GRPO's weight of rare and of even chances."""
    chances = (0.01, 0.1, 0.5)
    weights = {str(g): [group_weight(g, p) for p in chances] for g in (2, 3, 4, 8, 16, 64)}
    weights |= {"∞": [1 / math.sqrt(p * (1 - p)) for p in chances]}
    columns = [f"c({p})" for p in chances] + ["c(0.01) / c(0.5)"]
    return [
        {"attempts": g} | {name: f"{x:.2f}" for name, x in zip(columns, [*c, c[0] / c[-1]])}
        for g, c in weights.items()
    ]


def drifts() -> list[Record]:
    """The push on the logit of waiting."""
    told, found = itertools.product((0, 1), (2, 8, 32), (False, True)), []
    for decision, attempts, right in told:
        push = {how: drift(how, attempts, P, Q, decision, right) for how in AGGREGATIONS}
        about = {
            "the choice is": ("no token", "a token")[decision],
            "attempts": attempts,
            "the episode went": ("wrong", "right")[right],
        }
        found.append(
            about | {how: f"{x:+.3f}" if abs(x) > EXACT else "0" for how, x in push.items()}
        )
    return found


@checked
class Command:
    """Compute all expectations, and write them as CSV and as a page."""

    out: str = "results/bias"
    page: str = "docs/bias.md"


def main(arguments: list[str]) -> int:
    command = from_flags(Command, Command(), arguments)
    console.check_checkout(command.out, command.page)
    console.keep_compiled_programs()
    with jax.enable_x64(True):
        records = [record for case in cases() for record in measure(case)]
    report.write_csv(Path(command.out) / "bias.csv", records)
    report.write(Path(command.page), page(records))
    for name in distinct(records, "table"):
        console.show(lines(select(records, table=name)), name)
    print(f"wrote {command.page}")
    return 0


if __name__ == "__main__":
    console.main(main)
