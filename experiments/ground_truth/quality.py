"""How good is a credit? Against the true advantage of each token, and by the gradient it makes, over many batches of one policy.

Axes: R replicates (batches drawn independently, of the same policy at the same problems), M tokens of a batch, W weights. A visit is a
token that was written, be it in whichever replicate; `pair` is the id of the state and action it belongs to, `state` that of the state,
`spread` the largest advantage in the state minus the least. What is masked counts nowhere.

The square of a mean over R replicates is too large by the noise's variance over R. So no square is taken: factors come from two different
replicates, which are independent, whereas tokens of one replicate share a baseline, or a whitening. (U-statistics: Hoeffding 1948)
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float, Int, Real

ZERO = 1e-9  # an exact advantage below is rounding
TIE = 6  # decimals of a standard deviation: what differs by less is float32's rounding
KEY = 0.25  # of the largest spread: where more is at stake, a decision is key

Tokens = Real[np.ndarray, "R M"]
Mask = Bool[np.ndarray, "R M"]
Ids = Int[np.ndarray, "R M"]
Column = Float[np.ndarray, " visits"]
Group = Int[np.ndarray, " visits"]


class Visits(NamedTuple):
    """The tokens of pairs that were visited in two replicates at least."""

    credit: Column
    truth: Column
    pair: Group
    centre: Group  # the state, or 0 for all
    replicate: Group


class Bias(NamedTuple):
    """Distances of a credit's expectation from the truth, in standard deviations of the truth over visits."""

    raw: float
    affine: float  # after the best a·credit + b; 1 for a credit that tells nothing
    left_out: float  # the share of visits to pairs that were visited in one replicate only, which nothing frees of noise


# The credit of each token


def bias(credit: Tokens, truth: Tokens, mask: Mask, pair: Ids, state: Ids | None = None) -> Bias:
    """The root mean square over visits of E[credit | pair] − truth, free of noise (which may turn what is tiny into 0).

    With `state`, each state has an offset of its own for free, as in the gradient; a and b are least squares on the expectations. Of a
    truth with errors of its own, the same ones in all replicates, their mean square is part of the bias.

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
    """E Var(a·credit | pair) over the variance of the truth, a that of `bias`; NaN if a is 0. (after Tucker et al., 1802.10031)

    Raises: ValueError if no pair was visited in two replicates.
    """
    visits, _ = informative_visits(credit, truth, mask, pair)
    scaled = slope(visits) * around(visits.credit, visits.centre)
    within = np.mean(scaled**2) - cross_product_mean(scaled, scaled, visits.pair, visits.replicate)
    return _ratio(float(within), float(visits.truth.var())) if scaled.any() else np.nan


def informative_visits(
    credit: Tokens, truth: Tokens, mask: Mask, pair: Ids, state: Ids | None = None
) -> tuple[Visits, float]:
    """The visits that can be freed of noise, and the share of all others.

    Raises: ValueError if there are none.
    """
    replicate, id_ = np.nonzero(mask)[0], np.unique(pair[mask], return_inverse=True)[1]
    seen = np.bincount(
        np.unique(id_ * len(mask) + replicate) // len(mask)
    )  # in how many replicates
    keep = (seen > 1)[id_]
    if not keep.any():
        raise ValueError(
            "No state and action was visited in two replicates, so that noise cannot be told from bias: use more of them."
        )
    centre = np.zeros_like(id_) if state is None else state[mask]
    columns = credit[mask].astype(float), truth[mask].astype(float), id_, centre, replicate
    return Visits(*(x[keep] for x in columns)), float(1 - keep.mean())


def cross_product_mean(x: Column, y: Column, group: Group, replicate: Group) -> float:
    """The mean over visits of E[x | group] · E[y | group], its factors from different replicates: Σᵣₛ XᵣYₛ / Σᵣₛ nᵣnₛ over r ≠ s.

    X, Y and n are sums over a group's visits in a replicate. With one visit in each of n replicates it is x̄ȳ − c/n, c the sample
    covariance.
    """
    group, count = np.unique(group, return_inverse=True)[1], replicate.max() + 1
    cell, at = np.unique(group * count + replicate, return_inverse=True)
    x, y, visits = (np.bincount(at, z) for z in (x, y, np.ones_like(x)))

    def apart(a, b):
        return np.bincount(cell // count, a) * np.bincount(cell // count, b) - np.bincount(
            cell // count, a * b
        )

    return float(
        np.average(apart(x, y) / apart(visits, visits), weights=np.bincount(cell // count, visits))
    )


def covariance(x: Column, y: Column, visits: Visits) -> float:
    """Over visits, of E[x | pair] and E[y | pair] around their means over all visits, or over those of the state; free of noise."""
    x, y = around(x, visits.centre), around(y, visits.centre)
    return cross_product_mean(x, y, visits.pair, visits.replicate) - cross_product_mean(
        x, y, visits.centre, visits.replicate
    )


def slope(visits: Visits) -> float:
    """a = Cov(E[credit | pair], truth) / Var(E[credit | pair]); 0 if that variance is no more than noise.

    A fit on the credit itself would be flattened by its noise. (errors in variables: Fuller 1987, section 1.1)
    """
    signal = covariance(visits.credit, visits.credit, visits)
    return covariance(visits.credit, visits.truth, visits) / signal if signal > 0 else 0.0


def around(x: Column, group: Group) -> Column:
    """`x` minus its mean over the visits of its group; exactly 0 where these are all alike."""
    _, first, of = np.unique(group, return_index=True, return_inverse=True)
    away = x - x[first][of]
    return away - (np.bincount(of, away) / np.bincount(of))[of]


# Order, sign and place


def pearson(credit: Tokens, truth: Tokens, mask: Mask, state: Ids | None = None) -> float:
    """Pearson's correlation over visits, with `state` after each state's mean is subtracted; NaN if one of the two is constant."""
    credit, truth = (_standard(x, mask, state) for x in (credit, truth))
    return float(np.mean(credit * truth)) if credit.any() and truth.any() else np.nan


def kendall(credit: Tokens, truth: Tokens, mask: Mask, state: Ids | None = None) -> float:
    """Kendall's tau-b over visits, with `state` after each state's mean is subtracted; NaN if one is constant. (Kendall 1945)"""
    credit, truth = (np.round(_standard(x, mask, state), TIE) for x in (credit, truth))
    return float(scipy.stats.kendalltau(credit, truth).statistic)


def _standard(x: Tokens, mask: Mask, state: Ids | None) -> Column:
    """The visits' `x` with mean 0 and standard deviation 1; all 0 if they are alike."""
    away = around(
        x[mask].astype(float), np.zeros(mask.sum(), int) if state is None else state[mask]
    )
    return away / (away.std() or 1.0)


