"""GAE with the turn as its step. A turn is one action, whether it is rewarded or not."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Weight
from agentic_rl.credit import Credit
from agentic_rl.credit.gae import gae
from agentic_rl.credit.returns import is_last, token_rewards, whiten
from agentic_rl.types import Trajectory, Value


def turn_gae(
    gain: Float[Array, "N G T"],
    value: Float[Array, "N G T"],
    alive: Bool[Array, "N G T"],
    discount,
    lambda_,
) -> Float[Array, "N G T"]:
    """Returns Âₖ = δₖ + γλ Âₖ₊₁ with δₖ = gainₖ + γ Vₖ₊₁ − Vₖ, over the turns that were played.

    It is 0 at other turns, and V after the last turn is 0.
    """

    def step(later, now):
        advantage, next_value = later
        gain, value, alive = now
        delta = gain + discount * next_value - value
        advantage = jnp.where(alive, delta + discount * lambda_ * advantage, 0.0)
        return (advantage, jnp.where(alive, value, 0.0)), advantage

    by_turn = tuple(jnp.moveaxis(x, -1, 0) for x in (gain, value, alive))
    zeros = jnp.zeros_like(by_turn[0][0])
    advantage = jax.lax.scan(step, (zeros, zeros), by_turn, reverse=True)[1]
    return jnp.moveaxis(advantage, 0, -1)


@config
class TurnGAE(Credit):
    """GAE over turns, shared by a turn's tokens: Âₖ = Σⱼ (γλ)ʲ δₖ₊ⱼ, δₖ = rₖ + γ Vₖ₊₁ − Vₖ, where
    Vₖ is the value before the turn's first token. (1506.02438, eq. 16, with the turn as step)

    With values from forks and lambda_ 0 it is VinePPO's step advantage. (2410.01679, eq. 6)
    """

    lambda_: Weight = 0.95  # λ over turns
    discount: Weight = 1.0  # per turn
    whiten: bool = True  # normalise over the batch's tokens

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the advantage of each turn, at its tokens."""
        mask, gain = trajectory.mask, token_rewards(trajectory).sum(-1)
        advantage = turn_gae(gain, value.before[..., 0], mask.any(-1), self.discount, self.lambda_)
        advantage = jnp.where(mask, advantage[..., None], 0.0)
        return whiten(advantage, mask) if self.whiten else advantage


@config
class BiLevelGAE(Credit):
    """GAE over turns, whose λ-returns Âₖ + Vₖ are the targets of GAE over each turn's tokens.
    (RAGEN, 2504.20073, section 3.3)

    Below lambda_ 1 it is biased even with exact values, because the value at a turn's end depends
    on the token that ended it. A turn ends with its last token, whatever its reward; RAGEN's code
    (20daedc) finds the ends of turns by a reward that is not 0.
    """

    lambda_: Weight = 0.95  # of both levels
    turn_discount: Weight = 0.95  # between turns; within a turn it is that of the values
    whiten: bool = True  # normalise over the batch's tokens

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the advantage of each token."""
        mask, last, gain = trajectory.mask, is_last(trajectory.mask), token_rewards(trajectory)
        turn_target = self._turn_target(value, mask, last, gain)
        after = gain + value.discount * _next(value.before, mask)
        after = jnp.where(mask, jnp.where(last, turn_target[..., None], after), 0.0)
        # Every turn becomes an episode of one turn.
        before, after, flat_mask = (
            x.reshape((-1, 1, 1, x.shape[-1])) for x in (value.before, after, mask)
        )
        advantage = gae(Value(before, after, value.discount), flat_mask, self.lambda_)
        advantage = advantage.reshape(mask.shape)
        return whiten(advantage, mask) if self.whiten else advantage

    def _turn_target(self, value: Value, mask, last, gain) -> Float[Array, "N G T"]:
        """Returns the λ-return of each turn's end, from GAE over the ends of turns."""
        alive = mask.any(-1)
        value_at_end = jnp.where(last, value.before, 0.0).sum(-1)
        gain_at_end = jnp.where(last, gain, 0.0).sum(-1)
        next_gain = _next(gain.sum(-1) - gain_at_end, alive)
        until_next = gain_at_end + self.turn_discount * next_gain
        advantage = turn_gae(until_next, value_at_end, alive, self.turn_discount, self.lambda_)
        return advantage + value_at_end


def _next(x: Float[Array, "*b"], mask: Bool[Array, "*b"]) -> Float[Array, "*b"]:
    """Returns the entry at the next place, where `mask` is True (it has no gaps), else 0."""
    return jnp.concatenate([x[..., 1:], jnp.zeros_like(x[..., :1])], axis=-1) * mask
