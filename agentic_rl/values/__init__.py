"""Where values come from: what a credit assignment may know of the expected return before and after each token.

A value source is a config with `__call__(context, trajectory) -> (Value, spent)`, where `spent` says what it cost in turns played
and tokens written besides the batch. It says what it is by inheriting from `ValueSource` and overriding its attributes.
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
    """What a value source is; the least there is."""

    has_values: ClassVar[bool] = False  # are there values at all?
    learned: ClassVar[bool] = False  # does a loss train them?
    keeps_states: ClassVar[bool] = (
        False  # does it play on, or count, from the task's states? Then for the task's own reward only
    )

    def check(self, task: Environment, policy_config: transformer.Policy) -> None:
        """Nothing, if there are such values of this task and policy.

        Raises: ConfigError with what to change.
        """


class ValueContext(NamedTuple):
    """What a value source may ask: the task, the policy, which problems these are, a key, and the vmapped axis of seeds."""

    task: Environment
    policy_config: transformer.Policy
    params: transformer.Params
    problem: Int[Array, " N"]  # ids, so that no draw depends on the devices
    key: PRNGKeyArray
    seed_axis: str | tuple = ()

    def keys(self, attempts: int) -> Key[Array, " B"]:
        """A key for each episode, [N·G]."""
        of_problem = fold(self.key, self.problem)
        return jax.vmap(lambda k: fold(k, jnp.arange(attempts)))(of_problem).ravel()


@config
class NoValue(ValueSource):
    """None: credit comes from rewards alone."""

    def __call__(self, context: ValueContext, trajectory: Trajectory) -> tuple[Value, Costs]:
        """Zeros."""
        zeros = jnp.zeros(trajectory.mask.shape)
        return Value(zeros, zeros, jnp.float32(1)), {}


def from_state_values(
    before: Float[Array, "N G T A"],
    gain: Float[Array, "N G T A"],
    mask: Bool[Array, "N G T A"],
    discount: Float[Array, ""] | float,
) -> Value:
    """Values after each token from those before: what it earned + γ · value before the next token.

    After the last token of an episode there is only what it earned. Masked tokens are skipped; their values read 0.
    """
    by_token = tuple(
        x.reshape(x.shape[:2] + (-1,)).transpose(2, 0, 1) for x in (before, gain, mask)
    )

    def step(next_value, now):
        value, gain, valid = now
        return jnp.where(valid, value, next_value), jnp.where(
            valid, gain + discount * next_value, 0.0
        )

    after = jax.lax.scan(step, jnp.zeros_like(by_token[0][0]), by_token, reverse=True)[1]
    after = after.transpose(1, 2, 0).reshape(mask.shape)
    return Value(jnp.where(mask, before, 0.0), after, jnp.asarray(discount, before.dtype))
