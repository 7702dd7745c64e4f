"""Choose once, then wait for as long as you like: how long an episode lasts has nothing to do with how it ends.

A gradient that weighs an episode by 1/length still teaches to wait (after Dr. GRPO, 2503.20783): here any such lesson is bias.

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
    """The instance (the side to choose), and how it went."""

    side: Int[Array, ""]  # a token
    salt: Int[
        Array, ""
    ]  # nothing depends on it: with it, the train and the test split hold both sides
    turn: Int[Array, ""]
    right: Bool[Array, ""]  # the choice made at the first turn


@config
class WaitChain:
    """Choose the prompt's side, LEFT or RIGHT: 1 at the end if it was right. All other turns change nothing, DONE ends them."""

    num_turns: Several = 8

    @property
    def spec(self) -> Spec:
        return Spec(
            2,
            1,
            1,
            self.num_turns,
            (tokens.LEFT, tokens.RIGHT, tokens.WAIT, tokens.DONE),
            limited=False,
        )

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
        return state, TimeStep(
            self._observe(state), (done & right).astype(jnp.float32), done, done & right
        )

    def expert(self, state: State) -> Int[Array, " A"]:
        return jnp.where(state.turn == 0, state.side, tokens.DONE)[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return state.turn * 2 + state.right

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's return from here."""
        return jnp.where(
            (state.turn < self.num_turns) & (state.right | (state.turn == 0)), 1.0, 0.0
        )

    def is_key(self, state: State) -> Bool[Array, ""]:
        """The choice of the side."""
        return state.turn == 0

    def longer(self, factor: int) -> "WaitChain":
        """The same task with `factor` times as many turns."""
        return replace(self, num_turns=self.num_turns * factor)

    def bounds(self) -> tuple[float, float]:
        """The wrong side and the right one."""
        return 0.0, 1.0

    def chance(self) -> float:
        """Success of uniformly random actions: the first one decides."""
        return 1 / len(self.spec.choices)

    def render_prompt(self, prompt) -> str:
        return f"choose {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        return f"{'which side?' if observation[0] == tokens.OBS else 'chosen'} -> {tokens.text(action)}"
