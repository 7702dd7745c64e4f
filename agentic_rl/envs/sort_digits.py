"""Sort the digits of the prompt in one turn.

This is the simplest task: every right digit earns a share of the reward. One episode at the default
knobs:

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
    """The instance, and the turn, which is 1 once it is answered."""

    digit: Int[Array, " K"]
    turn: Int[Array, ""]


@config
class SortDigits(OneTurn):
    """Answer with the `num_digits` digits of the prompt in ascending order.

    END must follow if the action has room for it. Success is to have all of it right.
    """

    num_digits: Count = 4  # digits to sort
    base: OneToken = 10  # digits are 0 to base - 1
    answer_length: Natural = 0  # tokens of an action; 0: as many as digits, without room for END
    # END ends the action; otherwise all actions have the same length, for measuring speed
    end: bool = True
    # `share`: the share of digits in their right place; `exact`: 1 for success
    reward: Literal["share", "exact"] = "share"

    def __post_init__(self):
        has_room = self.answer_length == 0 or self.answer_length >= self.num_digits
        allowed = f"0 (as many as digits) or at least num_digits ({self.num_digits})"
        check(has_room, f"answer_length must be {allowed}, not {self.answer_length}.")

    @property
    def judges_tokens(self) -> bool:
        """Whether each token is rewarded on its own, whatever the others are."""
        return self.reward == "share"

    @property
    def _num_judged(self) -> int:
        """The number of tokens that count: the digits, and END if there is room."""
        return min(self.num_digits + 1, self.spec.action_length)

    @property
    def spec(self) -> Spec:
        length = self.answer_length or self.num_digits
        choices = tuple(range(tokens.VALUE, tokens.VALUE + self.base))
        choices += (tokens.END,) * (length > self.num_digits)
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
        """Returns the task with `factor` times as many digits, and the room for them."""
        num_digits, answer_length = self.num_digits * factor, self.answer_length * factor
        return replace(self, num_digits=num_digits, answer_length=answer_length)

    def chance(self) -> float:
        """Returns the success rate of uniformly random tokens."""
        return len(self.spec.choices) ** -self._num_judged

    def render_prompt(self, prompt) -> str:
        return f"sort {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        return f"-> {tokens.text(t for t in action if t != tokens.PAD)}"
