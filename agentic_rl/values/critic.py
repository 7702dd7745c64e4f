"""Values from the network's own value head."""

from typing import ClassVar

from jaxtyping import Array, Bool, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Distance, NonNegative, Weight
from agentic_rl.credit.gae import gae
from agentic_rl.credit.returns import token_rewards
from agentic_rl.policy.episode_pass import read_episodes
from agentic_rl.types import Trajectory, Value
from agentic_rl.values import Costs, ValueContext, ValueSource, from_state_values


@config
class Critic(ValueSource):
    """The network's value head, which is trained to predict its own λ-return, value + GAE(λ).

    The target is never value + credit, because the choice of a credit must not change the critic.
    A λ that differs from the credit's is decoupled GAE (VC-PPO, 2503.01491).
    """

    discount: Weight = 1.0  # per token
    lambda_: Weight = 1.0  # of the target; 1: reward to go, unbiased
    coefficient: NonNegative = 0.5  # of the value loss
    clip: Distance = 0.2  # how far a value may move from the old one before its loss is flat

    has_values: ClassVar[bool] = True
    learned: ClassVar[bool] = True

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """Returns the critic's values, from one pass over the episodes."""
        network, spec = (context.policy_config, context.params), context.task.spec
        _, before = read_episodes(*network, spec, trajectory)
        gain = token_rewards(trajectory)
        return from_state_values(before, gain, trajectory.mask, self.discount), {}

    def target(self, value: Value, mask: Bool[Array, "N G T A"]) -> Float[Array, "N G T A"]:
        """Returns the λ-return of each token."""
        return value.before + gae(value, mask, self.lambda_)
