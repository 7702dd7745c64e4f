"""Which reward is credited: the task's own, or with something added to it. Success and return are always reported of the task's own.

A reward is a config with `__call__(trajectory) -> trajectory`, another `reward` or `penalty` in it.
"""

from typing import ClassVar

import jax.numpy as jnp

from agentic_rl import metrics
from agentic_rl.config import config
from agentic_rl.config.ranges import Bound, Count, Finite, NonNegative, Weight
from agentic_rl.credit.process import progress
from agentic_rl.losses import kl
from agentic_rl.types import Trajectory


class _Reward:
    reads_reference: ClassVar[bool] = (
        False  # the log-probabilities of the policy at the start of the run
    )
    reads_labels: ClassVar[bool] = False  # the expert's actions, which are charged to the budget


@config
class Outcome(_Reward):
    """The task's own."""

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """As it is."""
        return trajectory


@config
class Shaped(_Reward):
    """r + weight · (γ Φ' − Φ): earlier news of the same outcome, which leaves the best policy and the expected gradient as they are
    (at discount 1). (Ng et al. 1999; PAV's return-to-go form, 2410.08146)"""

    weight: Finite = 1.0
    discount: Weight = 1.0  # γ, per turn

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """With shaped rewards."""
        return trajectory._replace(
            reward=trajectory.reward + self.weight * progress(trajectory, self.discount)
        )


@config
class Process(_Reward):
    """r + weight in every turn whose action is the expert's: a process reward model without errors. (2305.20050)"""

    weight: Finite = 0.1

    reads_labels: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """With a reward for each right turn."""
        return trajectory._replace(
            reward=trajectory.reward + self.weight * metrics.matches_expert(trajectory)
        )


@config
class SoftOverlong(_Reward):
    """r − penalty · (how far into the last `buffer` tokens before the limit the episode has come) / buffer. (DAPO, 2503.14476, eq. 13)

    An episode that was cut off pays the whole penalty, one whose length the task fixes pays none.
    """

    buffer: Count = 4  # tokens
    penalty: NonNegative = 1.0  # of an episode that reaches the limit

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """With the penalty in the last turn."""
        over = jnp.clip((self.buffer - trajectory.room) / self.buffer, 0.0, 1.0)
        alive = trajectory.mask.any(-1)
        is_end = alive & (jnp.cumsum(alive, axis=-1) == alive.sum(-1, keepdims=True))
        return trajectory._replace(
            reward=trajectory.reward - self.penalty * jnp.where(is_end, over[..., None], 0.0)
        )


@config
class KlReward(_Reward):
    """Every token costs coefficient · KL. With k1 the expected gradient is that of J − coefficient · KL(π ‖ π_ref). (2009.01325)"""

    coefficient: NonNegative = 0.01
    estimator: kl.Estimator = "k1"
    clamp: Bound = kl.NO_CLAMP  # a token's estimate counts up to ±clamp (OpenRLHF: 10)

    reads_reference: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """With a penalty on each token."""
        cost = kl.estimate(self.estimator, trajectory.log_prob, trajectory.reference_log_prob)
        cost = jnp.clip(cost, -self.clamp, self.clamp)
        return trajectory._replace(
            penalty=trajectory.penalty + self.coefficient * jnp.where(trajectory.mask, cost, 0.0)
        )
