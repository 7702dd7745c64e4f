"""The estimators whose bias is computed, each with the objectives that it is compared with."""

import itertools
from typing import Any, NamedTuple

from agentic_rl import credit
from agentic_rl.algorithms import REINFORCE, Algorithm, swap
from agentic_rl.config import named
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
from experiments.ground_truth.expected_update import AGGREGATIONS, EnumeratedValues
from experiments.ground_truth.objectives import BETA, DISCOUNT

MISTAKE = 0.5  # standard deviation of the errors of wrong values


class Case(NamedTuple):
    """An estimator, and the objectives whose gradients its expected update is compared with."""

    table: str  # of the page
    rewards: str  # "turns": in every turn; "outcome": 1 for success at the end
    algorithm: Algorithm
    objectives: tuple[str, ...] = ("J",)


def algorithm_with(
    credit_: Any, attempts: int = 2, mistake: float = 0.0, **parts: Any
) -> Algorithm:
    """Returns the algorithm that makes one step on a batch of all attempts at both problems."""
    sizes = dict(problems=2, attempts=attempts, minibatches=1)
    return swap(
        REINFORCE,
        credit=credit_,
        values=EnumeratedValues(mistake),
        **sizes | {"aggregation": "constant"} | parts,
    )


def cases() -> list[Case]:
    """Returns the cases of all tables."""
    every = [cls() for cls in named(credit).values()]
    kinds = itertools.product(("turns", "outcome"), AGGREGATIONS, every)
    defaults = [
        Case("defaults", rewards, algorithm_with(one, aggregation=how))
        for rewards, how, one in kinds
    ]
    return (
        defaults + objective_cases() + attempt_cases() + value_cases() + step_cases() + kl_cases()
    )


def objective_cases() -> list[Case]:
    """Returns credits whose own objective is not the expected return."""
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


def attempt_cases() -> list[Case]:
    """Returns credits with more and more attempts.

    Credits that look at the whole batch are enumerated for up to 4 attempts.
    """
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
    pairs = [*itertools.product(groups, (2, 4, 8)), *itertools.product(batch, (2, 4))]
    return [Case("attempts", "outcome", algorithm_with(one, g)) for one, g in pairs]


def value_cases() -> list[Case]:
    """Returns credits with right and wrong values, none of them whitened."""
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


def step_cases() -> list[Case]:
    """Returns credits and rewards that tell steps apart."""
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


def kl_cases() -> list[Case]:
    """Returns a KL from a reference in the reward, and as a term of the loss."""
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
