"""Measures of credit agree with loops, numbers worked by hand, closed forms and simulations."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from experiments.ground_truth import quality

R, M = 40, 200
POLICY = np.array(
    [[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2], [0.6, 0.2, 0.2], [0.3, 0.3, 0.4]]
)  # of 5 states, 3 actions each


class Data(NamedTuple):
    truth: np.ndarray
    mask: np.ndarray
    pair: np.ndarray
    state: np.ndarray


def visits(seed, replicates=R, tokens=M):
    """States at random, actions by the policy, of every fifth token none; and the generator."""
    generator = np.random.default_rng(seed)
    q = np.random.default_rng(7).normal(size=POLICY.shape)
    advantage = q - (POLICY * q).sum(1, keepdims=True)
    state = generator.integers(len(POLICY), size=(replicates, tokens))
    action = (
        (generator.random(state.shape)[..., None] > POLICY.cumsum(1)[state]).sum(-1).clip(max=2)
    )
    mask = generator.random(state.shape) < 0.8
    return Data(advantage[state, action], mask, 1000 + 3 * state + action, 10 * state), generator


def naive_bias(credit, data):
    """Returns the root mean square over visits of the pairs' mean error, noise included."""
    error = (credit - data.truth)[data.mask]
    pair = data.pair[data.mask]
    return (
        np.sqrt(np.mean([error[pair == p].mean() ** 2 for p in pair])) / data.truth[data.mask].std()
    )


# Bias and variance


def test_the_truth_is_the_best_credit():
    data, _ = visits(0)
    pair, spread = data.pair, np.ones_like(data.truth)
    assert quality.bias(data.truth, data.truth, data.mask, pair) == pytest.approx(
        (0, 0, 0), abs=1e-6
    )
    assert quality.bias(data.truth, data.truth, data.mask, pair, data.state) == pytest.approx(
        (0, 0, 0), abs=1e-6
    )
    assert quality.variance(data.truth, data.truth, data.mask, pair) == pytest.approx(0, abs=1e-12)
    assert quality.pearson(data.truth, data.truth, data.mask) == pytest.approx(1, abs=1e-12)
    assert quality.kendall(data.truth, data.truth, data.mask) == pytest.approx(1, abs=1e-12)
    assert quality.key_accuracy(data.truth, data.truth, data.mask, spread) == 1


def test_an_affine_map_of_the_truth_has_no_affine_bias():
    data, _ = visits(1)
    truth = data.truth[data.mask]
    raw, affine, left_out = quality.bias(3 * data.truth + 2, data.truth, data.mask, data.pair)
    assert raw == pytest.approx(np.sqrt(np.mean((2 * truth + 2) ** 2)) / truth.std(), rel=1e-9)
    assert affine == pytest.approx(0, abs=1e-6) and left_out == 0


def test_the_cross_product_is_a_mean_over_pairs_of_replicates():
    generator = np.random.default_rng(2)
    group, replicate = np.array([5] * 5 + [9] * 4), np.array([0, 0, 1, 2, 2, 1, 1, 1, 2])
    order = generator.permutation(9)
    group, replicate, (x, y) = group[order], replicate[order], generator.normal(size=(2, 9))
    total = 0
    for g in (5, 9):
        tokens = np.flatnonzero(group == g)
        products = [x[i] * y[j] for i in tokens for j in tokens if replicate[i] != replicate[j]]
        total += len(tokens) * np.mean(products)
    assert quality.cross_product_mean(x, y, group, replicate) == pytest.approx(total / 9, rel=1e-12)


def test_with_one_visit_a_replicate_the_variance_over_n_is_subtracted():
    x = np.array([1.0, 2, 6])
    assert quality.cross_product_mean(x, x, np.zeros(3, int), np.arange(3)) == pytest.approx(
        3**2 - 7 / 3, rel=1e-12
    )


