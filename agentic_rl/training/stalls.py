"""Signs that a run learns nothing, as a sentence each that says what to change."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from agentic_rl.algorithms import Algorithm
from agentic_rl.rollout.actors import Learner

WINDOW = 20  # updates that are looked at
LITTLE = 0.1  # of the episodes that a selection is meant to keep: less is almost nothing
IDLE = 0.25  # of the gradient steps: more without a gradient are said, if the selection leaves out any episodes
ROUNDING = 1e-4  # of the credit where all returns are alike
EASIER = (
    "Give more demonstrations first (--warm-start.updates, --warm-start.num-demos), an easier task (its --task flags, such as fewer "
    "turns), or another --policy.context"
)

Entry = dict[str, Any]


class Stalls:
    """Looks at the newest rows of a run; says each sign once."""

    def __init__(self, algorithm: Algorithm):
        self.learns_from_rewards = (
            isinstance(algorithm.actor, Learner) and algorithm.labels == "own"
        )
        self.meant = getattr(algorithm.selection, "fraction", 1.0)
        self.entries: deque[Entry] = deque(maxlen=WINDOW)
        self.said: set[str] = set()

    def look(self, rows: Sequence[Entry]) -> list[str]:
        """Returns the sentences that these further rows give rise to."""
        self.entries.extend(rows)
        if len(self.entries) < WINDOW or not self.learns_from_rewards:
            return []
        found = {"reward": rewards_alike(self.entries)}
        found["selection"] = "" if found["reward"] else few_kept(self.entries, self.meant)
        new = [sentence for sign, sentence in found.items() if sentence and sign not in self.said]
        self.said |= {sign for sign, sentence in found.items() if sentence}
        return new


def rewards_alike(rows: Sequence[Entry]) -> str:
    """Returns a sentence if no attempt at a problem did better than another in any of the rows, "" if some did.

    Where every episode succeeded, there is nothing left to learn, and nothing to say.
    """
    alike, returns, success = (
        np.array([row[name] for row in rows])
        for name in ("zero_variance_groups", "return", "success")
    )
    nothing = np.array([row["credit_std"] for row in rows]) < ROUNDING
    stuck = (alike == 1).all(0) & ((returns == returns[0]) | nothing).all(0) & (success < 1).any(0)
    if not stuck.any():
        return ""
    which = f"In the last {len(rows)} updates no attempt did better than another{_seeds(stuck)}"
    return f"{which}, so that nothing is learned. {EASIER}."


def few_kept(rows: Sequence[Entry], meant: float = 1.0) -> str:
    """Returns a sentence if the selection left almost nothing of the rows' episodes, "" if not.

    Args:
      meant: the share of episodes that it keeps at most.
    """
    kept, idle = (np.array([row[name] for row in rows]) for name in ("kept", "no_gradient"))
    little = (kept.mean(0) < LITTLE * meant) | ((kept.mean(0) < meant) & (idle.mean(0) > IDLE))
    if not little.any():
        return ""
    share, steps = 100 * kept[:, little].mean(), 100 * idle[:, little].mean()
    return (
        f"The selection kept {share:.1f}% of the episodes of the last {len(rows)} updates{_seeds(little)}, and {steps:.0f}% of the "
        f"gradient steps had nothing to learn from. {EASIER}. More --algorithm.attempts or --selection all help as well."
    )


def _seeds(some: Bool[np.ndarray, " S"]) -> str:
    """Returns how many of several seeds are meant.

    >>> _seeds(np.array([False, True, True])), _seeds(np.array([True]))
    (' for 2 of 3 seeds', '')
    """
    return "" if some.all() else f" for {some.sum()} of {len(some)} seeds"
