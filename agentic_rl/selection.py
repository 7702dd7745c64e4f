"""Which episodes are trained on.

A selection is a config with `__call__(trajectory) -> kept [N, G]`. An episode that is left out
still counts in its group's statistics and in the budget. `max_rounds` says how often a problem's
slot is drawn until it is kept.
"""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool

from agentic_rl.config import config
from agentic_rl.config.ranges import Count, Fraction
from agentic_rl.credit.returns import episode_return
from agentic_rl.types import Trajectory


class _Selection:
    min_attempts: ClassVar[int] = 1
    max_rounds: Count = 1


@config
class All(_Selection):
    """Keeps all episodes."""

    def __call__(self, trajectory: Trajectory) -> Bool[Array, "N G"]:
        """Returns True for every episode."""
        return jnp.ones(trajectory.success.shape, bool)


@config
class Informative(_Selection):
    """Keeps groups in which not all returns are equal; the others are drawn again.
    (DAPO's dynamic sampling, 2503.14476, section 3.2)

    A slot that is still uninformative after the last round is left out. Every round is charged to
    the budget.
    """

    max_rounds: Count = 4  # draws of a slot; 1: only left out

    min_attempts: ClassVar[int] = 2

    def __call__(self, trajectory: Trajectory) -> Bool[Array, "N G"]:
        """Returns whether the group's returns differ."""
        total = episode_return(trajectory)
        return jnp.broadcast_to((total != total[:, :1]).any(1, keepdims=True), total.shape)


@config
class TopSpread(_Selection):
    """Keeps the groups with the largest standard deviation of returns.
    (RAGEN's uncertainty filter, 2504.20073, section 4.2)
    """

    fraction: Fraction = 0.25  # of the groups that is kept, rounded up

    min_attempts: ClassVar[int] = 2

    def __call__(self, trajectory: Trajectory) -> Bool[Array, "N G"]:
        """Returns whether the group is among them; of equal ones the earlier are."""
        spread = episode_return(trajectory).std(1)
        rank = jnp.argsort(jnp.argsort(-spread, stable=True), stable=True)
        # The small number is for rounding: 0.15 · 100 is above 15 in float32.
        count = jnp.ceil(self.fraction * len(spread) - 1e-3)
        kept = rank < jnp.maximum(count, 1)
        return jnp.broadcast_to(kept[:, None], trajectory.success.shape)


@config
class NotOverlong(_Selection):
    """Keeps episodes that ended before the limit; nobody knows how the others would have ended.
    (DAPO's overlong filter, 2503.14476)
    """

    def __call__(self, trajectory: Trajectory) -> Bool[Array, "N G"]:
        """Returns whether the episode ended."""
        return trajectory.room >= 0