def test_noise_is_no_bias_but_variance():
    data, generator = visits(3, tokens=40)
    noisy = data.truth + generator.normal(scale=3, size=data.truth.shape)
    raw, affine, _ = quality.bias(noisy, data.truth, data.mask, data.pair)
    assert naive_bias(noisy, data) > 0.3 and raw < 0.15 and affine < 0.15
    many, generator = visits(3, replicates=400)
    noisy = many.truth + generator.normal(scale=3, size=many.truth.shape)
    expected = 9 / many.truth[many.mask].var()
    assert quality.variance(noisy, many.truth, many.mask, many.pair) == pytest.approx(
        expected, rel=0.1
    )


@pytest.mark.parametrize("shared", [False, True])
def test_squares_are_right_even_if_a_replicate_shares_noise(shared):
    """The error's true mean square is .04; what all tokens of a replicate share does not
    average out within it.
    """
    squares, naive = [], []
    for seed in range(300):
        data, generator = visits(seed, replicates=5, tokens=60)
        error = 0.2 + generator.normal(size=(5, 1 if shared else 60)) + np.zeros((5, 60))
        kept, _ = quality.informative_visits(error, data.truth, data.mask, data.pair)
        squares.append(
            quality.cross_product_mean(kept.credit, kept.credit, kept.pair, kept.replicate)
        )
        naive.append((naive_bias(data.truth + error, data) * data.truth[data.mask].std()) ** 2)
    standard_error = np.std(squares) / np.sqrt(len(squares))
    assert np.mean(squares) == pytest.approx(0.04, abs=4 * standard_error)
    assert np.mean(naive) > 0.04 + 6 * standard_error


@pytest.mark.parametrize("by_state", [False, True])
def test_independent_noise_has_no_covariance_on_average(by_state):
    """The covariance is quadratic: over noise of variance 1 at each visit it averages to the
    sum of what each visit has with itself.
    """
    data, generator = visits(24, replicates=4, tokens=20)
    kept, _ = quality.informative_visits(
        data.truth, data.truth, data.mask, data.pair, data.state if by_state else None
    )
    assert sum(quality.covariance(e, e, kept) for e in np.eye(len(kept.truth))) == pytest.approx(
        0, abs=1e-12
    )
    x, y = generator.normal(size=(2, len(kept.truth)))
    offset = 1000.0 + (kept.centre if by_state else 0)
    assert quality.covariance(x + offset, y - offset, kept) == pytest.approx(
        quality.covariance(x, y, kept), abs=1e-9
    )


def test_the_known_error_of_each_pair_is_the_bias_under_all_the_noise():
    data, generator = visits(4, replicates=400)
    wrong = np.random.default_rng(8).normal(size=1000 + 3 * len(POLICY))[data.pair]
    noisy = data.truth + wrong + generator.normal(scale=2, size=wrong.shape)
    truth, expected = data.truth[data.mask], (data.truth + wrong)[data.mask]
    unexplained = truth - np.polyval(np.polyfit(expected, truth, 1), expected)
    raw, affine, _ = quality.bias(noisy, data.truth, data.mask, data.pair)
    assert raw == pytest.approx(np.sqrt(np.mean(wrong[data.mask] ** 2)) / truth.std(), rel=0.05)
    assert affine == pytest.approx(unexplained.std() / truth.std(), rel=0.05)


def test_noise_does_not_flatten_the_best_affine_map():
    data, generator = visits(5, replicates=400)
    noisy = 2 * data.truth + 1 + generator.normal(scale=4, size=data.truth.shape)
    kept, _ = quality.informative_visits(noisy, data.truth, data.mask, data.pair)
    assert np.polyfit(kept.credit, kept.truth, 1)[0] < 0.2
    assert quality.slope(kept) == pytest.approx(0.5, rel=0.05)
    assert quality.bias(noisy, data.truth, data.mask, data.pair).affine < 0.1
    expected = (4 / 2) ** 2 / data.truth[data.mask].var()
    assert quality.variance(noisy, data.truth, data.mask, data.pair) == pytest.approx(
        expected, rel=0.1
    )


