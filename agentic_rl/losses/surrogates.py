"""What is maximised, per token [B, T, A]: credit · log π, or credit times the ratio of the policy to the one that acted.

A surrogate is a config with `__call__(log_prob, old_log_prob, credit, mask) -> objective`. Sequences are whole: a ratio may be of
a token, a turn or an episode.
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
    """π / π_old of each token."""
    return jnp.exp(log_prob - old_log_prob)


class _Ratio:
    uses_ratio: ClassVar[bool] = True  # with the policy that acted

    def ratio(self, log_prob: Tokens, old_log_prob: Tokens, mask: Mask) -> Tokens:
        """The ratio that each token's credit is multiplied with."""
        return ratio(log_prob, old_log_prob)


@config
class LogLikelihood:
    """credit · log π: supervised learning if credit is a weight, REINFORCE if it is an advantage; blind to who acted."""

    uses_ratio: ClassVar[bool] = False

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """The objective of each token."""
        return credit * log_prob

    def diagnostics(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> dict[str, Array]:
        """None."""
        return {}


@config
class PolicyRatio(_Ratio):
    """ρ · credit: importance sampling, unbiased and unbounded."""

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """The objective of each token."""
        return self.ratio(log_prob, old_log_prob, mask) * credit

    def diagnostics(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> dict[str, Array]:
        """None."""
        return {}


@config
class ClippedRatio(_Ratio):
    """min(ρ·credit, clip(ρ, 1−low, 1+high)·credit), ρ = π/π_old. (PPO: 1707.06347, eq. 7; two bounds: DAPO, 2503.14476)"""

    clip_low: Distance = 0.2  # the ratio counts from 1 - clip_low
    clip_high: Distance = 0.2  # to 1 + clip_high
    max_log_ratio: Annotated[float, Range(above=0, high=LARGEST)] = (
        LARGEST  # log ρ counts up to here, beyond which its gradient is 0 (Tunix: 20; verl's GSPO: 10)
    )

    def ratio(self, log_prob: Tokens, old_log_prob: Tokens, mask: Mask) -> Tokens:
        """The ratio that each token's credit is multiplied with, e^max_log_ratio at most."""
        return jnp.exp(
            jnp.minimum(self.log_ratio(log_prob, old_log_prob, mask), self.max_log_ratio)
        )

    def log_ratio(self, log_prob: Tokens, old_log_prob: Tokens, mask: Mask) -> Tokens:
        """The logarithm of the ratio of each token."""
        return log_prob - old_log_prob

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """The objective of each token."""
        rho = self.ratio(log_prob, old_log_prob, mask)
        return jnp.minimum(
            rho * credit, jnp.clip(rho, 1 - self.clip_low, 1 + self.clip_high) * credit
        )

    def diagnostics(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> dict[str, Array]:
        """Where the clip is active: 1 for tokens whose gradient it cut off, on either side."""
        rho = self.ratio(log_prob, old_log_prob, mask)
        low, high = (
            (rho < 1 - self.clip_low) & (credit < 0),
            (rho > 1 + self.clip_high) & (credit > 0),
        )
        return {
            "clip_fraction_low": low.astype(rho.dtype),
            "clip_fraction_high": high.astype(rho.dtype),
        }


@config
class DualClip(ClippedRatio):
    """The clipped ratio, bounded from below by `bound` · credit where credit is negative. (1912.09729, eq. 5)"""

    bound: Annotated[float, Range(above=1, infinite=True)] = 3.0  # above 1

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """The objective of each token."""
        clipped = super().__call__(log_prob, old_log_prob, credit, mask)
        return jnp.where(credit < 0, jnp.maximum(clipped, self.bound * credit), clipped)


@config
class SequenceRatio(ClippedRatio):
    """The clipped ratio of whole turns or episodes, which all of their tokens share. (GSPO, 2507.18071, eq. 5 and 7)

    `mean` takes the geometric mean of the tokens' ratios, as GSPO does; without, it is their product, the true ratio (TRL's RLOO).
    """

    clip_low: Distance = 3e-4
    clip_high: Distance = 4e-4
    level: Literal["turn", "sequence"] = "sequence"
    mean: bool = True  # over the tokens: the ratio does not depend on length

    def log_ratio(self, log_prob: Tokens, old_log_prob: Tokens, mask: Mask) -> Tokens:
        """The logarithm of the ratio of each token's turn or episode."""
        axes = (1, 2) if self.level == "sequence" else 2
        total = jnp.where(mask, log_prob - old_log_prob, 0.0).sum(axes, keepdims=True)
        shared = total / jnp.maximum(mask.sum(axes, keepdims=True), 1) if self.mean else total
        return self._at_token(jnp.broadcast_to(shared, log_prob.shape), log_prob)

    def _at_token(self, shared: Tokens, log_prob: Tokens) -> Tokens:
        """The log-ratio of each token."""
        return shared


@config
class GspoToken(SequenceRatio):
    """The shared ratio with each token's own gradient: the same as `SequenceRatio` where a sequence shares its credit. (eq. 14)"""

    def _at_token(self, shared: Tokens, log_prob: Tokens) -> Tokens:
        """The shared value with the token's own slope."""
        return jax.lax.stop_gradient(shared - log_prob) + log_prob


@config
class Cispo(_Ratio):
    """sg(clip(ρ)) · credit · log π: the ratio is clipped as a weight, and no token loses its gradient. (MiniMax-M1, 2506.13585, eq. 4)"""

    clip_low: Distance = 1.0  # the weight is at least 1 - clip_low; 1: no lower bound
    clip_high: Distance = 0.2  # and at most 1 + clip_high

    def __call__(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> Tokens:
        """The objective of each token."""
        rho = self.ratio(log_prob, old_log_prob, mask)
        return (
            jax.lax.stop_gradient(jnp.clip(rho, 1 - self.clip_low, 1 + self.clip_high))
            * credit
            * log_prob
        )

    def diagnostics(
        self, log_prob: Tokens, old_log_prob: Tokens, credit: Tokens, mask: Mask
    ) -> dict[str, Array]:
        """Where the weight is clipped, on either side."""
        rho = self.ratio(log_prob, old_log_prob, mask)
        sides = {"low": rho < 1 - self.clip_low, "high": rho > 1 + self.clip_high}
        return {
            f"clip_fraction_{side}": clipped.astype(rho.dtype) for side, clipped in sides.items()
        }
