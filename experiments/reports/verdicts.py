"""Rules that are stated before a run and judged by code afterwards: a difference lies above zero, or close to it."""

from collections.abc import Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float

from experiments.reports import stats
from experiments.reports.report import Verdict, outcome


def above_zero(
    claim: str, what: str, difference: Float[np.ndarray, " seeds"], more: str = ""
) -> Verdict:
    """Supported if the 95% paired t interval of the mean difference lies above 0, falsified if it lies below.

    Args: what: names the difference; more: is added to the evidence.
    """
    rule = f"{what}: the 95% paired t interval lies above 0; falsified if it lies below."
    if len(difference) < 2:
        return Verdict(claim, rule, "inconclusive", f"One seed has no interval. {more}".strip())
    t = stats.paired_t(difference)
    evidence = (
        f"{t.mean:+.3f} [{t.low:+.3f}, {t.high:+.3f}] over {len(difference)} seeds, p = {t.p:.2g}."
    )
    return Verdict(claim, rule, outcome(t.low, t.high), f"{evidence} {more}".strip(), t.p)


def near_zero(
    claim: str, what: str, difference: Float[np.ndarray, " seeds"], margin: float, more: str = ""
) -> Verdict:
    """Supported if the interval lies within ±`margin` (an equivalence test), falsified if it lies outside."""
    rule = f"{what}: the 95% interval lies within ±{margin} (an equivalence test); falsified if it lies outside."
    if len(difference) < 2:
        return Verdict(claim, rule, "inconclusive", f"One seed has no interval. {more}".strip())
    t = stats.paired_t(difference)
    inside, outside = -margin < t.low and t.high < margin, t.low > margin or t.high < -margin
    p = (
        max(_p(margin - t.mean, difference), _p(margin + t.mean, difference))
        if inside
        else _p(abs(t.mean) - margin, difference)
    )
    evidence = f"{t.mean:+.3f} [{t.low:+.3f}, {t.high:+.3f}]{'; ' * bool(more)}{more}."
    return Verdict(
        claim,
        rule,
        "supported" if inside else "falsified" if outside else "inconclusive",
        evidence,
        p,
    )


def _p(distance: float, difference: Float[np.ndarray, " seeds"]) -> float:
    """Twice the chance of a mean that lies so far on the right side of a bound, were it on the bound."""
    error = float(scipy.stats.sem(difference))
    return (
        float(min(1.0, 2 * scipy.stats.t.sf(distance / error, len(difference) - 1)))
        if error
        else float(distance <= 0)
    )


def together(judged: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts of a study as a family: what its own test decides must also hold after Holm's (1979) correction for all of them.

    Verdicts without a p-value, whose rules are not a single test, stay as they are.
    """
    tested = [v for v in judged if v.p is not None]
    if len(tested) < 2:
        return list(judged)
    after = dict(zip(map(id, tested), stats.holm(np.array([v.p for v in tested])), strict=True))
    return [_correct(v, after[id(v)], len(tested)) if id(v) in after else v for v in judged]


def _correct(verdict: Verdict, p: float, count: int) -> Verdict:
    """What stays decided, at 5%."""
    kind = verdict.outcome if p < 0.05 else "inconclusive"
    undone = f", which leaves open what alone would be {verdict.outcome}" * (
        kind != verdict.outcome
    )
    return verdict._replace(
        outcome=kind,
        evidence=f"{verdict.evidence} After Holm over {count} rules p = {p:.2g}{undone}.",
    )