def test_an_offset_of_each_state_is_a_bias_that_its_mean_takes_away():
    data, _ = visits(6)
    offset = np.array([3.0, -1, 4, -1, 5])[data.state // 10]
    off = quality.bias(data.truth + offset, data.truth, data.mask, data.pair)
    expected = np.sqrt(np.mean(offset[data.mask] ** 2)) / data.truth[data.mask].std()
    assert off.raw == pytest.approx(expected, rel=1e-9) and off.affine > 0.5
    within = quality.bias(data.truth + offset, data.truth, data.mask, data.pair, data.state)
    assert within == pytest.approx((0, 0, 0), abs=1e-6)
    scaled = quality.bias(3 * data.truth + offset, data.truth, data.mask, data.pair, data.state)
    centred = data.truth[data.mask] - [
        data.truth[data.mask & (data.state == s)].mean() for s in data.state[data.mask]
    ]
    assert scaled.raw == pytest.approx(2 * centred.std() / data.truth[data.mask].std(), rel=0.01)
    assert scaled.affine == pytest.approx(0, abs=1e-6)


def test_within_states_the_bias_is_what_visits_weigh_it():
    """One state, two actions: the errors 1, at three visits of four, and 5 are 1 and 3 away
    from their mean of 2.
    """
    pair, state = np.tile([0, 0, 0, 1], (2, 1)), np.zeros((2, 4), int)
    truth, error = np.where(pair == 0, -1.0, 3.0), np.where(pair == 0, 1.0, 5.0)
    within = quality.bias(truth + error, truth, pair >= 0, pair, state)
    assert within.raw == pytest.approx(np.sqrt((3 * 1 + 9) / 4) / np.sqrt(3), rel=1e-9)


def test_a_credit_that_tells_nothing_has_an_affine_bias_of_one():
    data, _ = visits(9)
    ones = np.ones_like(data.truth)
    assert quality.bias(ones, data.truth, data.mask, data.pair).affine == pytest.approx(1, rel=0.01)
    assert np.isnan(quality.variance(ones, data.truth, data.mask, data.pair))


def test_pairs_of_one_replicate_are_left_out_and_counted():
    pair = np.array([[0, 1, 2, 2, 2], [0, 1, 1, 7, 7]])
    truth = np.array([0.0, 1, 9, 9, 9, 9, 9, 9])[pair]
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 0]], bool)
    found = quality.bias(np.where(pair < 2, truth + 2, 100.0), truth, mask, pair)
    assert found.left_out == pytest.approx(3 / 8, rel=1e-12)
    assert found.raw == pytest.approx(2 / np.std([0, 1, 0, 1, 1]), rel=1e-9)
    with pytest.raises(ValueError, match="two replicates"):
        quality.bias(truth[:1], truth[:1], mask[:1], pair[:1])


def test_a_truth_without_variance_gives_no_unit():
    data, _ = visits(10)
    assert np.isnan(quality.bias(data.truth, 0 * data.truth, data.mask, data.pair)[:2]).all()


def test_what_is_masked_counts_nowhere():
    data, generator = visits(11)
    credit, spread = data.truth + generator.normal(size=data.truth.shape), np.abs(data.truth)
    fill = [
        np.where(data.mask, x, bad)
        for x, bad in (
            (credit, np.nan),
            (data.truth, 99),
            (data.pair, 5),
            (data.state, 3),
            (spread, 1e6),
        )
    ]

    def everything(credit, truth, pair, state, spread):
        biases = (
            quality.bias(credit, truth, data.mask, pair),
            quality.bias(credit, truth, data.mask, pair, state),
        )
        order = [
            f(credit, truth, data.mask, s)
            for f in (quality.pearson, quality.kendall)
            for s in (None, state)
        ]
        place = (
            quality.key_accuracy(credit, truth, data.mask, spread),
            quality.leakage(credit, data.mask, spread),
        )
        rest = (
            quality.variance(credit, truth, data.mask, pair),
            quality.reliability(truth, spread, data.mask),
        )
        return np.concatenate([*biases, order, place, rest])

    found = everything(*fill)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(
        found, everything(credit, data.truth, data.pair, data.state, spread)
    )


# Order, sign and place


