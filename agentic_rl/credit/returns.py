"""Credits from one episode's rewards alone, and what an episode earned, token by token."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Weight
from agentic_rl.credit import Credit
from agentic_rl.types import Trajectory, Value


def is_last(mask: Bool[Array, "*b A"]) -> Bool[Array, "*b A"]:
    """True at the last token of each turn that was played."""
    return mask & (jnp.cumsum(mask, axis=-1) == mask.sum(-1, keepdims=True))


def token_rewards(trajectory: Trajectory) -> Float[Array, "N G T A"]:
    """What each token earned: its turn's reward if it is the turn's last, minus its own penalty."""
    return jnp.where(is_last(trajectory.mask), trajectory.reward[..., None], 0.0) - jnp.where(
        trajectory.mask, trajectory.penalty, 0.0
    )


def episode_return(trajectory: Trajectory) -> Float[Array, "N G"]:
    """What each episode earned."""
    return token_rewards(trajectory).sum((-2, -1))


def reward_to_go(
    reward: Float[Array, "*batch T"], discount: Float[Array, ""] | float
) -> Float[Array, "*batch T"]:
    """Gₜ = Σₖ γᵏ rₜ₊ₖ, the discounted sum of this and later turns' rewards."""

    def step(later, now):
        total = now + discount * later
        return total, total

    by_turn = jnp.moveaxis(reward, -1, 0)
    return jnp.moveaxis(
        jax.lax.scan(step, jnp.zeros_like(by_turn[0]), by_turn, reverse=True)[1], 0, -1
    )


def token_to_go(
    trajectory: Trajectory, discount: Float[Array, ""] | float = 1.0
) -> Float[Array, "N G T A"]:
    """What each token and the later ones of its turn earned, and the discounted reward to go of the turns behind."""
    gain = token_rewards(trajectory)
    by_turn = reward_to_go(gain.sum(-1), discount)
    behind = jnp.concatenate([by_turn[..., 1:], jnp.zeros_like(by_turn[..., :1])], axis=-1)
    within = jnp.cumsum(gain[..., ::-1], axis=-1)[..., ::-1]
    return jnp.where(trajectory.mask, within + discount * behind[..., None], 0.0)


def whiten(x: Float[Array, "N G T A"], mask: Bool[Array, "N G T A"]) -> Float[Array, "N G T A"]:
    """`x` with mean 0 and standard deviation 1 over the batch's unmasked tokens."""
    count = jnp.maximum(mask.sum(), 1)
    mean = jnp.where(mask, x, 0.0).sum() / count
    variance = jnp.where(mask, (x - mean) ** 2, 0.0).sum() / count
    return jnp.where(mask, (x - mean) / jnp.sqrt(variance + 1e-8), 0.0)


@config
class EpisodeReturn(Credit):
    """R: every action is credited with all that the episode earned, before it and after. (REINFORCE: Williams 1992)"""

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T"]:
        """The return, at each turn."""
        return jnp.broadcast_to(episode_return(trajectory)[..., None], trajectory.reward.shape)


@config
class RewardToGo(Credit):
    """Gₜ: an action is credited with what came after it, never with what came before. (Sutton & Barto, 13.3)

    Whitened, and with the KL in the reward, it is REINFORCE++. (2501.03262, section 3)
    """

    discount: Weight = 1.0  # per turn
    whiten: bool = False  # normalise over the batch's tokens

    def __call__(self, trajectory: Trajectory, value: Value) -> Float[Array, "N G T A"]:
        """The reward to go of each token."""
        to_go = token_to_go(trajectory, self.discount)
        return whiten(to_go, trajectory.mask) if self.whiten else to_go
