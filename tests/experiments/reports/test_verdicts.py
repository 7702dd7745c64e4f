"""Every rule reaches each of its verdicts on synthetic records."""

import numpy as np
import pytest
import scipy.stats

from experiments.reports.report import Verdict
from experiments.reports.verdicts import above_zero, correct_family, near_zero

SEEDS = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])


@pytest.mark.parametrize(
    "shift, outcome", [(0.5, "supported"), (-0.5, "falsified"), (0.01, "inconclusive")]
)
def test_above_zero_needs_the_whole_interval_above_zero(shift, outcome):
    verdict = above_zero("a claim", "a minus b", SEEDS + shift, "More.")
    low, high = scipy.stats.t.interval(0.95, 4, shift, scipy.stats.sem(SEEDS))
    assert verdict.outcome == outcome
    assert (
        verdict.rule
        == "a minus b: the 95% paired t interval lies above 0; falsified if it lies below."
    )
    assert (
        f"[{low:+.3f}, {high:+.3f}] over 5 seeds" in verdict.evidence
        and verdict.evidence.endswith("More.")
    )


@pytest.mark.parametrize(
    "shift, margin, outcome",
    [(0.05, 0.1, "supported"), (0.5, 0.1, "falsified"), (0.1, 0.1, "inconclusive")],
)
def test_near_zero_needs_the_whole_interval_within_the_margin(shift, margin, outcome):
    for sign in (1, -1):
        assert near_zero("a claim", "a minus b", sign * (SEEDS + shift), margin).outcome == outcome


def test_seeds_that_agree_exactly_are_judged_by_their_value():
    same = np.full(5, 0.25)
    assert (
        above_zero("", "", same).outcome == "supported"
        and near_zero("", "", same, 0.1).outcome == "falsified"
    )


def test_one_seed_decides_nothing():
    one = np.array([0.25])
    for verdict in (above_zero("", "", one), near_zero("", "", one, 0.5)):
        assert verdict.outcome == "inconclusive" and "One seed has no interval." in verdict.evidence


def test_p_values_agree_with_the_intervals():
    """An interval touches its bound where p is .05."""
    half = scipy.stats.t.ppf(0.975, 4) * scipy.stats.sem(SEEDS)
    assert above_zero("", "", SEEDS + half).p == pytest.approx(0.05)
    assert near_zero("", "", SEEDS + 0.1 - half - 1e-9, 0.1).p == pytest.approx(0.05)
    assert near_zero("", "", SEEDS - 0.1 - half - 1e-9, 0.1).p == pytest.approx(0.05)
    assert near_zero("", "", SEEDS, 0.1).p == pytest.approx(
        2 * scipy.stats.t.sf(0.1 / scipy.stats.sem(SEEDS), 4)
    )


def test_a_family_decides_what_holds_after_holm():
    family = [Verdict("", "", "supported", "e.", p) for p in (0.01, 0.03)] + [
        Verdict("", "", "falsified", "e.", 0.04)
    ]
    assert [v.outcome for v in correct_family(family)] == [
        "supported",
        "inconclusive",
        "inconclusive",
    ]
    assert (
        "p = 0.06, which leaves open what alone would be falsified"
        in correct_family(family)[2].evidence
    )


def test_what_has_no_p_value_or_no_family_stays_as_it_is():
    alone = [Verdict("", "", "supported", "e.", 0.04), Verdict("", "", "falsified", "e.")]
    assert correct_family(alone) == alone
