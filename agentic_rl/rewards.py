"""Which reward is credited: the task's own, or one with something added to it.

A reward is a config with `__call__(trajectory) -> trajectory`, which changes its `reward` or its
`penalty`. Success and return are always reported of the task's own reward.
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
    reads_reference: ClassVar[bool] = False  # the first policy's log-probabilities
    reads_labels: ClassVar[bool] = False  # the expert's actions, which are charged to the budget


@config
class Outcome(_Reward):
    """The task's own reward r."""

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """Returns the trajectory as it is."""
        return trajectory


@config
class Shaped(_Reward):
    """r + weight · (γ Φ' − Φ), where Φ is the task's potential before and after the turn: the same
    outcome is told earlier. (Ng et al. 1999; as return to go, PAV, 2410.08146)

    At discount 1 the best policy and the expected gradient stay as they are.
    """

    weight: Finite = 1.0  # weight of the change of potential
    discount: Weight = 1.0  # γ, per turn

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """Returns the trajectory with shaped rewards."""
        bonus = self.weight * progress(trajectory, self.discount)
        return trajectory._replace(reward=trajectory.reward + bonus)


@config
class Process(_Reward):
    """r + weight in every turn whose action is the expert's: a process reward model without errors.
    (Lightman et al., 2305.20050)
    """

    weight: Finite = 0.1  # reward for each action that is the expert's

    reads_labels: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """Returns the trajectory with a reward for each right turn."""
        bonus = self.weight * metrics.matches_expert(trajectory)
        return trajectory._replace(reward=trajectory.reward + bonus)


@config
class SoftOverlong(_Reward):
    """r − penalty · (tokens of the episode within `buffer` tokens of the limit) / buffer, in the
    last turn. (DAPO, 2503.14476, eq. 13)

    An episode that was cut off pays the whole penalty. Where the task fixes the length, none does.
    """

    buffer: Count = 4  # tokens
    penalty: NonNegative = 1.0  # of an episode that reaches the limit

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """Returns the trajectory with the penalty in the last turn."""
        over = jnp.clip((self.buffer - trajectory.room) / self.buffer, 0.0, 1.0)
        alive = trajectory.mask.any(-1)
        is_end = alive & (jnp.cumsum(alive, axis=-1) == alive.sum(-1, keepdims=True))
        cost = self.penalty * jnp.where(is_end, over[..., None], 0.0)
        return trajectory._replace(reward=trajectory.reward - cost)


@config
class KlReward(_Reward):
    """Every token costs coefficient · estimate of KL(π ‖ π_ref). With k1 the expected gradient is
    that of J − coefficient · KL(π ‖ π_ref). (2009.01325)
    """

    coefficient: NonNegative = 0.01  # weight of the KL in the reward
    estimator: kl.Estimator = "k1"  # of the KL divergence, from one sampled token
    clamp: Bound = kl.NO_CLAMP  # a token's estimate counts up to ±clamp (OpenRLHF: 10)

    reads_reference: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        """Returns the trajectory with a penalty on each token."""
        cost = kl.estimate(self.estimator, trajectory.log_prob, trajectory.reference_log_prob)
        cost = jnp.where(trajectory.mask, jnp.clip(cost, -self.clamp, self.clamp), 0.0)
        return trajectory._replace(penalty=trajectory.penalty + self.coefficient * cost)
