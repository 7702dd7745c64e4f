"""How far the policy has moved from its start: estimates of KL(π ‖ π_ref), and the loss term."""

from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Bound, NonNegative

Estimator = Literal["k1", "k2", "k3"]
LARGEST = 80.0  # exponent: beyond it float32 soon overflows, and gradients become NaN
NO_CLAMP = 1e30


def estimate(
    estimator: Estimator, log_prob: Float[Array, "*b"], reference: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """Returns an estimate of KL(π ‖ π_ref) from each token. (Schulman 2020)

    k1 = −d, k2 = d²/2, k3 = exp(d) − d − 1 with d = log π_ref − log π

    On samples of π the values of k1 and k3 are unbiased. As a loss on fixed samples, the expected
    gradient of k2 is that of KL(π ‖ π_ref), and that of k3 is that of KL(π_ref ‖ π). That of k1 is
    0, so k1 belongs in the reward.
    """
    d = reference - log_prob
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return d**2 / 2
    return jnp.expm1(jnp.minimum(d, LARGEST)) - d


@config
class NoKL:
    """No KL term; no copy of the first weights is kept."""

    reads_reference: ClassVar[bool] = False


@config
class ReferenceKL:
    """A loss term, coefficient · estimate of KL(π ‖ π_ref), on the tokens trained on. It holds the
    policy near the one at the start of the run. (GRPO: DeepSeekMath, 2402.03300, eq. 3, with k3)
    """

    coefficient: NonNegative = 0.01  # weight of the penalty in the loss
    estimator: Estimator = "k3"  # of the KL divergence, from one sampled token
    # bound on a token's estimate, ±; beyond it the gradient is 0 (verl, OpenRLHF, VinePPO: 10)
    clamp: Bound = NO_CLAMP

    reads_reference: ClassVar[bool] = True

    def __call__(
        self, log_prob: Float[Array, "*b"], reference: Float[Array, "*b"]
    ) -> Float[Array, "*b"]:
        """Returns what is added to each token's loss."""
        divergence = estimate(self.estimator, log_prob, reference)
        return self.coefficient * jnp.clip(divergence, -self.clamp, self.clamp)
