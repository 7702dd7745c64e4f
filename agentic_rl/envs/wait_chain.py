"""Choose once, then wait as long as you like: the length of an episode does not affect its reward.

A gradient that weighs an episode by 1/length still teaches to wait (after Dr. GRPO, 2503.20783).
In this task any such lesson is bias.

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(WaitChain(), problem=0))
choose LEFT
which side? -> LEFT
chosen -> DONE
success, return 1.0
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.config.ranges import Several
from agentic_rl.types import Spec, TimeStep, restart


class State(NamedTuple):
    """The instance (the side to choose), and the choice."""

    side: Int[Array, ""]  # the token of the right side
    salt: Int[Array, ""]  # has no effect, except that both splits hold both sides
    turn: Int[Array, ""]
    right: Bool[Array, ""]  # was the choice at the first turn right?


@config
class WaitChain:
    """Choose the prompt's side, LEFT or RIGHT: 1 at the end if the choice was right.

    All later turns change nothing, and DONE ends the episode.
    """

    num_turns: Several = 8  # turns of the longest episode

    @property
    def spec(self) -> Spec:
        choices = (tokens.LEFT, tokens.RIGHT, tokens.WAIT, tokens.DONE)
        return Spec(2, 1, 1, self.num_turns, choices, limited=False)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        side = jax.random.choice(jax.random.fold_in(key, 0), jnp.array([tokens.LEFT, tokens.RIGHT]))
        salt = jax.random.randint(jax.random.fold_in(key, 1), (), 0, 2**16)
        state = State(side, salt, jnp.int32(0), jnp.bool_(False))
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.stack([jnp.int32(tokens.BOS), state.side])

    def _observe(self, state: State) -> Int[Array, " O"]:
        return jnp.where(state.turn == 0, tokens.OBS, tokens.EMPTY)[None]

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        first = state.turn == 0
        right = jnp.where(first, action[0] == state.side, state.right)
        stops = ~first & (action[0] == tokens.DONE)
        state = state._replace(turn=jnp.where(stops, self.num_turns, state.turn + 1), right=right)
        done = state.turn >= self.num_turns
        success = done & right
        return state, TimeStep(self._observe(state), success.astype(jnp.float32), done, success)

    def expert(self, state: State) -> Int[Array, " A"]:
        return jnp.where(state.turn == 0, state.side, tokens.DONE)[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return state.turn * 2 + state.right

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        can_succeed = (state.turn < self.num_turns) & (state.right | (state.turn == 0))
        return jnp.where(can_succeed, 1.0, 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns True at the first turn, where the side is chosen."""
        return state.turn == 0

    def longer(self, factor: int) -> "WaitChain":
        """Returns the task with `factor` times as many turns."""
        return replace(self, num_turns=self.num_turns * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of the wrong and of the right side."""
        return 0.0, 1.0

    def chance(self) -> float:
        """Returns the success rate of uniformly random actions, of which the first one decides."""
        return 1 / len(self.spec.choices)

    def render_prompt(self, prompt) -> str:
        return f"choose {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        status = "which side?" if observation[0] == tokens.OBS else "chosen"
        return f"{status} -> {tokens.text(action)}"
