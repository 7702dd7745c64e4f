"""What tasks of a single turn share: a question, one answer, the end."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.types import State, TimeStep, restart


class OneTurn:
    """A task brings `spec`, `prompt`, the right answer (`expert`), and a `reset` that ends with `_begin`; its state counts turns."""

    def _begin(self, state: State) -> tuple[State, TimeStep]:
        return state, restart(self._observe())

    def _observe(self) -> Int[Array, " O"]:
        return jnp.array([tokens.ACT])

    def _judge(self, state: State, action: Int[Array, " A"]) -> Bool[Array, " _"]:
        """Which of the tokens that are judged are right; all must be for success."""
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
        """Of one problem there is one decision."""
        return jnp.minimum(state.turn, 1)

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's return from here."""
        return jnp.where(state.turn == 0, 1.0, 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """The one turn there is."""
        return state.turn == 0

    def longer(self, factor: int) -> Any:
        """The same task: a single choice has no horizon."""
        return self

    def bounds(self) -> tuple[float, float]:
        """A wrong answer and the right one."""
        return 0.0, 1.0
