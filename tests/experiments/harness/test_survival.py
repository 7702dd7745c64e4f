"""Weibull laws agree with scipy's and with hand-computed ones, and survival is measured by hand."""

import numpy as np
import pytest
import scipy.stats

from experiments.harness.survival import Law, constant, measure_survival, weibull


def draw_episodes(rates, episodes, turns=24):
    """Returns whether each turn is right; an equal part of the episodes errs at each rate."""
    rate = np.repeat(rates, episodes // len(rates))[:, None]
    return np.random.default_rng(0).random((episodes, turns)) >= rate


def test_a_laws_likelihood_is_that_of_scipys_weibull():
    law, died, alive = Law(0.7, 1.5), np.array([5, 3, 0, 2]), 6
    scale = 4 / 1.5 ** (1 / 0.7)  # exp(−(t / scale)ᵏ) is exp(−1.5) after all four turns
    survival = scipy.stats.weibull_min.sf(np.arange(5), 0.7, scale=scale)
    by_scipy = died @ np.log(-np.diff(survival)) + alive * np.log(survival[-1])
    assert law.log_likelihood(died, alive) == pytest.approx(by_scipy)
    assert scipy.stats.weibull_min.sf(law.lifetime(0.8, 4), 0.7, scale=scale) == pytest.approx(0.8)


def test_a_constant_rate_is_errors_over_turns_at_risk_and_has_k_of_one():
    died, alive = np.array([4, 3, 2]), 3
    law = constant(died, alive)
    rate = 9 / (12 + 8 + 5)
    np.testing.assert_allclose(np.exp(-law.hazard(3)), (1 - rate) ** np.arange(4))
    for factor in (0.9, 1.1):
        other = Law(1.0, law.total * factor)
        assert law.log_likelihood(died, alive) > other.log_likelihood(died, alive)


def test_the_most_likely_law_is_the_one_that_made_the_data():
    survival = np.exp(-Law(0.6, 1.2).hazard(24))
    law = weibull(-np.diff(survival) * 1000, survival[-1] * 1000)
    assert law == pytest.approx((0.6, 1.2), rel=1e-3)


def test_survival_of_three_episodes_is_as_computed_by_hand():
    numbers = measure_survival(np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]], bool))
    assert numbers["accuracy"] == pytest.approx(6 / 8)
    assert numbers["after"] == pytest.approx(np.log((2 / 4) / (2 / 8)))
    alive = [numbers[f"alive {t}"] for t in (1, 2, 3, 4)]
    assert alive == pytest.approx([2 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_mixing_two_constant_rates_lowers_k_and_makes_errors_look_contagious():
    easy, hard, mixed = (
        measure_survival(draw_episodes(rates, 40_000)) for rates in ([0.02], [0.1], [0.02, 0.1])
    )
    assert easy["k"] == pytest.approx(1, abs=0.04)
    assert hard["k"] == pytest.approx(1, abs=0.04)
    assert mixed["k"] < 0.9
    assert easy["T50"] / easy["T80"] == pytest.approx(np.log(0.5) / np.log(0.8), rel=0.1)
    assert mixed["T50"] / mixed["T80"] > 3.4
    assert mixed["AIC gain"] > 10 > easy["AIC gain"] > -2.1
    assert abs(hard["after"]) < 0.05 < mixed["after"]


def test_without_errors_at_two_turns_no_law_is_fitted():
    for right in (np.ones((5, 4), bool), np.zeros((5, 4), bool)):
        assert np.isnan(measure_survival(right)["k"])
