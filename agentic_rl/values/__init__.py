"""Where values come from: what a credit may know of the expected return around each token.

A value source is a config with `__call__(context, trajectory) -> (Value, costs)`, where `costs` are
the turns played and the tokens written besides the batch. It inherits from `ValueSource` and
overrides the attributes that say what it is.
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from agentic_rl.config import config
from agentic_rl.policy import transformer
from agentic_rl.policy.sampler import fold
from agentic_rl.types import Environment, Trajectory, Value

Costs = dict[str, Int[Array, ""]]


class ValueSource:
    """The attributes of a value source, with their defaults."""

    has_values: ClassVar[bool] = False  # False: credit comes from rewards alone
    learned: ClassVar[bool] = False  # whether a loss trains the values
    # whether it plays on from the task's states or counts them, for the task's own reward only
    keeps_states: ClassVar[bool] = False

    def check(self, task: Environment, policy_config: transformer.Policy) -> None:
        """Checks that this task and policy have such values.

        Raises: ConfigError with what to change.
        """


class ValueContext(NamedTuple):
    """All that a value source may look at besides the episodes."""

    task: Environment
    policy_config: transformer.Policy
    params: transformer.Params
    problem: Int[Array, " N"]  # ids, so that no draw depends on the devices
    key: PRNGKeyArray
    seed_axis: str | tuple = ()  # the vmapped axis of seeds

    def keys(self, attempts: int) -> Key[Array, " B"]:
        """Returns a key for each episode, [N·G]."""
        problem_key = fold(self.key, self.problem)
        return jax.vmap(lambda k: fold(k, jnp.arange(attempts)))(problem_key).ravel()


@config
class NoValue(ValueSource):
    """No values: credit comes from rewards alone."""

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """Returns zeros, which cost nothing."""
        zeros = jnp.zeros(trajectory.mask.shape)
        return Value(zeros, zeros, jnp.float32(1)), {}


def from_state_values(
    before: Float[Array, "N G T A"],
    gain: Float[Array, "N G T A"],
    mask: Bool[Array, "N G T A"],
    discount: Float[Array, ""] | float,
) -> Value:
    """Returns the values after each token too: its gain + γ · the value before the next token.

    After the last token of an episode there is only its gain. Masked tokens are skipped, and their
    values read 0.

    Args:
      gain: what each token earned.
      discount: γ, per token.
    """
    by_token = tuple(
        x.reshape(x.shape[:2] + (-1,)).transpose(2, 0, 1) for x in (before, gain, mask)
    )

    def step(next_value, now):
        value, gain, valid = now
        after = jnp.where(valid, gain + discount * next_value, 0.0)
        return jnp.where(valid, value, next_value), after

    after = jax.lax.scan(step, jnp.zeros_like(by_token[0][0]), by_token, reverse=True)[1]
    after = after.transpose(1, 2, 0).reshape(mask.shape)
    return Value(jnp.where(mask, before, 0.0), after, jnp.asarray(discount, before.dtype))
