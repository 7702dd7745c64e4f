"""Rules stated before a run: synthetic records must yield each verdict."""

import numpy as np
import pytest
import scipy.stats

from experiments.verdicts import above_zero, near_zero

SEEDS = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])


@pytest.mark.parametrize("shift, outcome", [(0.5, "supported"), (-0.5, "falsified"), (0.01, "inconclusive")])
def test_a_difference_is_above_zero_if_its_whole_interval_is(shift, outcome):
    verdict = above_zero("a claim", "a minus b", SEEDS + shift, "More.")
    low, high = scipy.stats.t.interval(0.95, 4, shift, scipy.stats.sem(SEEDS))
    assert verdict.outcome == outcome
    assert verdict.rule == "a minus b: the 95% paired t interval lies above 0; falsified if it lies below."
    assert f"[{low:+.3f}, {high:+.3f}] over 5 seeds" in verdict.evidence and verdict.evidence.endswith("More.")


@pytest.mark.parametrize("shift, margin, outcome", [(0.05, 0.1, "supported"), (0.5, 0.1, "falsified"), (0.1, 0.1, "inconclusive")])
def test_a_difference_is_near_zero_if_its_whole_interval_is_within_the_margin(shift, margin, outcome):
    for sign in (1, -1):
        assert near_zero("a claim", "a minus b", sign * (SEEDS + shift), margin).outcome == outcome


def test_seeds_that_agree_exactly_are_judged_by_their_value():
    same = np.full(5, 0.25)
    assert above_zero("", "", same).outcome == "supported" and near_zero("", "", same, 0.1).outcome == "falsified"


def test_one_seed_decides_nothing():
    one = np.array([0.25])
    for verdict in (above_zero("", "", one), near_zero("", "", one, 0.5)):
        assert verdict.outcome == "inconclusive" and "One seed has no interval." in verdict.evidence
