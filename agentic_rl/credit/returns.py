"""Credits from one episode's rewards alone, and what an episode earned, token by token."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Weight
from agentic_rl.credit import Credit
from agentic_rl.types import Trajectory, Value


def is_last(mask: Bool[Array, "*b A"]) -> Bool[Array, "*b A"]:
    """Returns True at the last token of each turn that was played."""
    return mask & (jnp.cumsum(mask, axis=-1) == mask.sum(-1, keepdims=True))


def token_rewards(trajectory: Trajectory) -> Float[Array, "N G T A"]:
    """Returns what each token earned.

    It is the turn's reward, for the last token of the turn, minus the token's own penalty.
    """
    reward = jnp.where(is_last(trajectory.mask), trajectory.reward[..., None], 0.0)
    return reward - jnp.where(trajectory.mask, trajectory.penalty, 0.0)


def episode_return(trajectory: Trajectory) -> Float[Array, "N G"]:
    """Returns what each episode earned."""
    return token_rewards(trajectory).sum((-2, -1))


def reward_to_go(
    reward: Float[Array, "*batch T"], discount: Float[Array, ""] | float
) -> Float[Array, "*batch T"]:
    """Returns Gₜ = Σₖ γᵏ rₜ₊ₖ, the discounted sum of this and later turns' rewards."""

    def step(later, now):
        total = now + discount * later
        return total, total

    by_turn = jnp.moveaxis(reward, -1, 0)
    total = jax.lax.scan(step, jnp.zeros_like(by_turn[0]), by_turn, reverse=True)[1]
    return jnp.moveaxis(total, 0, -1)


def token_to_go(
    trajectory: Trajectory, discount: Float[Array, ""] | float = 1.0
) -> Float[Array, "N G T A"]:
    """Returns each token's reward to go.

    It is what this and later tokens of the turn earned, plus the discounted reward to go of the
    next turn. The discount is per turn.
    """
    gain = token_rewards(trajectory)
    by_turn = reward_to_go(gain.sum(-1), discount)
    later = jnp.concatenate([by_turn[..., 1:], jnp.zeros_like(by_turn[..., :1])], axis=-1)
    within = jnp.cumsum(gain[..., ::-1], axis=-1)[..., ::-1]
    return jnp.where(trajectory.mask, within + discount * later[..., None], 0.0)


def whiten(x: Float[Array, "N G T A"], mask: Bool[Array, "N G T A"]) -> Float[Array, "N G T A"]:
    """Returns `x` with mean 0 and standard deviation 1 over the batch's unmasked tokens."""
    count = jnp.maximum(mask.sum(), 1)
    mean = jnp.where(mask, x, 0.0).sum() / count
    variance = jnp.where(mask, (x - mean) ** 2, 0.0).sum() / count
    return jnp.where(mask, (x - mean) / jnp.sqrt(variance + 1e-8), 0.0)


@config
class EpisodeReturn(Credit):
    """The return R of the whole episode, for every action. (REINFORCE: Williams 1992)

    An action is also credited with what came before it.
    """

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """Returns the episode's return at each turn."""
        return jnp.broadcast_to(episode_return(trajectory)[..., None], trajectory.reward.shape)


@config
class RewardToGo(Credit):
    """The reward to go Gₜ = Σₖ γᵏ rₜ₊ₖ: what came after an action. (Sutton & Barto, section 13.3)

    Whitened, and with the KL in the reward, it is REINFORCE++. (2501.03262, section 3)
    """

    discount: Weight = 1.0  # per turn
    whiten: bool = False  # normalise over the batch's tokens

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """Returns the reward to go of each token."""
        to_go = token_to_go(trajectory, self.discount)
        return whiten(to_go, trajectory.mask) if self.whiten else to_go
