"""Say the digits of the prompt backwards, one in each turn.

One episode with three digits; an observation tells how many digits are left:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Backwards(num_digits=3, base=10), problem=0))
digits v3 v8 v0
3 left -> v0
2 left -> v8
1 left -> v3
success, return 1.0
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.config.ranges import OneToken, Range
from agentic_rl.envs.parts.identity import identity
from agentic_rl.types import Spec, TimeStep


class State(NamedTuple):
    """The digits, and how far the agent has come."""

    digit: Int[Array, " K"]
    turn: Int[Array, ""]
    is_right: Bool[Array, ""]  # was every answer right so far?


@config
class Backwards:
    """Say the digits of the prompt, the last one first; success if all answers are right.

    The reward is 1 at the end of an episode that succeeds, and else 0.
    """

    num_digits: Annotated[int, Range(1, 15)] = 4  # as many as turns
    base: OneToken = 4  # digits are 0 to base - 1

    @property
    def spec(self) -> Spec:
        """A prompt of BOS and the digits; in each turn one token is observed and one written."""
        choices = tuple(range(tokens.VALUE, tokens.VALUE + self.base))
        return Spec(1 + self.num_digits, 1, 1, self.num_digits, choices, limited=False)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        digit = jax.random.randint(key, (self.num_digits,), 0, self.base)
        state = State(digit, jnp.int32(0), jnp.bool_(True))
        return state, TimeStep(
            self._observe(state), jnp.float32(0), jnp.bool_(False), jnp.bool_(False)
        )

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.concatenate([jnp.array([tokens.BOS]), tokens.value(state.digit)])

    def _observe(self, state: State) -> Int[Array, " O"]:
        return tokens.value(self.num_digits - state.turn)[None]

    def _is_over(self, state: State) -> Bool[Array, ""]:
        return (state.turn >= self.num_digits) | ~state.is_right

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        was_over = self._is_over(state)
        is_right = state.is_right & (was_over | (action[0] == self.expert(state)[0]))
        state = State(state.digit, jnp.minimum(state.turn + 1, self.num_digits), is_right)
        done = self._is_over(state)
        success = done & is_right
        reward = (success & ~was_over).astype(jnp.float32)
        return state, TimeStep(self._observe(state), reward, done, success)

    def expert(self, state: State) -> Int[Array, " A"]:
        place = jnp.maximum(self.num_digits - 1 - state.turn, 0)
        return tokens.value(state.digit[place])[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return identity(state.digit, state.turn, state.is_right)

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's return from here."""
        return jnp.where(self._is_over(state), 0.0, 1.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Every answer decides, until the episode is over."""
        return ~self._is_over(state)

    def longer(self, factor: int) -> "Backwards":
        return replace(self, num_digits=min(self.num_digits * factor, 15))

    def bounds(self) -> tuple[float, float]:
        return 0.0, 1.0

    def chance(self) -> float:
        """Success of uniformly random actions."""
        return self.base**-self.num_digits

    def render_prompt(self, prompt) -> str:
        return f"digits {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        return f"{observation[0] - tokens.VALUE} left -> {tokens.text(action)}"
