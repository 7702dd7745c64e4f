"""Where values come from: what a credit assignment may know of the expected return before and after each token."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from agentic_rl import layout, policy
from agentic_rl.config import config
from agentic_rl.credit.gae import gae
from agentic_rl.policy import Policy
from agentic_rl.types import Spec, Trajectory, Value


@config
class NoValue:
    """None: credit comes from rewards alone."""

    def __call__(self, policy_: Policy, params: policy.Params, spec: Spec, trajectory: Trajectory) -> Value:
        """Zeros."""
        zeros = jnp.zeros(trajectory.mask.shape)
        return Value(zeros, zeros, jnp.float32(1))


@config
class Critic:
    """The network's value head, regressed on its own lambda-return (never on value + credit: credits must not change the critic)."""

    discount: float = 1.0  # per token
    lambda_: float = 1.0  # of the target; 1: reward to go, unbiased. (decoupled from the actor's: VC-PPO, 2503.01491)
    coefficient: float = 0.5  # of the value loss
    clip: float = 0.2  # how far a value may move from the old one before its loss is flat

    def __call__(self, policy_: Policy, params: policy.Params, spec: Spec, trajectory: Trajectory) -> Value:
        """The critic's values in one pass over the episodes."""
        token, valid = (x.reshape((-1, x.shape[-1])) for x in layout.tokens(trajectory))
        before = policy.apply(policy_, params, spec, token, valid)[1].reshape(trajectory.mask.shape)
        return from_state_values(before, trajectory.reward, trajectory.mask, self.discount)

    def target(self, value: Value, mask: Bool[Array, "N G T A"]) -> Float[Array, "N G T A"]:
        """The lambda-return of each token."""
        return value.before + gae(value, mask, self.lambda_)


def from_state_values(
    before: Float[Array, "N G T A"], reward: Float[Array, "N G T"], mask: Bool[Array, "N G T A"], discount: Float[Array, ""] | float
) -> Value:
    """Values after each token from those before: rₜ (if the token is its turn's last) + γ · value before the next token.

    After the last token of an episode there is only the reward. Masked tokens are skipped; their values read 0.
    """
    last = mask & (jnp.cumsum(mask, axis=-1) == mask.sum(-1, keepdims=True))
    gain = jnp.where(last, reward[..., None], 0.0)
    by_token = tuple(x.reshape(x.shape[:2] + (-1,)).transpose(2, 0, 1) for x in (before, gain, mask))

    def step(next_value, now):
        value, gain, valid = now
        return jnp.where(valid, value, next_value), jnp.where(valid, gain + discount * next_value, 0.0)

    after = jax.lax.scan(step, jnp.zeros_like(by_token[0][0]), by_token, reverse=True)[1]
    after = after.transpose(1, 2, 0).reshape(mask.shape)
    return Value(jnp.where(mask, before, 0.0), after, jnp.asarray(discount, before.dtype))
