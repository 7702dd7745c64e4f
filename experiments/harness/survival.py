"""How long episodes go on without an error: survival, and the Weibull laws that are fitted to it.

An episode "dies" at the turn of its first error. Episodes without one are censored at their end.
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize
from jaxtyping import Bool, Float, Int

POINTS = 8  # of the survival that is plotted
UNKNOWN = dict.fromkeys(("k", "T50", "T80", "AIC gain"), np.nan)


class Law(NamedTuple):
    """A Weibull law: an episode survives t of its T turns with the chance exp(−total (t / T)ᵏ)."""

    k: float
    total: float

    def hazard(self, turns: int) -> Float[np.ndarray, " turns+1"]:
        """Returns minus the log of the chance to survive 0, 1, ... turns."""
        return self.total * (np.arange(turns + 1) / turns) ** self.k

    def lifetime(self, share: float, turns: int) -> float:
        """Returns the number of turns that this share of the episodes survives."""
        return float(turns * (-np.log(share) / self.total) ** (1 / self.k))

    def log_likelihood(self, died: Int[np.ndarray, " turns"], alive: int) -> float:
        """Returns the log-likelihood of the first errors.

        A turn that begins at hazard a and ends at b has log(exp(−a) − exp(−b))
        = −a + log(1 − exp(a − b)).

        Args:
          died: number of episodes that had their first error at each turn.
          alive: number of episodes without an error until the end.
        """
        hazard = self.hazard(len(died))
        log_deaths = -hazard[:-1] + np.log(-np.expm1(-np.diff(hazard)))
        return float(died @ log_deaths - alive * hazard[-1])


def constant(died: Int[np.ndarray, " turns"], alive: int) -> Law:
    """Returns the most likely law with k = 1, whose rate is errors over turns at risk."""
    turns = np.arange(1, len(died) + 1)
    rate = died.sum() / (died @ turns + alive * len(died))
    return Law(1.0, float(-len(died) * np.log1p(-rate)))


def weibull(died: Int[np.ndarray, " turns"], alive: int) -> Law:
    """Returns the most likely Weibull law."""

    def loss(log):
        return -Law(*np.exp(log)).log_likelihood(died, alive) / (died.sum() + alive)

    start = np.log(constant(died, alive))
    best = scipy.optimize.minimize(loss, start, method="Nelder-Mead")
    return Law(*map(float, np.exp(best.x)))


def measure_survival(right: Bool[np.ndarray, "episodes turns"]) -> dict[str, float]:
    """Returns accuracy, clustering of errors, survival and the fitted law's numbers by name.

    `accuracy` is of a turn in episodes without an error so far. `after` is the log of the error
    rate after an episode's first error, over the rate until then. `alive t` is the share of
    episodes without an error in t turns. The law is NaN unless first errors fall on two turns.
    """
    whole = np.logical_and.accumulate(right, axis=1)
    at_risk = np.concatenate([np.ones_like(whole[:, :1]), whole[:, :-1]], axis=1)
    died, alive = (at_risk & ~right).sum(0), int(whole[:, -1].sum())
    rate, later = died.sum() / at_risk.sum(), (~right)[~at_risk]
    numbers = {
        "accuracy": 1 - rate,
        "after": np.log(later.mean() / rate) if later.any() else np.nan,
    }
    numbers |= {f"alive {t}": whole[:, t - 1].mean() for t in marks(right.shape[1])}
    numbers |= fit(died, alive) if (died > 0).sum() > 1 else UNKNOWN
    return {name: float(x) for name, x in numbers.items()}


def fit(died: Int[np.ndarray, " turns"], alive: int) -> dict[str, float]:
    """Returns k and two lifetimes of the most likely law, and its gain over the law with k = 1.

    The gain is in Akaike's criterion, which charges 2 for the second parameter.
    """
    law, plain = weibull(died, alive), constant(died, alive)
    gain = 2 * (law.log_likelihood(died, alive) - plain.log_likelihood(died, alive)) - 2
    return {
        "k": law.k,
        "T50": law.lifetime(0.5, len(died)),
        "T80": law.lifetime(0.8, len(died)),
        "AIC gain": gain,
    }


def marks(turns: int) -> list[int]:
    """Returns some turns, evenly spaced.

    >>> marks(24), marks(6)
    ([3, 6, 9, 12, 15, 18, 21, 24], [1, 2, 3, 4, 5, 6])
    """
    step = -(-turns // POINTS)
    return list(range(step, turns + 1, step))
