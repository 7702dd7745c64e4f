"""Sort the digits of the prompt in one turn: the hello-world, with a share of the reward for every right digit.

One episode at the default knobs:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(SortDigits(), problem=0))
sort v3 v8 v0 v5
-> v0 v3 v5 v8
success, return 1.0
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Natural, OneToken
from agentic_rl.envs.parts.one_turn import OneTurn
from agentic_rl.types import Spec, TimeStep


class State(NamedTuple):
    """The instance, and whether it was answered."""

    digit: Int[Array, " K"]
    turn: Int[Array, ""]


@config
class SortDigits(OneTurn):
    """Answer with the `num_digits` digits of the prompt in ascending order, then END if the action has room for it.

    reward: `share` (of the digits that stand where they belong) or `exact` (1 if all do and END follows where there is room;
    this is also the success).
    """

    num_digits: Count = 4
    base: OneToken = 10  # digits are 0 to base - 1
    answer_length: Natural = (
        0  # A, the tokens of an action; 0: num_digits, which leaves no room for END
    )
    end: bool = True  # END ends the action; else every action is A tokens long, whatever they are (for measuring speed)
    reward: Literal["share", "exact"] = "share"

    def __post_init__(self):
        least = f"answer_length must be 0 (as many as digits) or at least num_digits ({self.num_digits})"
        check(
            self.answer_length == 0 or self.answer_length >= self.num_digits,
            f"{least}, not {self.answer_length}.",
        )

    @property
    def judges_tokens(self) -> bool:
        """Does a token earn what it earns, whatever the others are?"""
        return self.reward == "share"

    @property
    def _num_judged(self) -> int:
        """The digits, and END where there is room."""
        return min(self.num_digits + 1, self.spec.action_length)

    @property
    def spec(self) -> Spec:
        length = self.answer_length or self.num_digits
        choices = tuple(range(tokens.VALUE, tokens.VALUE + self.base)) + (tokens.END,) * (
            length > self.num_digits
        )
        return Spec(1 + self.num_digits, 1, length, 1, choices, tokens.END if self.end else -1)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        state = State(jax.random.randint(key, (self.num_digits,), 0, self.base), jnp.int32(0))
        return self._begin(state)

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.concatenate([jnp.array([tokens.BOS]), tokens.value(state.digit)])

    def _judge(self, state: State, action: Int[Array, " A"]) -> Bool[Array, " _"]:
        return (action == self.expert(state))[: self._num_judged]

    def _reward(self, key: PRNGKeyArray, right: Bool[Array, " _"]) -> Array:
        return right[: self.num_digits].mean() if self.reward == "share" else right.all()

    def expert(self, state: State) -> Int[Array, " A"]:
        length = self.spec.action_length
        tail = jnp.full(length, tokens.PAD).at[0].set(tokens.END)
        return jnp.concatenate([tokens.value(jnp.sort(state.digit)), tail])[:length]

    def longer(self, factor: int) -> "SortDigits":
        """The same task with `factor` times as many digits, and as much room for them."""
        return replace(
            self, num_digits=self.num_digits * factor, answer_length=self.answer_length * factor
        )

    def chance(self) -> float:
        """Success of uniformly random tokens."""
        return len(self.spec.choices) ** -self._num_judged

    def render_prompt(self, prompt) -> str:
        return f"sort {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        return f"-> {tokens.text(t for t in action if t != tokens.PAD)}"
