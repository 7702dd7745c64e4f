"""Rules that are stated before a run and applied by code afterwards.

A rule says that a difference lies above zero, or close to zero.
"""

from collections.abc import Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float

from experiments.reports import stats
from experiments.reports.report import Verdict, outcome


def above_zero(
    claim: str, what: str, difference: Float[np.ndarray, " seeds"], more: str = ""
) -> Verdict:
    """Returns supported if the 95% paired t interval of the difference lies above 0.

    It is falsified if the interval lies below 0.

    Args:
      what: the name of the difference, for the rule.
      more: a sentence that is added to the evidence.
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
    """Returns supported if the interval lies within ±`margin`, falsified if it lies outside.

    This is an equivalence test.
    """
    test = f"the 95% interval lies within ±{margin} (an equivalence test)"
    rule = f"{what}: {test}; falsified if it lies outside."
    if len(difference) < 2:
        return Verdict(claim, rule, "inconclusive", f"One seed has no interval. {more}".strip())
    t = stats.paired_t(difference)
    inside, outside = -margin < t.low and t.high < margin, t.low > margin or t.high < -margin
    if inside:
        p = max(_p(margin - t.mean, difference), _p(margin + t.mean, difference))
    else:
        p = _p(abs(t.mean) - margin, difference)
    decision = "supported" if inside else "falsified" if outside else "inconclusive"
    evidence = f"{t.mean:+.3f} [{t.low:+.3f}, {t.high:+.3f}]{'; ' * bool(more)}{more}."
    return Verdict(claim, rule, decision, evidence, p)


def _p(distance: float, difference: Float[np.ndarray, " seeds"]) -> float:
    """Returns the two-sided p-value of a mean that lies `distance` inside a bound."""
    error = float(scipy.stats.sem(difference))
    if not error:
        return float(distance <= 0)
    return float(min(1.0, 2 * scipy.stats.t.sf(distance / error, len(difference) - 1)))


def correct_family(judged: Sequence[Verdict]) -> list[Verdict]:
    """Returns the verdicts of a study after Holm's (1979) correction for all its tests.

    A claim that its own test decides stays decided only if the corrected p-value is below .05.
    Verdicts without a p-value, whose rules are not a single test, stay as they are.
    """
    tested = [v for v in judged if v.p is not None]
    if len(tested) < 2:
        return list(judged)
    after = dict(zip(map(id, tested), stats.holm(np.array([v.p for v in tested])), strict=True))
    return [_correct(v, after[id(v)], len(tested)) if id(v) in after else v for v in judged]


def _correct(verdict: Verdict, p: float, count: int) -> Verdict:
    """Returns the verdict that is left with this corrected p-value."""
    kind = verdict.outcome if p < 0.05 else "inconclusive"
    alone = f", which leaves open what alone would be {verdict.outcome}"
    undone = alone * (kind != verdict.outcome)
    corrected = f"After Holm over {count} rules p = {p:.2g}{undone}."
    return verdict._replace(outcome=kind, evidence=f"{verdict.evidence} {corrected}")
