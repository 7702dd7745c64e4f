"""The shape of survival: laws against scipy's and by hand, each rule gives each of its verdicts, and the command runs."""

import numpy as np
import pytest
import scipy.stats

from agentic_rl.config import ConfigError
from experiments.harness import study
from experiments.studies.half_life import HalfLife, Law, constant, measure_survival, weibull


def drawn(rates, episodes, turns=24):
    """Whether each turn goes well, with a constant rate of errors for each half of the episodes."""
    rate = np.repeat(rates, episodes // len(rates))[:, None]
    return np.random.default_rng(0).random((episodes, turns)) >= rate


def test_a_law_s_likelihood_is_that_of_scipy_s_weibull():
    law, died, alive = Law(0.7, 1.5), np.array([5, 3, 0, 2]), 6
    scale = 4 / 1.5 ** (1 / 0.7)  # exp(−(t / scale)ᵏ) is exp(−1.5) after all four turns
    come_through = scipy.stats.weibull_min.sf(np.arange(5), 0.7, scale=scale)
    assert law.log_likelihood(died, alive) == pytest.approx(
        died @ np.log(-np.diff(come_through)) + alive * np.log(come_through[-1])
    )
    assert scipy.stats.weibull_min.sf(law.lifetime(0.8, 4), 0.7, scale=scale) == pytest.approx(0.8)


def test_a_constant_rate_is_errors_over_turns_at_risk_and_has_k_of_one():
    died, alive = np.array([4, 3, 2]), 3
    law = constant(died, alive)
    rate = 9 / (12 + 8 + 5)
    np.testing.assert_allclose(np.exp(-law.hazard(3)), (1 - rate) ** np.arange(4))
    assert all(
        law.log_likelihood(died, alive) > Law(1.0, law.total * x).log_likelihood(died, alive)
        for x in (0.9, 1.1)
    )


def test_the_likeliest_law_is_the_one_that_was_drawn_from():
    come_through = np.exp(-Law(0.6, 1.2).hazard(24))
    found = weibull(-np.diff(come_through) * 1000, come_through[-1] * 1000)
    assert found == pytest.approx((0.6, 1.2), rel=1e-3)


def test_what_is_measured_of_episodes_by_hand():
    found = measure_survival(np.array([[1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]], bool))
    assert found["accuracy"] == pytest.approx(6 / 8) and found["after"] == pytest.approx(
        np.log((2 / 4) / (2 / 8))
    )
    assert [found[f"alive {t}"] for t in (1, 2, 3, 4)] == pytest.approx(
        [2 / 3, 2 / 3, 1 / 3, 1 / 3]
    )


def test_mixing_two_constant_rates_lowers_k_and_makes_errors_look_contagious():
    easy, hard, mixed = (
        measure_survival(drawn(rates, 40_000)) for rates in ([0.02], [0.1], [0.02, 0.1])
    )
    assert (
        easy["k"] == pytest.approx(1, abs=0.04)
        and hard["k"] == pytest.approx(1, abs=0.04)
        and mixed["k"] < 0.9
    )
    assert (
        easy["T50"] / easy["T80"] == pytest.approx(np.log(0.5) / np.log(0.8), rel=0.1)
        and mixed["T50"] / mixed["T80"] > 3.4
    )
    assert mixed["AIC gain"] > 10 > easy["AIC gain"] > -2.1
    assert abs(hard["after"]) < 0.05 < mixed["after"]


def test_without_errors_at_two_turns_there_is_no_shape():
    for right in (np.ones((5, 4), bool), np.zeros((5, 4), bool)):
        assert np.isnan(measure_survival(right)["k"])


def outcomes(constant=0.0, mixed=-0.2, history=0.2, after=0.5):
    """Of records with these shifts: of k where it should be 1, by mixing, by the history; and of errors after errors."""

    def record(seed, context, difficulty):
        noise = 0.04 * (seed - 2)  # so that no difference is the same for all seeds
        k = 1 + constant + mixed * (difficulty == "mixed") + history * (context == "history")
        wobble = noise * ((context == "history") + (difficulty == "mixed"))
        return dict(
            context=context,
            difficulty=difficulty,
            seed=seed,
            k=k + wobble + noise,
            after=after * (context == "history") + wobble,
        )

    names = [(c, d) for c in ("markov", "history") for d in ("easy", "hard", "mixed")]
    return [
        v.outcome
        for v in HalfLife().verdicts([record(s, *name) for s in range(5) for name in names])
    ]


def test_each_rule_gives_each_of_its_verdicts():
    assert outcomes() == ["supported"] * 5
    assert outcomes(constant=0.5, mixed=0.2, history=-0.8, after=-0.5) == ["falsified"] * 5
    assert outcomes(constant=0.1, mixed=-0.02, history=-0.1, after=-0.02) == ["inconclusive"] * 5


def test_a_single_context_has_no_comparison():
    made = [
        dict(context="markov", difficulty=d, seed=s, k=1.0, after=0.0)
        for s in range(3)
        for d in ("easy", "hard", "mixed")
    ]
    assert len(HalfLife(contexts=("markov",)).verdicts(made)) == 2


@pytest.mark.parametrize(
    "flags, words",
    [
        (dict(contexts=("histroy",)), "did you mean history"),
        (dict(contexts=()), "Name a context"),
        (dict(turns=2), "turns must be 3 or more"),
        (dict(demos=0), "demos must be 1 or more"),
    ],
)
def test_what_cannot_be_asked_is_refused(flags, words):
    with pytest.raises(ConfigError, match=words):
        HalfLife(**flags)


@pytest.mark.slow
def test_the_command_runs(study_folder):
    assert study.run(HalfLife(), ["--quick", "--out", str(study_folder)]) == 0
    assert np.all(
        [(study_folder / name).exists() for name in ("results.csv", "table.md", "half_life.png")]
    )
