"""Rules that are stated before a run and judged by code afterwards: a difference lies above zero, or close to it."""

import numpy as np
from jaxtyping import Float

from experiments import statistics
from experiments.report import Verdict, outcome


def above_zero(claim: str, what: str, difference: Float[np.ndarray, " seeds"], more: str = "") -> Verdict:
    """Supported if the 95% paired t interval of the mean difference lies above 0, falsified if it lies below.

    Args: what: names the difference; more: is added to the evidence.
    """
    rule = f"{what}: the 95% paired t interval lies above 0; falsified if it lies below."
    if len(difference) < 2:
        return Verdict(claim, rule, "inconclusive", f"One seed has no interval. {more}".strip())
    t = statistics.paired_t(difference)
    evidence = f"{t.mean:+.3f} [{t.low:+.3f}, {t.high:+.3f}] over {len(difference)} seeds, p = {t.p:.2g}."
    return Verdict(claim, rule, outcome(t.low, t.high), f"{evidence} {more}".strip())


def near_zero(claim: str, what: str, difference: Float[np.ndarray, " seeds"], margin: float, more: str = "") -> Verdict:
    """Supported if the interval lies within ±`margin` (an equivalence test), falsified if it lies outside."""
    rule = f"{what}: the 95% interval lies within ±{margin} (an equivalence test); falsified if it lies outside."
    if len(difference) < 2:
        return Verdict(claim, rule, "inconclusive", f"One seed has no interval. {more}".strip())
    t = statistics.paired_t(difference)
    inside, outside = -margin < t.low and t.high < margin, t.low > margin or t.high < -margin
    evidence = f"{t.mean:+.3f} [{t.low:+.3f}, {t.high:+.3f}]{'; ' * bool(more)}{more}."
    return Verdict(claim, rule, "supported" if inside else "falsified" if outside else "inconclusive", evidence)
