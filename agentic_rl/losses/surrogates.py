"""What is maximised, per token [B, T, A]: credit times the log-likelihood, or times a ratio ρ.

ρ is the probability under the policy over that under the policy that acted. A surrogate is a config
with `__call__(log_prob, old_log_prob, credit, mask) -> objective`. It sees whole sequences, because
a ratio may be a token's, a turn's or an episode's.
"""

from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Distance, Range
from agentic_rl.losses.kl import LARGEST

Tokens = Float[Array, "B T A"]
Mask = Bool[Array, "B T A"]


def ratio(log_prob: Tokens, old_log_prob: Tokens) -> Tokens:
    """Returns π / π_old of each token."""
    return jnp.exp(log_prob - old_log_prob)


class _Ratio:
    uses_ratio: ClassVar[bool] = True  # of the policy to the one that acted

    def ratio(self, log_prob: Tokens, old_log_prob: Tokens, mask: Mask) -> Tokens:
        """Returns the ratio that each token's credit is multiplied by."""
        return ratio(log_prob, old_log_prob)


@config
class LogLikelihood:
    """credit · log π: supervised learning if credit is a weight, REINFORCE if it is an advantage.

    It ignores which policy acted.
    """

    uses_ratio: ClassVar[bool] = False

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """Returns the objective of each token."""
        return credit * log_prob

    def diagnostics(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> dict[str, Array]:
        """Returns nothing, because nothing is clipped."""
        return {}


@config
class PolicyRatio(_Ratio):
    """ρ · credit with ρ = π / π_old: importance sampling, which is unbiased and unbounded.
    (PPO without its clip, 1707.06347)
    """

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """Returns the objective of each token."""
        return self.ratio(log_prob, old_log_prob, mask) * credit

    def diagnostics(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> dict[str, Array]:
        """Returns nothing, because nothing is clipped."""
        return {}


@config
class ClippedRatio(_Ratio):
    """PPO's clipped objective, min(ρ · credit, clip(ρ, 1 − clip_low, 1 + clip_high) · credit) with
    ρ = π / π_old. (PPO: 1707.06347, eq. 7; two bounds: DAPO, 2503.14476)
    """

    clip_low: Distance = 0.2  # the ratio is clipped below at 1 - clip_low
    clip_high: Distance = 0.2  # the ratio is clipped above at 1 + clip_high
    # bound on log ρ, beyond which its gradient is 0 (Tunix: 20; verl's GSPO: 10)
    max_log_ratio: Annotated[float, Range(above=0, high=LARGEST)] = LARGEST

    def ratio(self, log_prob: Tokens, old_log_prob: Tokens, mask: Mask) -> Tokens:
        """Returns the ratio of each token, e^max_log_ratio at most."""
        log_ratio = self.log_ratio(log_prob, old_log_prob, mask)
        return jnp.exp(jnp.minimum(log_ratio, self.max_log_ratio))

    def log_ratio(self, log_prob: Tokens, old_log_prob: Tokens, mask: Mask) -> Tokens:
        """Returns the logarithm of the ratio of each token."""
        return log_prob - old_log_prob

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """Returns the objective of each token."""
        rho = self.ratio(log_prob, old_log_prob, mask)
        plain = rho * credit
        clipped = jnp.clip(rho, 1 - self.clip_low, 1 + self.clip_high) * credit
        return jnp.minimum(plain, clipped)

    def diagnostics(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> dict[str, Array]:
        """Returns 1 for tokens whose gradient the clip cut off, on either side."""
        rho = self.ratio(log_prob, old_log_prob, mask)
        low = (rho < 1 - self.clip_low) & (credit < 0)
        high = (rho > 1 + self.clip_high) & (credit > 0)
        return {
            "clip_fraction_low": low.astype(rho.dtype),
            "clip_fraction_high": high.astype(rho.dtype),
        }


@config
class DualClip(ClippedRatio):
    """The clipped ratio's objective, but at least bound · credit where credit is negative.
    (Dual-clip PPO, 1912.09729, eq. 5)
    """

    bound: Annotated[float, Range(above=1, infinite=True)] = 3.0  # above 1

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """Returns the objective of each token."""
        clipped = super().__call__(log_prob, old_log_prob, credit, mask)
        return jnp.where(credit < 0, jnp.maximum(clipped, self.bound * credit), clipped)


@config
class SequenceRatio(ClippedRatio):
    """The clipped ratio's objective with one ρ for all tokens of an episode or turn, the geometric
    mean of their ratios. (GSPO, 2507.18071, eq. 5 and 7)

    Without `mean`, ρ is the product of the tokens' ratios, which is the true ratio (TRL's RLOO).
    """

    clip_low: Distance = 3e-4  # the ratio is clipped below at 1 - clip_low
    clip_high: Distance = 4e-4  # the ratio is clipped above at 1 + clip_high
    level: Literal["turn", "sequence"] = "sequence"  # tokens that share a ratio
    mean: bool = True  # over the tokens: the ratio does not depend on length

    def log_ratio(self, log_prob: Tokens, old_log_prob: Tokens, mask: Mask) -> Tokens:
        """Returns the logarithm of the ratio of each token's turn or episode."""
        axes = (1, 2) if self.level == "sequence" else 2
        total = jnp.where(mask, log_prob - old_log_prob, 0.0).sum(axes, keepdims=True)
        shared = total / jnp.maximum(mask.sum(axes, keepdims=True), 1) if self.mean else total
        return self._at_token(jnp.broadcast_to(shared, log_prob.shape), log_prob)

    def _at_token(self, shared: Tokens, log_prob: Tokens) -> Tokens:
        return shared


@config
class GspoToken(SequenceRatio):
    """The same with ρ's value shared and its gradient each token's own, log ρ = sg(log ρ_shared −
    log π) + log π. (GSPO-token, 2507.18071, eq. 14)

    Where a sequence shares its credit, it equals `SequenceRatio`.
    """

    def _at_token(self, shared: Tokens, log_prob: Tokens) -> Tokens:
        return jax.lax.stop_gradient(shared - log_prob) + log_prob


@config
class Cispo(_Ratio):
    """sg(clip(ρ, 1 − clip_low, 1 + clip_high)) · credit · log π with ρ = π / π_old: the ratio is
    clipped as a weight, so that no token loses its gradient. (MiniMax-M1, 2506.13585, eq. 4)
    """

    clip_low: Distance = 1.0  # the weight is at least 1 - clip_low; 1: no lower bound
    clip_high: Distance = 0.2  # and at most 1 + clip_high

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """Returns the objective of each token."""
        rho = self.ratio(log_prob, old_log_prob, mask)
        weight = jax.lax.stop_gradient(jnp.clip(rho, 1 - self.clip_low, 1 + self.clip_high))
        return weight * credit * log_prob

    def diagnostics(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> dict[str, Array]:
        """Returns 1 for tokens whose weight is clipped, on either side."""
        rho = self.ratio(log_prob, old_log_prob, mask)
        low, high = rho < 1 - self.clip_low, rho > 1 + self.clip_high
        return {
            "clip_fraction_low": low.astype(rho.dtype),
            "clip_fraction_high": high.astype(rho.dtype),
        }