def reliability(truth: Tokens, error: Tokens, mask: Mask) -> float:
    """The share of an estimated truth's variance that is not its error: 1 − mean error² / Var(truth), `error` its standard error."""
    return 1 - _ratio(
        float(np.mean(error[mask].astype(float) ** 2)), float(truth[mask].astype(float).var())
    )


def disattenuate(correlation: float, reliability: float) -> float:
    """Pearson's correlation with the truth, from that with an estimate of it; NaN if the estimate is all error. (Spearman 1904)"""
    return _ratio(correlation, float(np.sqrt(max(reliability, 0.0))))


def key_accuracy(credit: Tokens, truth: Tokens, mask: Mask, spread: Tokens) -> float:
    """P(sign credit = sign truth) where the spread is above a quarter of the largest; NaN if nothing is ever at stake.

    A credit of 0 counts one half, so that a random sign has .5; a constant credit has the share of its sign among the truths, so compare
    with that. Actions without an advantage are left out.
    """
    credit, truth, spread = (x[mask].astype(float) for x in (credit, truth, spread))
    key = (spread > max(KEY * spread.max(initial=0.0), ZERO)) & (np.abs(truth) > ZERO)
    return _ratio(
        float(np.sum(1 + np.sign(credit[key] * np.sign(truth[key]))) / 2), float(key.sum())
    )


def right_order(estimate: Tokens, truth: Tokens, mask: Mask, state: Ids, spread: Tokens) -> float:
    """The share of pairs of visits to one state that the estimate puts in the right order, its ties counting one half; chance is .5.

    Of pairs with different truths; the mean over the states where the spread is above a quarter of the largest; NaN if there are none.
    (as VinePPO ranks steps: 2410.01679, figure 7)
    """
    estimate, truth, state, spread = (
        x[mask] for x in (estimate.astype(float), truth.astype(float), state, spread)
    )
    key, shares = spread > max(KEY * spread.max(initial=0.0), ZERO), []
    for one in np.unique(state[key]):
        x, y = (v[state == one] for v in (estimate, truth))
        gap = y[:, None] - y
        shares += (
            [np.mean(1 + np.sign((x[:, None] - x) * gap)[gap > ZERO]) / 2]
            if (gap > ZERO).any()
            else []
        )
    return float(np.mean(shares)) if shares else np.nan


