"""Dive along the diagonal to a treasure that one wrong step loses: a test of deep exploration.

An observation shows row and column. Which of the two actions means "right" differs from cell to
cell. The diver's name in the prompt means nothing; it only distinguishes problems. One episode at
size 4:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(DeepSea(size=4), problem=0))
dive, n9 n8
row 0, column 0 -> v0
row 1, column 1 -> v1
row 2, column 2 -> v0
row 3, column 3 -> v0
success, return 0.99

This is bsuite's deep sea (1908.03568), with the action mapping of gymnax at the same size.
"""

from dataclasses import replace
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.config.ranges import Range, Seed
from agentic_rl.types import Spec, TimeStep, restart


class State(NamedTuple):
    """The instance (the diver's name, what the actions mean) and the diver's position."""

    name: Int[Array, "2"]
    right: Int[Array, "N N"]  # which action means right
    row: Int[Array, ""]
    column: Int[Array, ""]


@config
class DeepSea:
    """Each turn goes one row down, and one column to the right or (with any other action) left.

    The reward is 1 for going right in the last column, and every step to the right has a cost.
    """

    size: Annotated[int, Range(2, 100)] = 8  # rows and columns
    # the cost of going right `size` times
    move_cost: Annotated[float, Range(0, below=1, why="the treasure is worth 1")] = 0.01
    # which action means right in a cell: `weights`, the same in all episodes; `prompt`, drawn for
    # each episode and listed in its prompt, row by row
    rule: Literal["weights", "prompt"] = "weights"
    scramble: Seed = 0  # seed of what the actions mean, where it is the same in all episodes

    @property
    def _digits(self) -> int:
        """The tokens of a number: one of sixteen values, or tens and ones."""
        return 1 if self.size <= 16 else 2

    @property
    def spec(self) -> Spec:
        prompt_length = 3 + self.size**2 * (self.rule == "prompt")
        choices = (tokens.value(0), tokens.value(1))
        return Spec(prompt_length, 1 + 2 * self._digits, 1, self.size, choices, limited=False)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        name, rule = (jax.random.fold_in(key, i) for i in range(2))
        if self.rule == "weights":
            rule = jax.random.key(self.scramble)
        right = jax.random.bernoulli(rule, 0.5, (self.size, self.size)).astype(jnp.int32)
        state = State(jax.random.randint(name, (2,), 0, 16), right, jnp.int32(0), jnp.int32(0))
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        parts = (
            jnp.array([tokens.BOS]),
            tokens.entity(state.name),
            tokens.value(state.right.ravel()),
        )
        return jnp.concatenate(parts)[: self.spec.prompt_length]

    def _observe(self, state: State) -> Int[Array, " O"]:
        place = jnp.stack([jnp.minimum(state.row, self.size - 1), state.column])
        place = place if self._digits == 1 else jnp.stack([place // 10, place % 10], axis=1).ravel()
        return jnp.concatenate([jnp.array([tokens.OBS]), tokens.value(place)])

    def _right_action(self, state: State) -> Int[Array, ""]:
        return state.right[jnp.minimum(state.row, self.size - 1), state.column]

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        goes_right = (action[0] == tokens.value(self._right_action(state))) & (
            state.row < self.size
        )
        success = goes_right & (state.column == self.size - 1)
        column = jnp.clip(state.column + jnp.where(goes_right, 1, -1), 0, self.size - 1)
        state = state._replace(row=state.row + 1, column=column)
        reward = success - goes_right * self.move_cost / self.size
        return state, TimeStep(
            self._observe(state), reward.astype(jnp.float32), state.row >= self.size, success
        )

    def _on_course(self, state: State) -> Bool[Array, ""]:
        return (state.column == state.row) & (state.row < self.size)

    def expert(self, state: State) -> Int[Array, " A"]:
        """Returns right on the diagonal, and left off it, where only the cost still matters."""
        right = self._right_action(state)
        return tokens.value(jnp.where(self._on_course(state), right, 1 - right))[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return state.row * self.size + state.column

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        value = 1 - self.move_cost * (self.size - state.row) / self.size
        return jnp.where(self._on_course(state), value, 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether the treasure is at stake, or else the cost of a step, if there is one."""
        return self._on_course(state) | ((state.row < self.size) & (self.move_cost > 0))

    def longer(self, factor: int) -> "DeepSea":
        """Returns the task `factor` times as deep, with other meanings of the actions."""
        return replace(self, size=self.size * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of all steps but one to the right, and of the treasure."""
        return -self.move_cost * (self.size - 1) / self.size, 1.0 - self.move_cost

    def chance(self) -> float:
        """Returns the success rate of uniformly random actions."""
        return 2.0**-self.size

    def render_prompt(self, prompt) -> str:
        rows = [tokens.text(row) for row in prompt[3:].reshape(-1, self.size)]
        rule = f", where right is {' / '.join(rows)}" if rows else ""
        return f"dive, {tokens.text(prompt[1:3])}{rule}"

    def render_turn(self, observation, action) -> str:
        digits = "".join(str(t - tokens.VALUE) + " " * (self._digits == 1) for t in observation[1:])
        row, column = digits[: len(digits) // 2], digits[len(digits) // 2 :]
        return f"row {int(row)}, column {int(column)} -> {tokens.text(action)}"
