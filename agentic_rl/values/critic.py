"""The network's own value head."""

from typing import ClassVar

from jaxtyping import Array, Bool, Float

from agentic_rl.config import config
from agentic_rl.config.ranges import Distance, NonNegative, Weight
from agentic_rl.credit.gae import gae
from agentic_rl.credit.returns import token_rewards
from agentic_rl.policy import layout, transformer
from agentic_rl.types import Trajectory, Value
from agentic_rl.values import Costs, ValueContext, ValueSource, from_state_values


@config
class Critic(ValueSource):
    """The network's value head, regressed on its own lambda-return (never on value + credit: credits must not change the critic)."""

    discount: Weight = 1.0  # per token
    lambda_: Weight = 1.0  # of the target; 1: reward to go, unbiased. (decoupled from the actor's: VC-PPO, 2503.01491)
    coefficient: NonNegative = 0.5  # of the value loss
    clip: Distance = 0.2  # how far a value may move from the old one before its loss is flat

    has_values: ClassVar[bool] = True
    learned: ClassVar[bool] = True

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """The critic's values in one pass over the episodes."""
        token, valid = (x.reshape((-1, x.shape[-1])) for x in layout.tokens(trajectory))
        before = transformer.apply(
            context.policy_config, context.params, context.task.spec, token, valid
        )[1].reshape(trajectory.mask.shape)
        return from_state_values(
            before, token_rewards(trajectory), trajectory.mask, self.discount
        ), {}

    def target(self, value: Value, mask: Bool[Array, "N G T A"]) -> Float[Array, "N G T A"]:
        """The lambda-return of each token."""
        return value.before + gae(value, mask, self.lambda_)