def leakage(credit: Tokens, mask: Mask, spread: Tokens) -> float:
    """The share of Σ |credit| on tokens whose choice changes nothing; NaN if there is no credit."""
    return credit_share(credit, mask, spread <= ZERO)


def credit_share(credit: Tokens, mask: Mask, where: Mask) -> float:
    """The share of Σ |credit| on the tokens of `where`, such as the key ones; NaN if there is no credit."""
    size = np.abs(credit.astype(float))
    return _ratio(float(size[mask & where].sum()), float(size[mask].sum()))


# The gradient


def signal_and_noise(gradient: Real[np.ndarray, "R W"]) -> tuple[float, float]:
    """‖E g‖², free of noise (so that it may be below 0), and E ‖g − E g‖². (the terms of the noise scale: 1812.06162, appendix A.1)

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
    """E g · g* / ‖g*‖²: 1 for an estimator that is g* in expectation, in length too; NaN if g* is 0. A mean, so its error is regular."""
    true = true.astype(float)
    return _ratio(float(gradient.astype(float).mean(0) @ true), float(true @ true))


def cosine_bias(gradient: Real[np.ndarray, "R W"], true: Real[np.ndarray, " W"]) -> float:
    """cos(E g, g*), free of noise (so that it may be above 1); NaN if E g or g* is no more than noise. (after COCOA, 2306.16803)"""
    signal, true = signal_and_noise(gradient)[0], true.astype(float)
    return _ratio(
        float(gradient.astype(float).mean(0) @ true),
        float(np.sqrt(max(signal, 0.0)) * np.linalg.norm(true)),
    )


def expected_cosine(gradient: Real[np.ndarray, "R W"], true: Real[np.ndarray, " W"]) -> float:
    """E cos(g, g*), what one batch gets; 0 for a batch without a gradient. (after Ilyas et al., 1811.02553)"""
    length = np.linalg.norm(gradient.astype(float), axis=1) * np.linalg.norm(true.astype(float))
    return float(
        np.mean(gradient.astype(float) @ true.astype(float) / np.where(length > 0, length, 1.0))
    )


def signal_to_noise(gradient: Real[np.ndarray, "R W"]) -> float:
    """‖E g‖² / E ‖g − E g‖², free of noise (so that it may be below 0); inf or NaN without noise. (after COCOA, 2306.16803)

    A steady gradient in a wrong direction has a high one: read it beside `cosine_bias`.
    """
    signal, noise = signal_and_noise(gradient)
    return signal / noise if noise else np.inf if signal > 0 else np.nan


def snr(gradient: Real[np.ndarray, "R W"]) -> float:
    """`signal_to_noise` in dB; −inf if no signal is left."""
    ratio = signal_to_noise(gradient)
    return float(10 * np.log10(ratio)) if ratio > 0 else -np.inf


def snr_env(snr: float, steps: float, base_steps: float) -> float:
    """The SNR in dB that `base_steps` environment steps buy, where `steps` bought `snr`: signal over noise grows with them."""
    return snr - 10 * float(np.log10(steps / base_steps))


def compact(
    gradient: Real[np.ndarray, "R W"], true: Real[np.ndarray, " W"]
) -> tuple[Float[np.ndarray, "R K"], Float[np.ndarray, " K"]]:
    """Both in coordinates of the space that they span, K ≤ R + 1: the same lengths and angles, and a quick jackknife."""
    rows = np.linalg.qr(np.vstack([gradient, true]).astype(float).T, mode="r").T
    return rows[:-1], rows[-1]


# Errors


def jackknife(statistic, *arrays: Real[np.ndarray, "R ..."]) -> Float[np.ndarray, "..."]:
    """The standard error of `statistic(*arrays)`, leaving out one replicate at a time; NaN if that is ever infinite or NaN.

    √((R − 1)/R Σᵣ (θ₍ᵣ₎ − mean θ)²) (Tukey 1958; Efron & Stein 1981), one for each number that the statistic returns.
    """
    without = (np.arange(len(arrays[0])) != r for r in range(len(arrays[0])))
    left = np.array([statistic(*(x[kept] for x in arrays)) for kept in without], float)
    left = np.where(np.isfinite(left).all(0), left, np.nan)
    return np.sqrt((len(left) - 1) * left.var(0))


def _ratio(x: float, y: float) -> float:
    """x / y; NaN where y is not positive."""
    return x / y if y > 0 else np.nan