def test_correlations_are_those_of_their_sums():
    """Kendall's tau-b: concordant minus discordant pairs, over the root of the pairs untied in
    the one times those untied in the other.
    """
    credit, truth = np.array([[1.0, 2, 2], [0, 3, 3]]), np.array([[1.0, 1, 3], [2, 0, 3]])
    mask = np.array([[True] * 3, [True, True, False]])
    x, y = credit[mask], truth[mask]
    signs = [
        (np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in itertools.combinations(range(5), 2)
    ]
    tau = sum(a * b for a, b in signs) / np.sqrt(
        sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs)
    )
    assert quality.kendall(credit, truth, mask) == pytest.approx(tau, rel=1e-12)
    product = sum((x - 1.6) * (y - 1.4)) / np.sqrt(sum((x - 1.6) ** 2) * sum((y - 1.4) ** 2))
    assert quality.pearson(credit, truth, mask) == pytest.approx(product, rel=1e-12)


def test_state_offsets_spoil_correlations_but_not_within_states():
    data, _ = visits(12)
    credit = data.truth + np.array([30.0, -10, 40, -10, 50])[data.state // 10]
    for correlation in (quality.pearson, quality.kendall):
        assert correlation(credit, data.truth, data.mask) < 0.5
        assert correlation(credit, data.truth, data.mask, data.state) == pytest.approx(1, abs=1e-9)


def test_rounding_breaks_no_ties():
    data, generator = visits(13)
    rounded = 1e-8 * generator.normal(size=data.truth.shape)
    levels = np.sign(data.truth)
    tau = quality.kendall(levels, data.truth, data.mask)
    assert quality.kendall(levels + rounded, data.truth, data.mask) == pytest.approx(tau, rel=1e-12)


@pytest.mark.parametrize("correlation", [quality.pearson, quality.kendall])
def test_a_constant_has_no_correlation(correlation):
    data, _ = visits(14)
    constant = np.full_like(data.truth, 0.1)
    assert np.isnan(correlation(constant, data.truth, data.mask))
    assert np.isnan(correlation(data.truth, constant, data.mask))
    assert np.isnan(correlation(np.sqrt(data.state), data.truth, data.mask, data.state))


def test_reliability_corrects_the_correlation_with_a_noisy_truth():
    generator = np.random.default_rng(15)
    truth, mask = generator.normal(size=(50, 400)), np.ones((50, 400), bool)
    credit, error = (
        truth + generator.normal(size=truth.shape),
        generator.uniform(0.5, 1.5, size=truth.shape),
    )
    estimated = truth + error * generator.normal(size=truth.shape)
    attenuated, reliability = (
        quality.pearson(credit, estimated, mask),
        quality.reliability(estimated, error, mask),
    )
    assert reliability == pytest.approx(1 / (1 + 13 / 12), abs=0.02) and attenuated < 0.52
    assert quality.disattenuate(attenuated, reliability) == pytest.approx(np.sqrt(1 / 2), abs=0.02)
    assert np.isnan(quality.disattenuate(attenuated, -0.1))


def test_key_accuracy_by_hand():
    """Spreads above 1 of 4 count: two right, one wrong, a credit of 0.

    A tie of the truth and a masked token do not count.
    """
    spread = np.array([[4.0, 2, 1.1, 3, 4, 1, 0.5, 9]])
    truth = np.array([[1.0, -1, 2, 1, 1e-17, 1, 1, 1]])
    credit = np.array([[0.1, -5, -3, 0, 1, -1, -1, -1]])
    mask = np.array([[True] * 7 + [False]])
    assert quality.key_accuracy(credit, truth, mask, spread) == (2 + 0.5) / 4
    assert quality.key_accuracy(1e-200 * credit, truth, mask, spread) == (2 + 0.5) / 4
    assert quality.key_accuracy(0 * credit, truth, mask, spread) == 0.5
    assert np.isnan(quality.key_accuracy(credit, truth, mask, 0 * spread))


def test_leakage_and_share_by_hand():
    credit = np.array([[1.0, -2, 3], [-4, 5, 100]])
    mask = np.array([[True, True, True], [True, True, False]])
    spread = np.array([[0.0, 1e-12, 0.1], [0.5, 1e-10, 0]])
    assert quality.leakage(credit, mask, spread) == pytest.approx((1 + 2 + 5) / 15, rel=1e-12)
    assert quality.credit_share(credit, mask, spread > 0.3) == pytest.approx(4 / 15, rel=1e-12)
    assert np.isnan(quality.leakage(0 * credit, mask, spread))


# The gradient


def test_signal_and_noise_are_right_on_average_over_all_samples():
    """The average is over all 27 draws of three replicates from three equally likely gradients."""
    values = np.array([[1.0, 0], [2, -3], [0, 6]])
    mean = values.mean(0)
    drawn = [
        quality.signal_and_noise(values[list(i)]) for i in itertools.product(range(3), repeat=3)
    ]
    np.testing.assert_allclose(
        np.mean(drawn, axis=0), [mean @ mean, np.mean(((values - mean) ** 2).sum(1))], rtol=1e-12
    )


def test_the_exact_gradient_every_time_is_all_signal():
    true = np.random.default_rng(16).normal(size=30)
    gradient = np.tile(0.3 * true, (7, 1))
    assert quality.snr(gradient) == np.inf
    assert quality.cosine_bias(gradient, true) == pytest.approx(1, rel=1e-12)
    assert quality.expected_cosine(gradient, true) == pytest.approx(1, rel=1e-12)
    assert quality.cosine_bias(-gradient, true) == pytest.approx(-1, rel=1e-12)


def test_isotropic_noise_has_a_known_snr_and_does_not_turn_the_mean():
    generator, replicates, size, sd = np.random.default_rng(17), 64, 500, 2.0
    true = generator.normal(size=size)
    gradient = true + sd * generator.normal(size=(replicates, size))
    expected = 10 * np.log10(true @ true / (size * sd**2))
    assert quality.snr(gradient) == pytest.approx(
        expected, abs=4 * quality.jackknife(quality.snr, gradient)
    )
    error = quality.jackknife(lambda g: quality.cosine_bias(g, true), gradient)
    assert quality.cosine_bias(gradient, true) == pytest.approx(1, abs=4 * error) and error < 0.01
    mean = gradient.mean(0)
    assert mean @ true / np.linalg.norm(mean) / np.linalg.norm(true) < 1 - 4 * error
    norms = np.sqrt(true @ true) / np.sqrt(true @ true + size * sd**2)
    assert quality.expected_cosine(gradient, true) == pytest.approx(norms, abs=0.02)


def test_a_turned_expectation_is_a_cosine_bias_and_no_loss_of_signal():
    generator = np.random.default_rng(18)
    true, turned = np.eye(50)[0], np.eye(50)[0] + np.eye(50)[1]
    gradient = turned + 0.1 * generator.normal(size=(2000, 50))
    assert quality.cosine_bias(gradient, true) == pytest.approx(np.sqrt(1 / 2), abs=0.01)
    assert quality.snr(gradient) == pytest.approx(10 * np.log10(2 / 0.5), abs=0.1)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_learning_from_successes_alone_has_the_snr_of_a_binomial(p):
    """With k of B successes pushing one way it is (B P)² / (B P (1 − P)) = B P / (1 − P)."""
    batch, direction = 32, np.array([1.0, -2, 2])
    k = np.random.default_rng(19).binomial(batch, p, size=1500)
    gradient = k[:, None] * direction
    error = quality.jackknife(quality.snr, gradient)
    assert (
        quality.snr(gradient) == pytest.approx(10 * np.log10(batch * p / (1 - p)), abs=4 * error)
        and error < 0.3
    )


def test_no_signal_is_minus_infinity_and_has_no_direction():
    opposite = np.array([[1.0, 2], [-1, -2]])
    assert quality.snr(opposite) == quality.snr(0 * opposite) == -np.inf
    assert np.isnan(quality.cosine_bias(opposite, np.ones(2)))
    with pytest.raises(ValueError, match="two replicates"):
        quality.snr(opposite[:1])


def test_the_expected_cosine_is_the_mean_over_replicates():
    gradient, true = np.array([[3.0, 4], [0, 0], [-1, 0]]), np.array([0.0, 2])
    assert quality.expected_cosine(gradient, true) == pytest.approx((4 / 5 + 0 + 0) / 3, rel=1e-12)
    assert quality.expected_cosine(gradient * [[1], [1], [9]], true + [1, 0]) == pytest.approx(
        (11 / 5 / np.sqrt(5) - 1 / np.sqrt(5)) / 3, rel=1e-12
    )


def test_twice_the_steps_cost_three_decibels():
    assert quality.snr_env(7.0, 200, 100) == pytest.approx(7 - 3.0103, abs=1e-4)
    assert quality.snr_env(7.0, 10, 100) == pytest.approx(17, rel=1e-12)


@pytest.mark.parametrize("weights", [3, 5000])
def test_a_compact_gradient_has_the_same_lengths_and_angles(weights):
    generator = np.random.default_rng(20)
    true = generator.normal(size=weights)
    gradient = 0.2 * true + generator.normal(size=(9, weights))
    few, true_few = quality.compact(gradient, true)
    assert few.shape == (9, min(weights, 10)) and true_few.shape == few[0].shape
    assert quality.snr(few) == pytest.approx(quality.snr(gradient), rel=1e-9)
    for cosine in (quality.cosine_bias, quality.expected_cosine):
        assert cosine(few, true_few) == pytest.approx(cosine(gradient, true), rel=1e-9)


# Errors


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(21).normal(size=(12, 4))
    np.testing.assert_allclose(
        quality.jackknife(lambda x: x.mean(0), x), x.std(0, ddof=1) / np.sqrt(12), rtol=1e-12
    )


def test_the_jackknife_leaves_the_same_replicate_out_of_every_array():
    x = np.random.default_rng(22).normal(size=(12, 4))
    assert quality.jackknife(lambda x, y: np.abs(x - y).max(), x, x.copy()) == 0


def test_the_jackknife_is_about_the_spread_over_repetitions():
    generator, found = np.random.default_rng(23), []
    for _ in range(150):
        truth = generator.normal(size=(20, 30))
        credit, mask = (
            truth + generator.normal(size=(20, 1)) + generator.normal(size=(20, 30)),
            truth > -1,
        )
        gradient = 0.5 + generator.normal(size=(20, 30))
        errors = (
            quality.jackknife(quality.pearson, credit, truth, mask),
            quality.jackknife(quality.snr, gradient),
        )
        found.append([quality.pearson(credit, truth, mask), quality.snr(gradient), *errors])
    found = np.array(found)
    np.testing.assert_allclose(found[:, 2:].mean(0), found[:, :2].std(0), rtol=0.2)


def test_a_statistic_that_is_infinite_somewhere_has_no_standard_error():
    gradient = np.array([[1.0, 0], [1, 0], [1, 0], [-1, 0]])
    assert np.isnan(quality.jackknife(quality.snr, gradient))
    of_both = quality.jackknife(lambda g: (g.mean(), quality.snr(g)), gradient)
    assert of_both[0] > 0 and np.isnan(of_both[1])


def test_the_projection_of_what_is_right_in_expectation_is_one():
    rng, true = np.random.default_rng(0), np.array([3.0, -4.0])
    gradient = true + rng.normal(size=(4000, 2))
    assert quality.projection(gradient, true) == pytest.approx(
        1, abs=4 * quality.jackknife(lambda g: quality.projection(g, true), gradient)
    )
    assert quality.projection(0.5 * gradient, true) == pytest.approx(
        0.5 * quality.projection(gradient, true), rel=1e-12
    )
    assert np.isnan(quality.projection(gradient, 0 * true))


def test_order_is_counted_within_states_where_much_is_at_stake():
    state, truth = (
        np.array([[0, 0, 0, 1, 1, 2, 2]]),
        np.array([[0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.1]]),
    )
    spread, mask = np.array([[1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1]]), np.ones((1, 7), bool)

    def right(estimate):
        return quality.right_order(np.array([estimate]), truth, mask, state, spread)

    assert right([0.0, 5.0, 6.0, 9.0, 10.0, 1.0, 0.0]) == 1  # the last state does not count
    assert right([0.0, -1.0, 1.0, 0.0, 1.0, 0.0, 1.0]) == pytest.approx((1 / 2 + 1) / 2)
    assert right([1.0] * 7) == 0.5  # ties
    assert np.isnan(quality.right_order(truth, 0 * truth, mask, state, spread))
