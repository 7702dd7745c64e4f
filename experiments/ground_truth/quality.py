"""Measures of how good a credit is, against the true advantage and by the gradient it makes.

Axes: R replicates (batches drawn independently, by the same policy at the same problems), M tokens
of a batch, W weights. A visit is a written token of any replicate. `pair` is the id of its state
and action, `state` that of its state, and `spread` the largest advantage in the state minus the
least. Masked tokens count nowhere.

The square of a mean over R replicates is too large by the noise's variance over R. So no square is
taken: the two factors come from different replicates (U-statistics, Hoeffding 1948). Replicates
are independent, whereas tokens of one replicate share a baseline or a whitening.
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int, Real

ZERO = 1e-9  # an exact advantage below this is rounding
TIE = 6  # decimals of a standard deviation; smaller differences are float32's rounding
KEY = 0.25  # of the largest spread: a decision with more than that at stake is key

Tokens = Real[np.ndarray, "R M"]
Mask = Bool[np.ndarray, "R M"]
Ids = Int[np.ndarray, "R M"]
Column = Float[np.ndarray, " visits"]
Group = Int[np.ndarray, " visits"]


class Visits(NamedTuple):
    """The visits to pairs that were visited in at least two replicates."""

    credit: Column
    truth: Column
    pair: Group
    centre: Group  # the state, or 0 for all
    replicate: Group


class Bias(NamedTuple):
    """Distances of a credit's expectation from the truth, in standard deviations of the truth."""

    raw: float
    affine: float  # after the best a·credit + b; 1 for a credit that tells nothing
    left_out: float  # share of visits to pairs that only one replicate visited


# The credit of each token


def bias(credit: Tokens, truth: Tokens, mask: Mask, pair: Ids, state: Ids | None = None) -> Bias:
    """Returns the root mean square over visits of E[credit | pair] − truth, free of noise.

    A tiny bias may come out as 0. With `state`, each state has an offset of its own, as in the
    gradient. The best a and b are least squares on the expectations. If the truth has errors that
    are the same in all replicates, their mean square is part of the bias.

    Raises: ValueError if no pair was visited in two replicates.
    """
    visits, left_out = informative_visits(credit, truth, mask, pair, state)
    error = visits.credit - visits.truth
    raw = (
        cross_product_mean(error, error, visits.pair, visits.replicate)
        if state is None
        else covariance(error, error, visits)
    )
    fitted = slope(visits) * visits.credit - visits.truth
    squares = np.maximum([raw, covariance(fitted, fitted, visits)], 0.0)
    return Bias(*(_ratio(float(x), float(visits.truth.std())) for x in np.sqrt(squares)), left_out)


def variance(credit: Tokens, truth: Tokens, mask: Mask, pair: Ids) -> float:
    """Returns E Var(a·credit | pair) over the variance of the truth (after 1802.10031).

    The factor a is that of `bias`; the result is NaN if a is 0.

    Raises: ValueError if no pair was visited in two replicates.
    """
    visits, _ = informative_visits(credit, truth, mask, pair)
    scaled = slope(visits) * subtract_means(visits.credit, visits.centre)
    within = np.mean(scaled**2) - cross_product_mean(scaled, scaled, visits.pair, visits.replicate)
    return _ratio(float(within), float(visits.truth.var())) if scaled.any() else np.nan


