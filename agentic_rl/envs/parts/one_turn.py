"""Tasks of a single turn: the policy reads a question, answers once, and the episode ends."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.types import State, TimeStep, restart


class OneTurn:
    """The part of a single-turn task that does not depend on its question.

    A subclass adds `spec`, `prompt`, the right answer (`expert`), and a `reset` that returns
    `_begin(state)`. Its state counts turns in `turn`.
    """

    def _begin(self, state: State) -> tuple[State, TimeStep]:
        return state, restart(self._observe())

    def _observe(self) -> Int[Array, " O"]:
        return jnp.array([tokens.ACT])

    def _judge(self, state: State, action: Int[Array, " A"]) -> Bool[Array, " _"]:
        """Returns which of the tokens that count are right. For success all must be."""
        return action == self.expert(state)

    def _reward(self, key: PRNGKeyArray, right: Bool[Array, " _"]) -> Any:
        return right.all()

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        right = self._judge(state, action)
        reward = self._reward(key, right).astype(jnp.float32)
        return state._replace(turn=state.turn + 1), TimeStep(
            self._observe(), reward, jnp.bool_(True), right.all()
        )

    def anchor(self, state: State) -> Int[Array, ""]:
        """Returns the turn: every problem has one decision."""
        return jnp.minimum(state.turn, 1)

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on: 1 until the answer is given."""
        return jnp.where(state.turn == 0, 1.0, 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns True at the only turn."""
        return state.turn == 0

    def longer(self, factor: int) -> Any:
        """Returns the task itself, since a single choice has no horizon."""
        return self

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of a wrong and of the right answer."""
        return 0.0, 1.0
