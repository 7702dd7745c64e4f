"""Which episodes are trained on. A selection is a config with `__call__(trajectory) -> kept [N, G]`; what is left out still counts
in its group's statistics and in the budget. `max_rounds`: how often a problem's slot is drawn anew until it is kept."""

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
    """All episodes."""

    def __call__(self, trajectory: Trajectory) -> Bool[Array, "N G"]:
        """True."""
        return jnp.ones(trajectory.success.shape, bool)


@config
class Informative(_Selection):
    """Groups whose attempts did not all fare alike; others are drawn again. (DAPO's dynamic sampling, 2503.14476, section 3.2)

    A slot that is still uninformative after the last round is left out. Every round is charged to the budget.
    """

    max_rounds: Count = 4  # draws of a slot; 1: only left out

    min_attempts: ClassVar[int] = 2

    def __call__(self, trajectory: Trajectory) -> Bool[Array, "N G"]:
        """Whether the group's returns differ."""
        total = episode_return(trajectory)
        return jnp.broadcast_to((total != total[:, :1]).any(1, keepdims=True), total.shape)


@config
class TopSpread(_Selection):
    """The groups with the largest standard deviation of returns. (RAGEN's uncertainty filter, 2504.20073, section 4.2)"""

    fraction: Fraction = 0.25  # of the groups that is kept, rounded up

    min_attempts: ClassVar[int] = 2

    def __call__(self, trajectory: Trajectory) -> Bool[Array, "N G"]:
        """Whether the group is among them; of equals the earlier ones."""
        spread = episode_return(trajectory).std(1)
        rank = jnp.argsort(jnp.argsort(-spread, stable=True), stable=True)
        kept = rank < jnp.maximum(
            jnp.ceil(self.fraction * len(spread) - 1e-3), 1
        )  # a little less: 0.15 · 100 is above 15 in float32
        return jnp.broadcast_to(kept[:, None], trajectory.success.shape)


@config
class NotOverlong(_Selection):
    """Episodes that ended before they were cut off: of the others nobody knows how they would have ended. (DAPO's overlong filter)"""

    def __call__(self, trajectory: Trajectory) -> Bool[Array, "N G"]:
        """Whether the episode ended."""
        return trajectory.room >= 0