def informative_visits(
    credit: Tokens, truth: Tokens, mask: Mask, pair: Ids, state: Ids | None = None
) -> tuple[Visits, float]:
    """Returns the visits that can be freed of noise, and the share of all others.

    Raises: ValueError if there are none.
    """
    replicate, id_ = np.nonzero(mask)[0], np.unique(pair[mask], return_inverse=True)[1]
    num_replicates = np.bincount(np.unique(id_ * len(mask) + replicate) // len(mask))
    keep = (num_replicates > 1)[id_]
    if not keep.any():
        raise ValueError(
            "No state and action was visited in two replicates, so noise cannot be told from bias: "
            "use more replicates."
        )
    centre = np.zeros_like(id_) if state is None else state[mask]
    columns = credit[mask].astype(float), truth[mask].astype(float), id_, centre, replicate
    return Visits(*(x[keep] for x in columns)), float(1 - keep.mean())


def cross_product_mean(x: Column, y: Column, group: Group, replicate: Group) -> float:
    """Returns the mean over visits of E[x | group] · E[y | group], free of noise.

    Σᵣₛ XᵣYₛ / Σᵣₛ nᵣnₛ over replicates r ≠ s, with X, Y and n sums over a group's visits in a
    replicate. With one visit in each of n replicates it is x̄ȳ − c/n, c the sample covariance.
    """
    group, count = np.unique(group, return_inverse=True)[1], replicate.max() + 1
    cell, at = np.unique(group * count + replicate, return_inverse=True)
    x, y, visits = (np.bincount(at, z) for z in (x, y, np.ones_like(x)))

    def sum_over(column):
        return np.bincount(cell // count, column)

    def cross(a, b):
        return sum_over(a) * sum_over(b) - sum_over(a * b)

    return float(np.average(cross(x, y) / cross(visits, visits), weights=sum_over(visits)))


def covariance(x: Column, y: Column, visits: Visits) -> float:
    """Returns the covariance over visits of E[x | pair] and E[y | pair], free of noise.

    The means are those over all visits, or over those of the state.
    """
    x, y = subtract_means(x, visits.centre), subtract_means(y, visits.centre)
    within = cross_product_mean(x, y, visits.pair, visits.replicate)
    return within - cross_product_mean(x, y, visits.centre, visits.replicate)


def slope(visits: Visits) -> float:
    """Returns a = Cov(E[credit | pair], truth) / Var(E[credit | pair]); 0 if that is only noise.

    A fit on the credit itself would be flattened by its noise (errors in variables: Fuller 1987,
    section 1.1).
    """
    signal = covariance(visits.credit, visits.credit, visits)
    return covariance(visits.credit, visits.truth, visits) / signal if signal > 0 else 0.0


def subtract_means(x: Column, group: Group) -> Column:
    """Returns `x` minus its mean over the visits of its group; exactly 0 where all are alike."""
    _, first, of = np.unique(group, return_index=True, return_inverse=True)
    away = x - x[first][of]
    return away - (np.bincount(of, away) / np.bincount(of))[of]


# Order, sign and place


def pearson(credit: Tokens, truth: Tokens, mask: Mask, state: Ids | None = None) -> float:
    """Returns Pearson's correlation over visits; NaN if one of the two is constant.

    With `state`, each state's mean is subtracted before.
    """
    credit, truth = (_standard(x, mask, state) for x in (credit, truth))
    return float(np.mean(credit * truth)) if credit.any() and truth.any() else np.nan


def kendall(credit: Tokens, truth: Tokens, mask: Mask, state: Ids | None = None) -> float:
    """Returns Kendall's tau-b over visits (Kendall 1945); NaN if one of the two is constant.

    With `state`, each state's mean is subtracted before.
    """
    credit, truth = (np.round(_standard(x, mask, state), TIE) for x in (credit, truth))
    return float(scipy.stats.kendalltau(credit, truth).statistic)


def _standard(x: Tokens, mask: Mask, state: Ids | None) -> Column:
    """Returns the visits' `x` with mean 0 and standard deviation 1; all 0 if they are alike."""
    group = np.zeros(mask.sum(), int) if state is None else state[mask]
    away = subtract_means(x[mask].astype(float), group)
    return away / (away.std() or 1.0)


def reliability(truth: Tokens, error: Tokens, mask: Mask) -> float:
    """Returns the share of an estimated truth's variance that is not its error.

    1 − mean error² / Var(truth), with `error` the standard error of each estimate.
    """
    noise = float(np.mean(error[mask].astype(float) ** 2))
    return 1 - _ratio(noise, float(truth[mask].astype(float).var()))


def disattenuate(correlation: float, reliability: float) -> float:
    """Returns the correlation with the truth, from that with an estimate (Spearman 1904).

    It is NaN if the estimate is all error.
    """
    return _ratio(correlation, float(np.sqrt(max(reliability, 0.0))))


def key_accuracy(credit: Tokens, truth: Tokens, mask: Mask, spread: Tokens) -> float:
    """Returns how often the credit has the sign of the truth, where much is at stake.

    Much is at stake where the spread is above a quarter of the largest; NaN if there is no such
    visit. A credit of 0 counts one half, so a random sign has .5. A constant credit has the share
    of its sign among the truths: compare with that. Tokens without an advantage are left out.
    """
    credit, truth, spread = (x[mask].astype(float) for x in (credit, truth, spread))
    key = (spread > max(KEY * spread.max(initial=0.0), ZERO)) & (np.abs(truth) > ZERO)
    right = np.sum(1 + np.sign(credit[key] * np.sign(truth[key]))) / 2
    return _ratio(float(right), float(key.sum()))


def right_order(estimate: Tokens, truth: Tokens, mask: Mask, state: Ids, spread: Tokens) -> float:
    """Returns the share of pairs of visits to a state that the estimate orders rightly.

    Only pairs with different truths count, ties count one half, and chance is .5. It is the mean
    over states whose spread is above a quarter of the largest; NaN if there are none. VinePPO
    ranks steps in this way (2410.01679, figure 7).
    """
    estimate, truth, state, spread = (
        x[mask] for x in (estimate.astype(float), truth.astype(float), state, spread)
    )
    key, shares = spread > max(KEY * spread.max(initial=0.0), ZERO), []
    for one in np.unique(state[key]):
        x, y = estimate[state == one], truth[state == one]
        gap = y[:, None] - y
        if (gap > ZERO).any():
            shares.append(np.mean(1 + np.sign((x[:, None] - x) * gap)[gap > ZERO]) / 2)
    return float(np.mean(shares)) if shares else np.nan


def leakage(credit: Tokens, mask: Mask, spread: Tokens) -> float:
    """Returns the share of Σ |credit| on tokens whose choice changes nothing, or NaN."""
    return credit_share(credit, mask, spread <= ZERO)


def credit_share(credit: Tokens, mask: Mask, where: Mask) -> float:
    """Returns the share of Σ |credit| on the tokens of `where`; NaN if there is no credit."""
    size = np.abs(credit.astype(float))
    return _ratio(float(size[mask & where].sum()), float(size[mask].sum()))


# The gradient


def signal_and_noise(gradient: Real[np.ndarray, "R W"]) -> tuple[float, float]:
    """Returns ‖E g‖² and E ‖g − E g‖², the terms of the noise scale (1812.06162, appendix A.1).

    The first is free of noise, so it may be below 0.

    Raises: ValueError with fewer than two replicates.
    """
    if len(gradient) < 2:
        raise ValueError(
            "Signal and noise of a gradient cannot be told apart with fewer than two replicates."
        )
    gradient = gradient.astype(float)
    away = gradient - gradient[0]  # so that there is no noise at all if they are all alike
    noise = float(np.sum((away - away.mean(0)) ** 2) / (len(away) - 1))
    return float(np.sum(gradient.mean(0) ** 2)) - noise / len(away), noise


def projection(gradient: Real[np.ndarray, "R W"], true: Real[np.ndarray, " W"]) -> float:
    """Returns E g · g* / ‖g*‖²; NaN if g* is 0.

    It is 1 for an estimator whose expectation is g*, in length too. It is a mean, so its error is
    regular.
    """
    true = true.astype(float)
    return _ratio(float(gradient.astype(float).mean(0) @ true), float(true @ true))


def cosine_bias(gradient: Real[np.ndarray, "R W"], true: Real[np.ndarray, " W"]) -> float:
    """Returns cos(E g, g*), free of noise, so it may be above 1 (after COCOA, 2306.16803).

    It is NaN if E g or g* is no more than noise.
    """
    signal, true = signal_and_noise(gradient)[0], true.astype(float)
    length = float(np.sqrt(max(signal, 0.0)) * np.linalg.norm(true))
    return _ratio(float(gradient.astype(float).mean(0) @ true), length)


def expected_cosine(gradient: Real[np.ndarray, "R W"], true: Real[np.ndarray, " W"]) -> float:
    """Returns E cos(g, g*), the cosine that one batch gets (after Ilyas et al., 1811.02553).

    A batch without a gradient counts 0.
    """
    gradient, true = gradient.astype(float), true.astype(float)
    length = np.linalg.norm(gradient, axis=1) * np.linalg.norm(true)
    return float(np.mean(gradient @ true / np.where(length > 0, length, 1.0)))


def signal_to_noise(gradient: Real[np.ndarray, "R W"]) -> float:
    """Returns ‖E g‖² / E ‖g − E g‖², free of noise, so it may be below 0 (after 2306.16803).

    It is inf or NaN without noise. A steady gradient in a wrong direction has a high ratio, so
    read it beside `cosine_bias`.
    """
    signal, noise = signal_and_noise(gradient)
    return signal / noise if noise else np.inf if signal > 0 else np.nan


def snr(gradient: Real[np.ndarray, "R W"]) -> float:
    """Returns `signal_to_noise` in dB; −inf if no signal is left."""
    ratio = signal_to_noise(gradient)
    return float(10 * np.log10(ratio)) if ratio > 0 else -np.inf


def snr_env(snr: float, steps: float, base_steps: float) -> float:
    """Returns the SNR in dB at `base_steps` environment steps, from `snr` at `steps`.

    Signal over noise grows in proportion to the steps.
    """
    return snr - 10 * float(np.log10(steps / base_steps))


def compact(
    gradient: Real[np.ndarray, "R W"], true: Real[np.ndarray, " W"]
) -> tuple[Float[np.ndarray, "R K"], Float[np.ndarray, " K"]]:
    """Returns both in coordinates of the space that they span, K ≤ R + 1.

    Lengths and angles stay the same, and a jackknife gets quick.
    """
    vectors = np.linalg.qr(np.vstack([gradient, true]).astype(float).T, mode="r").T
    return vectors[:-1], vectors[-1]


# Errors


def jackknife(statistic, *arrays: Real[np.ndarray, "R ..."]) -> Float[np.ndarray, "..."]:
    """Returns the standard error of `statistic(*arrays)`, leaving out one replicate at a time.

    √((R − 1)/R Σᵣ (θ₍ᵣ₎ − mean θ)²) (Tukey 1958; Efron & Stein 1981), one for each number that the
    statistic returns. It is NaN if one of them is ever infinite or NaN.
    """
    without = (np.arange(len(arrays[0])) != r for r in range(len(arrays[0])))
    left = np.array([statistic(*(x[kept] for x in arrays)) for kept in without], float)
    left = np.where(np.isfinite(left).all(0), left, np.nan)
    return np.sqrt((len(left) - 1) * left.var(0))


def _ratio(x: float, y: float) -> float:
    """Returns x / y, or NaN if y is not positive."""
    return x / y if y > 0 else np.nan
