"""Statistics agree with numbers worked by hand, other implementations and simulations."""

import itertools

import numpy as np
import pytest
import scipy.stats

from experiments.reports import stats


def record(task, seed, success):
    return {"task": task, "seed": seed, "success": success}


def test_scores_pair_seeds_whatever_the_order_of_the_records():
    records = [record("b", 1, 4.0), record("a", 0, 1.0), record("b", 0, 3.0), record("a", 1, 2.0)]
    np.testing.assert_array_equal(stats.scores(records, "success"), [[3, 4], [1, 2]])


@pytest.mark.parametrize("kept", [[], [0, 1, 2], [0, 1, 2, 3, 3]])
def test_scores_refuse_a_missing_or_repeated_seed(kept):
    records = [record(task, seed, 1.0) for task in "ab" for seed in (0, 1)]
    with pytest.raises(ValueError, match="one record for each"):
        stats.scores([records[i] for i in kept], "success")


def test_the_interquartile_mean_is_the_mean_of_the_middle_half():
    scores = np.array([[9.0, 1, 2, 8], [3, 4, -50, 99]])
    assert stats.iqm(scores) == (2 + 3 + 4 + 8) / 4
    many = np.random.default_rng(0).normal(size=(3, 11))
    assert stats.iqm(many) == pytest.approx(scipy.stats.trim_mean(many.ravel(), 0.25), rel=1e-12)


def test_the_interquartile_mean_refuses_to_drop_a_nan():
    with pytest.raises(ValueError, match="NaN"):
        stats.iqm(np.array([0.1, 0.2, 0.3, np.nan]))


def test_on_one_task_the_bootstrap_is_scipys():
    scores = np.random.default_rng(1).normal(size=(1, 12))
    ours = stats.stratified_bootstrap(scores, np.mean, resamples=40_000)
    scipys = scipy.stats.bootstrap(
        (scores[0],), np.mean, n_resamples=40_000, method="percentile", rng=np.random.default_rng(2)
    )
    np.testing.assert_allclose(ours, scipys.confidence_interval, atol=0.02)


def test_seeds_are_resampled_within_their_task():
    """Two tasks far apart, no spread inside either: resampling across tasks would give a wide
    interval.
    """
    scores = np.repeat([[0.0], [1.0]], 6, axis=1)
    assert stats.stratified_bootstrap(scores, np.mean, resamples=200) == (0.5, 0.5)


def coverage(num_seeds):
    generator, trials = np.random.default_rng(0), 300
    intervals = [
        stats.stratified_bootstrap(generator.normal(size=(1, num_seeds)), np.mean, 400, i)
        for i in range(trials)
    ]
    return np.mean([low <= 0 <= high for low, high in intervals])


def test_the_bootstrap_covers_with_many_seeds_and_warns_at_five():
    assert coverage(40) == pytest.approx(0.94, abs=0.03)
    assert coverage(5) == pytest.approx(0.84, abs=0.05)
    assert "too narrow" in stats.caution(5)
    assert stats.caution(6) == ""


def test_students_interval_by_hand():
    mean, low, high = stats.t_interval(np.array([[1, 10], [2, 10], [3, 10], [4, 10], [5, 10]]))
    np.testing.assert_allclose(
        [mean[0], low[0], high[0]],
        [3, 3 - 2.776445 * np.sqrt(0.5), 3 + 2.776445 * np.sqrt(0.5)],
        rtol=1e-6,
    )
    assert (mean[1], low[1], high[1]) == (10, 10, 10)


@pytest.mark.filterwarnings("error")
def test_one_seed_has_a_mean_but_no_interval():
    mean, low, high = stats.t_interval(np.array([[0.5, 0.7]]))
    np.testing.assert_array_equal(mean, [0.5, 0.7])
    assert np.isnan([low, high]).all()


def test_the_paired_t_test_is_scipys_on_the_two_arms():
    a, b = np.random.default_rng(3).normal(size=(2, 10)) + [[0.5], [0]]
    expected = scipy.stats.ttest_rel(a, b)
    ours = stats.paired_t(a - b)
    np.testing.assert_allclose(
        ours, [np.mean(a - b), *expected.confidence_interval(0.95), expected.pvalue], rtol=1e-10
    )


def test_identical_differences_are_certain_and_zero_is_no_evidence():
    assert stats.paired_t(np.full(5, 0.25)) == (0.25, 0.25, 0.25, 0.0)
    assert stats.paired_t(np.zeros(5)) == (0.0, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="two seeds"):
        stats.paired_t(np.ones(1))


def test_five_positive_differences_cannot_go_below_a_sixteenth():
    assert stats.sign_flip(np.array([0.1, 0.2, 0.15, 0.3, 0.05])) == 2 / 2**5 == 0.0625
    assert stats.sign_flip(np.zeros(5)) == 1.0


def test_the_sign_flip_test_counts_every_assignment():
    difference = np.array([0.4, -0.1, 0.3, 0.2, -0.25, 0.15])
    means = [abs(np.mean(difference * signs)) for signs in itertools.product((1, -1), repeat=6)]
    share = np.mean(np.array(means) >= abs(difference.mean()) - 1e-12)
    assert stats.sign_flip(difference) == pytest.approx(share, rel=1e-12)


def test_holm_by_hand():
    """Sorted .005, .01, .03, .04 times 4, 3, 2, 1 is .02, .03, .06, .04, and the last may not
    fall below the one before.
    """
    np.testing.assert_allclose(
        stats.holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02], rtol=1e-12
    )
    np.testing.assert_array_equal(stats.holm(np.array([0.6, 0.9])), [1.0, 1.0])


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_right_sample():
    right = np.array([1, 1, 0, 0, 0, 0])
    subsets = [any(chosen) for chosen in itertools.combinations(right, 3)]
    ours = stats.pass_at_k(6, np.array([0, 2, 4, 6]), 3)
    np.testing.assert_allclose(ours, [0.0, np.mean(subsets), 1.0, 1.0], rtol=1e-12)


def test_pass_at_k_stays_finite_where_binomials_overflow():
    assert stats.pass_at_k(4096, np.array([2048]), 1)[0] == pytest.approx(0.5, rel=1e-9)
    assert stats.pass_at_k(4096, np.array([1]), 2048)[0] == pytest.approx(0.5, rel=1e-9)
    with pytest.raises(ValueError, match="k <= n"):
        stats.pass_at_k(4, np.array([1]), 5)
