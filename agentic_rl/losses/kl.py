"""How far the policy has moved from the one it started as: estimates of KL(π ‖ π_ref) from single tokens, and the loss term."""

from typing import ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Bound, NonNegative

Estimator = Literal["k1", "k2", "k3"]
LARGEST = 80.0  # exponent: beyond it float32 soon overflows, and gradients become NaN
NO_CLAMP = 1e30


def estimate(
    how: Estimator, log_prob: Float[Array, "*b"], reference: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """k1 = −d, k2 = d²/2, k3 = exp(d) − d − 1 with d = log π_ref − log π. (Schulman 2020)

    On samples of π the values of k1 and k3 are unbiased. As losses on fixed samples, in expectation, the gradient of k2 is that of
    KL(π ‖ π_ref), that of k3 is that of KL(π_ref ‖ π), and that of k1 is 0: k1 belongs into the reward.
    """
    d = reference - log_prob
    return {
        "k1": lambda: -d,
        "k2": lambda: d**2 / 2,
        "k3": lambda: jnp.expm1(jnp.minimum(d, LARGEST)) - d,
    }[how]()


@config
class NoKL:
    """No term, and no copy of the first weights is kept."""

    reads_reference: ClassVar[bool] = False


@config
class ReferenceKL:
    """A term of the loss that holds the policy near the one at the start of the run, on the tokens trained on."""

    coefficient: NonNegative = 0.01
    estimator: Estimator = "k3"
    clamp: Bound = NO_CLAMP  # a token's estimate counts up to ±clamp, beyond which its gradient is 0 (verl, OpenRLHF, VinePPO: 10)

    reads_reference: ClassVar[bool] = True

    def __call__(
        self, log_prob: Float[Array, "*b"], reference: Float[Array, "*b"]
    ) -> Float[Array, "*b"]:
        """What is added to each token's loss."""
        return self.coefficient * jnp.clip(
            estimate(self.estimator, log_prob, reference), -self.clamp, self.clamp
        )
