"""Two biases in closed form: GRPO's weight of a problem, and the push of lengths."""

import itertools
import math

import numpy as np
import scipy.stats

from experiments.ground_truth.expected_update import AGGREGATIONS
from experiments.ground_truth.objectives import group_weight
from experiments.reports.stats import Record

P, Q = 0.3, 0.5  # chance of success, and of waiting once more, in the table on lengths
ZERO = 1e-8  # a push below this is rounding
FACTOR = """## GRPO's weight of a problem, in closed form

GRPO multiplies the gradient of a problem that is solved with probability p by c(p) = E[std] /
(p (1 − p)), with the population's standard deviation and eps 0 (after Dr. GRPO, 2503.20783). The
limit for many attempts is 1 / √(p (1 − p)), the slope of 2 arcsin √p.
"""
LENGTH = f"""## The push of lengths, in closed form

In `wait_chain` without a horizon the policy chooses once, then waits with probability q or stops.
How long an episode lasts has nothing to do with how it ends, so nothing should push on the logit of
waiting. The table shows the push that there is with `Centred` as the credit, per episode that went
wrong or right, at p = {P} and q = {Q} (after Dr. GRPO). It is the expected sum over an episode's
tokens, divided by its length (`sequence_mean`) or by the mean length of the group (`token_mean`).
In `wait_chain` the choice is itself a token; without it the lengths are those of the waiting alone.
"""


def drift(aggregation: str, attempts: int, p: float, q: float, decision: int, right: bool) -> float:
    """Returns the expected push on the logit of WAIT from an episode that went right or wrong.

    The task is `wait_chain` without a horizon. `decision` is 1 if the choice counts among the
    tokens of its episode.
    """
    # Number of episodes whose lengths are in the denominator, and of their tokens after the choice,
    # of which all but one of each episode are WAIT.
    pooled = attempts if aggregation == "token_mean" else 1
    count = np.arange(pooled, pooled + 2000)
    chance = scipy.stats.nbinom.pmf(count - pooled, pooled, 1 - q)
    weight = 1.0 if aggregation == "constant" else 1 / (count + decision * pooled)
    score = (chance * weight * (count * (1 - q) - pooled)).sum()
    return float((right - p) * (attempts - 1) / attempts * score)


def factors() -> list[Record]:
    """Returns the table of GRPO's weight of rare and of even chances."""
    chances = (0.01, 0.1, 0.5)
    weights = {str(g): [group_weight(g, p) for p in chances] for g in (2, 3, 4, 8, 16, 64)}
    weights |= {"∞": [1 / math.sqrt(p * (1 - p)) for p in chances]}
    table = []
    for attempts, c in weights.items():
        line = {"attempts": attempts} | {f"c({p})": f"{x:.2f}" for p, x in zip(chances, c)}
        table.append(line | {"c(0.01) / c(0.5)": f"{c[0] / c[-1]:.2f}"})
    return table


def drifts() -> list[Record]:
    """Returns the table of the push on the logit of waiting."""
    table = []
    for decision, attempts, right in itertools.product((0, 1), (2, 8, 32), (False, True)):
        push = {how: drift(how, attempts, P, Q, decision, right) for how in AGGREGATIONS}
        about = {
            "the choice is": ("no token", "a token")[decision],
            "attempts": attempts,
            "the episode went": ("wrong", "right")[right],
        }
        shown = {how: f"{x:+.3f}" if abs(x) > ZERO else "0" for how, x in push.items()}
        table.append(about | shown)
    return table
