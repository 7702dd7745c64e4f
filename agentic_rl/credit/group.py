"""Credits that compare an episode with the other attempts at the same problem."""

from typing import Annotated, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Positive, Range
from agentic_rl.credit import Credit
from agentic_rl.credit.returns import episode_return, token_to_go, whiten
from agentic_rl.types import Trajectory, Value


def per_turn(credit: Float[Array, "N G"], trajectory: Trajectory) -> Float[Array, "N G T"]:
    """The same at every turn of an episode."""
    return jnp.broadcast_to(credit[..., None], trajectory.reward.shape)


def centred_returns(trajectory: Trajectory) -> Float[Array, "N G"]:
    """Rᵢ − mean R of the group."""
    total = episode_return(trajectory)
    total -= total[:, :1]  # so that equal returns are exactly 0, whatever this is divided by
    return total - total.mean(1, keepdims=True)


class Group(Credit):
    """A credit that needs at least two attempts."""

    min_attempts: ClassVar[int] = 2


@config
class LeaveOneOut(Group):
    """Rᵢ − mean of the other attempts' returns, an unbiased baseline. (RLOO: Kool et al. 2019; Ahmadian et al., 2402.14740, eq. 7)"""

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """G/(G−1) · (Rᵢ − mean R)."""
        attempts = trajectory.reward.shape[1]
        return per_turn(centred_returns(trajectory) * attempts / (attempts - 1), trajectory)


@config
class LeaveOneOutToGo(Group):
    """The reward to go minus the mean of the other attempts', of those that have not ended by then. Unbiased, blind to the past."""

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Gᵢₜ − mean over the others alive at t of their Gⱼₜ; Gᵢₜ where there is none."""
        to_go, mask = token_to_go(trajectory), trajectory.mask
        at_start, alive = to_go[..., :1], mask.any(-1, keepdims=True)
        others = alive.sum(1, keepdims=True) - alive
        baseline = (jnp.where(alive, at_start, 0.0).sum(1, keepdims=True) - at_start) / jnp.maximum(
            others, 1
        )
        return jnp.where(mask, to_go - jnp.where(others > 0, baseline, 0.0), 0.0)


@config
class Centred(Group):
    """Rᵢ − mean R: no division by the standard deviation. (Dr. GRPO, 2503.20783) Whitened: REINFORCE++-baseline. (2501.03262)"""

    whiten: bool = False  # normalise over the batch's tokens

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The centred return."""
        credit = jnp.where(
            trajectory.mask, per_turn(centred_returns(trajectory), trajectory)[..., None], 0.0
        )
        return whiten(credit, trajectory.mask) if self.whiten else credit


@config
class GroupRelative(Group):
    """(Rᵢ − mean R) / (std R + eps) within the group. (GRPO: DeepSeekMath, 2402.03300, section 4.1.2)

    Dividing by the standard deviation weighs problems by E[std]/(p(1−p)): from 4 attempts on, a bias towards the very easy and the
    very hard. (Dr. GRPO, 2503.20783)
    """

    eps: Positive = 1e-4  # added to the standard deviation
    ddof: Annotated[int, Range(0, 1)] = (
        1  # 1: sample standard deviation (TRL, verl, Tunix); 0: population
    )

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The standardised return; 0 where all attempts fared alike."""
        std = episode_return(trajectory).std(1, keepdims=True, ddof=self.ddof)
        return per_turn(centred_returns(trajectory) / (std + self.eps), trajectory)


@config
class BatchRelative(Group):
    """(Rᵢ − mean R of the group) / (std of all R of the batch + eps): one scale for all problems. (TRL's scale_rewards="batch")"""

    eps: Positive = 1e-4  # added to the standard deviation

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The return, centred in its group and scaled in the batch."""
        return per_turn(
            centred_returns(trajectory) / (episode_return(trajectory).std(ddof=1) + self.eps),
            trajectory,
        )


@config
class LengthWeighted(Group):
    """Rᵢ − Σ lengthⱼ Rⱼ / Σ lengthⱼ: the least variance if longer episodes have longer gradients. (OPO, 2505.23585, eq. 7)"""

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The return minus the group's mean return per token."""
        total, length = episode_return(trajectory), trajectory.mask.sum((2, 3))
        baseline = (length * total).sum(1, keepdims=True) / jnp.maximum(
            length.sum(1, keepdims=True), 1
        )
        return per_turn(total - baseline, trajectory)


@config
class OptimalToken(Group):
    """Gᵢₖ − Σⱼ Gⱼₖ Wⱼₖ / Σⱼ Wⱼₖ at the k-th token, W the squared length of the logits' gradient up to it. (OTB, 2602.07078, as in verl)

    W is Σ over the tokens so far of 1 − 2π + Σ π². An episode is part of its own baseline; behind the second longest there is none.
    """

    reads_sampler: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The reward to go of each token minus the baseline of its number in the episode."""
        square = jnp.where(
            trajectory.mask, 1 - 2 * jnp.exp(trajectory.log_prob) + trajectory.collision, 0.0
        )
        rows = [
            x.reshape(*x.shape[:2], -1) for x in (trajectory.mask, token_to_go(trajectory), square)
        ]
        order = jnp.argsort(~rows[0], stable=True)  # an episode's tokens, then its padding
        mask, to_go, square = (jnp.take_along_axis(x, order, axis=-1) for x in rows)
        weight = jnp.where(mask, jnp.cumsum(square, axis=-1), 0.0)
        baseline = (to_go * weight).sum(1, keepdims=True) / jnp.maximum(
            weight.sum(1, keepdims=True), 1e-8
        )
        shared = mask.sum(1, keepdims=True) > 1
        credit = jnp.where(mask, to_go - jnp.where(shared, baseline, 0.0), 0.0)
        return jnp.take_along_axis(credit, jnp.argsort(order), axis=-1).reshape(
            trajectory.mask.shape
        )
