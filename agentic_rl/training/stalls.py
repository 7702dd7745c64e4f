"""Notices that a run learns nothing, and tells the user what to change."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from agentic_rl.algorithms import Algorithm
from agentic_rl.records.log import Entry
from agentic_rl.rollout.actors import Learner

WINDOW = 20  # the newest updates, which are looked at
LITTLE = 0.1  # below this fraction of the expected share, a selection keeps almost nothing
IDLE = 0.25  # a larger share of steps without a gradient is too much, if episodes are left out
ROUNDING = 1e-4  # of the credit where all returns are alike
EASIER = (
    "Give more demonstrations first (--warm-start.updates, --warm-start.num-demos), an easier task"
    " (its --task flags, such as fewer turns), or another --policy.context"
)


class Stalls:
    """Looks for signs of a stall in a run's newest log entries, and reports each once."""

    def __init__(self, algorithm: Algorithm):
        is_learner = isinstance(algorithm.actor, Learner)
        self.learns_from_rewards = is_learner and algorithm.labels == "own"
        self.share_kept = getattr(algorithm.selection, "fraction", 1.0)
        self.entries: deque[Entry] = deque(maxlen=WINDOW)
        self.reported: set[str] = set()

    def look(self, entries: Sequence[Entry]) -> list[str]:
        """Returns the new warnings, as sentences, that these further entries give rise to."""
        self.entries.extend(entries)
        if len(self.entries) < WINDOW or not self.learns_from_rewards:
            return []
        warnings = {"reward": warn_of_equal_rewards(self.entries)}
        if not warnings["reward"]:
            warnings["selection"] = warn_of_few_kept(self.entries, self.share_kept)
        signs = [sign for sign in warnings if warnings[sign] and sign not in self.reported]
        self.reported.update(signs)
        return [warnings[sign] for sign in signs]


def warn_of_equal_rewards(entries: Sequence[Entry]) -> str:
    """Returns a sentence if no attempt at a problem did better than another, "" if one did.

    Where every episode succeeded, nothing is left to learn, and the result is "" as well.
    """
    alike, returns = _column(entries, "zero_variance_groups"), _column(entries, "return")
    no_credit = _column(entries, "credit_std") < ROUNDING
    is_constant = ((returns == returns[0]) | no_credit).all(0)
    is_unsolved = (_column(entries, "success") < 1).any(0)
    stuck = (alike == 1).all(0) & is_constant & is_unsolved
    if not stuck.any():
        return ""
    which = f"In the last {len(entries)} updates no attempt did better than another{_seeds(stuck)}"
    return f"{which}, so that nothing is learned. {EASIER}."


def warn_of_few_kept(entries: Sequence[Entry], share_kept: float = 1.0) -> str:
    """Returns a sentence if the selection left almost nothing of the episodes, "" if not.

    Args:
      share_kept: the share of episodes that the selection keeps at most.
    """
    kept, idle = _column(entries, "kept"), _column(entries, "no_gradient")
    is_small = kept.mean(0) < LITTLE * share_kept
    is_idle = (kept.mean(0) < share_kept) & (idle.mean(0) > IDLE)
    little = is_small | is_idle
    if not little.any():
        return ""
    share, steps = 100 * kept[:, little].mean(), 100 * idle[:, little].mean()
    return (
        f"The selection kept {share:.1f}% of the episodes of the last {len(entries)} updates"
        f"{_seeds(little)}, and {steps:.0f}% of the gradient steps had nothing to learn from."
        f" {EASIER}. More --algorithm.attempts or --selection all help as well."
    )


def _column(entries: Sequence[Entry], name: str) -> Float[np.ndarray, "updates S"]:
    return np.array([entry[name] for entry in entries], float)


def _seeds(some: Bool[np.ndarray, " S"]) -> str:
    """Returns how many of several seeds are meant.

    >>> _seeds(np.array([False, True, True])), _seeds(np.array([True]))
    (' for 2 of 3 seeds', '')
    """
    return "" if some.all() else f" for {some.sum()} of {len(some)} seeds"
