"""GAE with the turn as its step: a turn is an action, be it rewarded or not."""

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
    """Âₖ = δₖ + γλ Âₖ₊₁ with δₖ = gainₖ + γ Vₖ₊₁ − Vₖ over the turns that were played; 0 elsewhere, and V behind the last is 0."""

    def step(later, now):
        advantage, next_value = later
        gain, value, alive = now
        advantage = jnp.where(
            alive, gain + discount * next_value - value + discount * lambda_ * advantage, 0.0
        )
        return (advantage, jnp.where(alive, value, 0.0)), advantage

    by_turn = tuple(jnp.moveaxis(x, -1, 0) for x in (gain, value, alive))
    nothing = jnp.zeros_like(by_turn[0][0])
    return jnp.moveaxis(jax.lax.scan(step, (nothing, nothing), by_turn, reverse=True)[1], 0, -1)


@config
class TurnGAE(Credit):
    """GAE over turns: V is that of the turn's first token, and all tokens of a turn share its advantage.

    With values from forks and lambda_ 0 it is VinePPO's step advantage. (2410.01679, eq. 6)
    """

    lambda_: Weight = 0.95
    discount: Weight = 1.0  # per turn
    whiten: bool = True  # normalise over the batch's tokens

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The advantage of each turn, at its tokens."""
        mask, gain = trajectory.mask, token_rewards(trajectory).sum(-1)
        advantage = turn_gae(gain, value.before[..., 0], mask.any(-1), self.discount, self.lambda_)
        advantage = jnp.where(mask, advantage[..., None], 0.0)
        return whiten(advantage, mask) if self.whiten else advantage


@config
class BiLevelGAE(Credit):
    """GAE over turns, whose λ-returns are then the targets of GAE over each turn's tokens. (RAGEN, 2504.20073, section 3.3)

    Below lambda 1 it is biased even with exact values: which one stands at a turn's end depends on the token that ended it.
    A turn ends with its last token, whatever its reward; RAGEN's own code (20daedc) finds turns by a reward that is not 0.
    """

    lambda_: Weight = 0.95  # of both levels
    turn_discount: Weight = 0.95  # between turns; within a turn it is that of the values
    whiten: bool = True  # normalise over the batch's tokens

    reads_value: ClassVar[bool] = True

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The advantage of each token."""
        mask, last, gain = trajectory.mask, is_last(trajectory.mask), token_rewards(trajectory)
        at_end, gain_at_end = (jnp.where(last, x, 0.0).sum(-1) for x in (value.before, gain))
        until_next = gain_at_end + self.turn_discount * _next(
            gain.sum(-1) - gain_at_end, mask.any(-1)
        )
        of_turn = turn_gae(until_next, at_end, mask.any(-1), self.turn_discount, self.lambda_)
        after = jnp.where(
            last, (of_turn + at_end)[..., None], gain + value.discount * _next(value.before, mask)
        )
        one_turn = [
            x.reshape((-1, 1, 1, x.shape[-1]))
            for x in (value.before, jnp.where(mask, after, 0.0), mask)
        ]
        advantage = gae(Value(*one_turn[:2], value.discount), one_turn[2], self.lambda_).reshape(
            mask.shape
        )
        return whiten(advantage, mask) if self.whiten else advantage


def _next(x: Float[Array, "*b"], mask: Bool[Array, "*b"]) -> Float[Array, "*b"]:
    """What stands at the next place, at those that were written (they are without gaps)."""
    return jnp.concatenate([x[..., 1:], jnp.zeros_like(x[..., :1])], axis=-1) * mask
