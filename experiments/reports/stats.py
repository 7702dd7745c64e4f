"""The statistical protocol of every experiment: from records to intervals and tests.

A record is a flat dict, one measurement of one run; `scores` lays records out as an array [tasks,
seeds]. Seeds are paired: seed s means the same initial parameters, problems and evaluation set for
every algorithm. So algorithms are compared by their differences per seed.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float, Int, Real

Record = dict[str, Any]
Values = np.ndarray | np.floating


class Estimate(NamedTuple):
    """A number and its 95% interval."""

    value: float
    low: float
    high: float


class Comparison(NamedTuple):
    """A mean difference, its 95% interval and the two-sided p-value of "no difference"."""

    mean: float
    low: float
    high: float
    p: float


def select(records: list[Record], **values: Any) -> list[Record]:
    """Returns the records in which every named column has the given value, in their order."""
    return [r for r in records if all(r[column] == value for column, value in values.items())]


def distinct(records: list[Record], column: str) -> list[Any]:
    """Returns the values of a column, each once, in order of first appearance."""
    return list(dict.fromkeys(r[column] for r in records))


def scores(records: list[Record], column: str) -> Float[np.ndarray, "tasks seeds"]:
    """Returns a column as an array, tasks in order of first appearance and seeds ascending.

    The arrays of two algorithms are therefore paired.

    Raises: ValueError unless there is exactly one record for each task and seed.
    """
    by_place = {(r["task"], r["seed"]): float(r[column]) for r in records}
    tasks, seeds = distinct(records, "task"), sorted(distinct(records, "seed"))
    is_unique = len(records) == len(by_place)
    if not records or not is_unique or len(by_place) != len(tasks) * len(seeds):
        raise ValueError(
            f"{column} needs one record for each of tasks {tasks} and seeds {seeds}, "
            f"but there are {len(records)} records."
        )
    return np.array([[by_place[task, seed] for seed in seeds] for task in tasks])


def iqm(scores: Real[np.ndarray, "..."], axis: int | None = None) -> Any:
    """Returns the interquartile mean of all scores, or along `axis` (2108.13264).

    It is the mean of the middle half. As in rliable, a quarter of the scores, rounded down, is cut
    at each end.

    >>> float(iqm(np.array([0.0, 1, 2, 3, 4, 5, 6, 100])))
    3.5

    Raises: ValueError if a score is NaN, since sorting would cut it away as if it were the best.
    """
    if np.isnan(scores).any():
        raise ValueError(
            "A score is NaN; give a failed run its last finite score and report how many failed."
        )
    return scipy.stats.trim_mean(scores, 0.25, axis=axis)


def stratified_bootstrap(
    scores: Real[np.ndarray, "tasks seeds"], statistic=iqm, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Returns the 95% percentile bootstrap interval of `statistic(scores, axis)`.

    Seeds are resampled within each task (2108.13264, section 4.1). With one task it is
    `scipy.stats.bootstrap(method="percentile")`. With few seeds it is too narrow: see `caution`.
    """
    tasks, seeds = scores.shape
    drawn = np.random.default_rng(seed).integers(seeds, size=(resamples, tasks, seeds))
    resampled = scores[np.arange(tasks)[:, None], drawn].reshape(resamples, -1)
    low, high = np.percentile(statistic(resampled, axis=1), [2.5, 97.5])
    return float(low), float(high)


def caution(num_seeds: int) -> str:
    """Returns a sentence to print beside bootstrap intervals of 5 seeds or fewer, else nothing."""
    if num_seeds > 5:
        return ""
    reason = "the 95% bootstrap intervals are too narrow (for a mean of 5 they cover about 84%)"
    return f"With {num_seeds} seeds {reason}; decide by paired t."


def estimate(scores: Real[np.ndarray, "tasks seeds"]) -> Estimate:
    """Returns the interquartile mean over tasks and seeds, with its bootstrap interval."""
    return Estimate(float(iqm(scores)), *stratified_bootstrap(scores))


def t_interval(sample: Real[np.ndarray, "seeds *shape"]) -> tuple[Values, Values, Values]:
    """Returns the mean over seeds, and the ends of Student's 95% interval, per element.

    x̄ ± t₀.₉₇₅(n−1) · s/√n, which for 1, 2, 3, 4, 5 is 3 ± 2.776 · 0.7071. With one seed the ends
    are NaN.
    """
    n, mean = len(sample), sample.mean(axis=0)
    half = np.full_like(mean, np.nan, dtype=float)
    if n > 1:
        half = scipy.stats.t.ppf(0.975, n - 1) * scipy.stats.sem(sample, axis=0)
    return mean, mean - half, mean + half


