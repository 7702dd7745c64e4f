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
    """Returns each episode's credit at each of its turns."""
    return jnp.broadcast_to(credit[..., None], trajectory.reward.shape)


def centred_returns(trajectory: Trajectory) -> Float[Array, "N G"]:
    """Returns Rᵢ − mean R of the group."""
    total = episode_return(trajectory)
    total -= total[:, :1]  # so that equal returns are exactly 0, whatever this is divided by
    return total - total.mean(1, keepdims=True)


class Group(Credit):
    """A credit that needs at least two attempts."""

    min_attempts: ClassVar[int] = 2


@config
class LeaveOneOut(Group):
    """The return minus the mean of the other attempts' returns, which is an unbiased baseline:
    G/(G−1) · (Rᵢ − mean R). (RLOO: Kool et al. 2019; Ahmadian et al., 2402.14740, eq. 7)
    """

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns the episode's credit at each turn."""
        attempts = trajectory.reward.shape[1]
        return per_turn(centred_returns(trajectory) * attempts / (attempts - 1), trajectory)


@config
class LeaveOneOutToGo(Group):
    """The reward to go minus its mean over the other attempts that are still running at that turn:
    Gᵢₜ − mean of Gⱼₜ over j ≠ i. It is unbiased and ignores earlier rewards.

    Where no other attempt is left, there is no baseline.
    """

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the credit of each token."""
        to_go, mask = token_to_go(trajectory), trajectory.mask
        at_start, alive = to_go[..., :1], mask.any(-1, keepdims=True)
        others = alive.sum(1, keepdims=True) - alive
        total = jnp.where(alive, at_start, 0.0).sum(1, keepdims=True)
        baseline = (total - at_start) / jnp.maximum(others, 1)
        return jnp.where(mask, to_go - jnp.where(others > 0, baseline, 0.0), 0.0)


@config
class Centred(Group):
    """The return minus the group's mean, Rᵢ − mean R, without division by the standard deviation.
    (Dr. GRPO, 2503.20783; whitened it is REINFORCE++-baseline, 2501.03262)
    """

    whiten: bool = False  # normalise over the batch's tokens

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the centred return at each token."""
        credit = per_turn(centred_returns(trajectory), trajectory)[..., None]
        credit = jnp.where(trajectory.mask, credit, 0.0)
        return whiten(credit, trajectory.mask) if self.whiten else credit


@config
class GroupRelative(Group):
    """The return, standardised within the group: (Rᵢ − mean R) / (std R + eps).
    (GRPO: DeepSeekMath, 2402.03300, section 4.1.2)

    The division by the standard deviation weighs problems by E[std]/(p(1−p)), where p is the
    chance of success. From 4 attempts on, this favours the very easy and the very hard problems.
    (Dr. GRPO, 2503.20783)
    """

    eps: Positive = 1e-4  # added to the standard deviation
    # 1: sample standard deviation (TRL, verl, Tunix); 0: population
    ddof: Annotated[int, Range(0, 1)] = 1

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns the standardised return at each turn; it is 0 if all attempts earned the same."""
        std = episode_return(trajectory).std(1, keepdims=True, ddof=self.ddof)
        return per_turn(centred_returns(trajectory) / (std + self.eps), trajectory)


@config
class BatchRelative(Group):
    """The return, centred in the group and scaled in the batch, so that all problems have one
    scale: (Rᵢ − mean R of the group) / (std of all R of the batch + eps).
    (TRL's scale_rewards="batch")
    """

    eps: Positive = 1e-4  # added to the standard deviation

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns the scaled return at each turn."""
        std = episode_return(trajectory).std(ddof=1)
        return per_turn(centred_returns(trajectory) / (std + self.eps), trajectory)


@config
class LengthWeighted(Group):
    """The return minus the group's mean return per token, Rᵢ − Σ lengthⱼ Rⱼ / Σ lengthⱼ. The
    variance is least if longer episodes have longer gradients. (OPO, 2505.23585, eq. 7)
    """

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns the episode's credit at each turn."""
        total, length = episode_return(trajectory), trajectory.mask.sum((2, 3))
        weight = jnp.maximum(length.sum(1, keepdims=True), 1)
        baseline = (length * total).sum(1, keepdims=True) / weight
        return per_turn(total - baseline, trajectory)


@config
class OptimalToken(Group):
    """The reward to go minus a baseline for each token index k of an episode,
    Gᵢₖ − Σⱼ Gⱼₖ Wⱼₖ / Σⱼ Wⱼₖ, where W is the squared norm of the logits' gradient up to the
    token. (OTB, 2602.07078, as in verl)

    W is the sum of 1 − 2π + Σ π² over the tokens so far. An episode is part of its own baseline;
    after the end of the second longest there is none.
    """

    reads_sampler: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the credit of each token."""
        shape = trajectory.mask.shape
        square = 1 - 2 * jnp.exp(trajectory.log_prob) + trajectory.collision
        square = jnp.where(trajectory.mask, square, 0.0)
        by_token = [
            x.reshape(*shape[:2], -1) for x in (trajectory.mask, token_to_go(trajectory), square)
        ]
        order = jnp.argsort(~by_token[0], stable=True)  # an episode's tokens, then its padding
        mask, to_go, square = (jnp.take_along_axis(x, order, axis=-1) for x in by_token)
        weight = jnp.where(mask, jnp.cumsum(square, axis=-1), 0.0)
        total = jnp.maximum(weight.sum(1, keepdims=True), 1e-8)
        baseline = (to_go * weight).sum(1, keepdims=True) / total
        shared = mask.sum(1, keepdims=True) > 1
        credit = jnp.where(mask, to_go - jnp.where(shared, baseline, 0.0), 0.0)
        return jnp.take_along_axis(credit, jnp.argsort(order), axis=-1).reshape(shape)