def interval(sample: list[float], is_share: bool = True) -> str:
    """Returns the mean over seeds and, with two or more, Student's 95% interval as text.

    The interval of a share is cut at 0 and 1.

    >>> interval([0.5]), interval([0.9, 0.95, 1.0])
    ('0.500', '0.950 [0.826, 1.000]')
    >>> interval([0.9, 0.95, 1.0], is_share=False)
    '0.950 [0.826, 1.074]'
    """
    mean, low, high = t_interval(np.array(sample))
    if is_share:
        low, high = np.clip((low, high), 0, 1)
    return f"{mean:.3f}" if np.isnan(low) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def log_odds(share: Real[np.ndarray, "*shape"], count: int) -> Float[np.ndarray, "*shape"]:
    """Returns log p / (1 − p) of shares p of `count`, kept half a count away from 0 and 1.

    >>> log_odds(np.array([0.0, 0.5, 0.75]), 100).round(2).tolist()
    [-5.29, 0.0, 1.1]
    """
    p = np.clip(share, 0.5 / count, 1 - 0.5 / count)
    return np.log(p / (1 - p))


def least_squares_slope(
    x: Real[np.ndarray, " points"], y: Real[np.ndarray, "points *shape"]
) -> Float[np.ndarray, "*shape"]:
    """Returns the least-squares slope of y against x, per element of the other axes of y.

    >>> y = np.array([[1, 0], [3, 0], [5, 0]])
    >>> least_squares_slope(np.array([0, 1, 2]), y).round(6).tolist()
    [2.0, 0.0]
    """
    return np.polyfit(x, y, 1)[0]


def paired_t(difference: Real[np.ndarray, " seeds"]) -> Comparison:
    """Returns the paired t test of the seeds' differences (Student 1908).

    It equals `scipy.stats.ttest_rel` of the two arms. Identical differences give an interval
    without width: p is 0, or 1 if they are all 0. Judge such a case by `sign_flip`.

    Raises: ValueError with fewer than two seeds.
    """
    if len(difference) < 2:
        raise ValueError("A paired t test needs at least two seeds.")
    mean, low, high = map(float, t_interval(difference))
    error = float(scipy.stats.sem(difference))
    p = 2 * scipy.stats.t.sf(abs(mean) / error, len(difference) - 1) if error else mean == 0
    return Comparison(mean, low, high, float(p))


def sign_flip(difference: Real[np.ndarray, " seeds"]) -> float:
    """Returns the exact two-sided p-value of the paired permutation test (Fisher 1935).

    It is the share of all 2ⁿ sign assignments whose |mean| is at least the observed one: never
    below 2/2ⁿ, so .0625 for 5 seeds and .002 for 10.

    Raises: ValueError above 20 seeds, where 2ⁿ is too many to enumerate.
    """
    if len(difference) > 20:
        raise ValueError(
            f"An exact sign-flip test of {len(difference)} seeds has too many assignments: "
            "use paired_t."
        )
    exact = {"permutation_type": "samples", "n_resamples": np.inf, "batch": 4096}
    return float(
        scipy.stats.permutation_test((difference,), np.mean, vectorized=True, **exact).pvalue
    )


def holm(p_values: Real[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Returns the p-values adjusted for a family of tests, in the given order (Holm 1979).

    Reject those below .05. The i-th smallest of m, counted from 0, is multiplied by m − i, then
    kept from falling below the one before, and capped at 1.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return np.minimum(adjusted, 1.0)[np.argsort(order)]


def pass_at_k(n: int, c: Int[np.ndarray, " problems"], k: int) -> Float[np.ndarray, " problems"]:
    """Returns per problem the unbiased estimate of pass@k, given that c of n samples were right.

    1 − C(n−c, k) / C(n, k) (Chen et al. 2021, 2107.03374, eq. 1): the chance that k of the n
    samples, drawn without replacement, hold a right one. Use n ≥ 2k.

    >>> pass_at_k(4, np.array([0, 1, 3]), 2).tolist()
    [0.0, 0.5, 1.0]

    Raises: ValueError unless 1 ≤ k ≤ n and 0 ≤ c ≤ n.
    """
    if not (1 <= k <= n and np.all((0 <= c) & (c <= n))):
        raise ValueError(f"pass@k needs 1 <= k <= n and 0 <= c <= n, not k={k}, n={n}, c={c}.")
    return np.clip(1 - scipy.stats.hypergeom.pmf(0, n, c, k), 0.0, 1.0)
