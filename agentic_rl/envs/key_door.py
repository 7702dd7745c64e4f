"""Pick the key that the forecast names, pass a conveyor of apples, open the door: a reward long after the choice that decides it.

One episode at the default knobs but a delay of four; an observation shows the cell, the keys in hand and
how many eighths of the episode are over:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(KeyDoor(delay=4), problem=2))
the forecast is n0
KEY EMPTY v0 -> n0
RIGHT n0 v1 -> RIGHT
LEFT n0 v2 -> LEFT
RIGHT n0 v4 -> RIGHT
RIGHT n0 v5 -> RIGHT
DOOR n0 v6 -> OPEN
success, return 1.4

After bsuite's umbrella chain (1908.03568) and the conveyor of COCOA (2306.16803).
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import config
from agentic_rl.config.ranges import Finite, Natural, NonNegative, Range
from agentic_rl.types import Spec, TimeStep, restart

COLOURS = 4


class State(NamedTuple):
    """The instance (keys, cells) and what one holds."""

    key: Int[Array, " M"]  # the tokens of the keys that open the door
    cell: Int[Array, " T"]  # KEY ..., then LEFT, RIGHT (where an apple is) or EMPTY ..., then DOOR
    turn: Int[Array, ""]
    held: Int[Array, " M"]  # the tokens of the keys picked so far; EMPTY: none


@config
class KeyDoor:
    """Pick `num_keys` keys, one a turn, let `delay` cells pass by, then OPEN: 1 if the keys are the forecast's, in its order.

    On the way LEFT and RIGHT take the apple on that side. Any other action does nothing, and nothing stops the conveyor.
    """

    delay: Natural = 8
    num_keys: Annotated[int, Range(1, 3)] = 1
    apple_reward: Finite = 0.1
    apple_noise: NonNegative = 0.0  # standard deviation of an apple's reward
    hide_inventory: bool = False  # observations do not show the keys in hand
    demo_skips_apples: bool = False  # the expert leaves the apples
    switched: bool = False  # the key of each forecast colour is the one two colours on

    @property
    def spec(self) -> Spec:
        keys = tuple(range(tokens.ENTITY, tokens.ENTITY + COLOURS))
        choices = keys + (tokens.LEFT, tokens.RIGHT, tokens.OPEN, tokens.WAIT)
        return Spec(
            1 + self.num_keys,
            3 + self.num_keys,
            1,
            self.num_keys + self.delay + 1,
            choices,
            limited=False,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        colour = jax.random.randint(jax.random.fold_in(key, 0), (self.num_keys,), 0, COLOURS)
        kinds = jnp.array([tokens.LEFT, tokens.RIGHT, tokens.EMPTY])
        conveyor = jax.random.choice(jax.random.fold_in(key, 1), kinds, (self.delay,))
        cell = jnp.concatenate(
            [jnp.full(self.num_keys, tokens.KEY), conveyor, jnp.array([tokens.DOOR])]
        )
        state = State(
            tokens.entity(colour), cell, jnp.int32(0), jnp.full(self.num_keys, tokens.EMPTY)
        )
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        colour = (state.key - tokens.ENTITY + 2 * self.switched) % COLOURS
        return jnp.concatenate([jnp.array([tokens.BOS]), tokens.entity(colour)])

    def _cell(self, state: State) -> Int[Array, ""]:
        return state.cell[jnp.minimum(state.turn, self.spec.num_turns - 1)]

    def _observe(self, state: State) -> Int[Array, " O"]:
        held = jnp.full_like(state.held, tokens.EMPTY) if self.hide_inventory else state.held
        clock = tokens.value(jnp.minimum(8 * state.turn // self.spec.num_turns, 7))
        return jnp.concatenate(
            [jnp.stack([jnp.int32(tokens.OBS), self._cell(state)]), held, clock[None]]
        )

    def _is_right(self, state: State) -> Bool[Array, ""]:
        """All keys picked so far are the right ones."""
        return jnp.all((state.held == state.key) | (jnp.arange(self.num_keys) >= state.turn))

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        return self._move(
            state, action, self.apple_reward + self.apple_noise * jax.random.normal(key)
        )

    def outcomes(
        self, state: State, action: Int[Array, " A"]
    ) -> tuple[Float[Array, " M"], State, TimeStep]:
        """The one thing that happens, with the mean reward of an apple."""
        return jnp.ones(1), *jax.tree.map(
            lambda x: x[None], self._move(state, action, self.apple_reward)
        )

    def _move(
        self, state: State, action: Int[Array, " A"], apple: Float[Array, ""] | float
    ) -> tuple[State, TimeStep]:
        cell, token = self._cell(state), action[0]
        is_key = (token >= tokens.ENTITY) & (token < tokens.ENTITY + COLOURS)
        held = jnp.where(is_key & (jnp.arange(self.num_keys) == state.turn), token, state.held)
        eats = ((cell == tokens.LEFT) | (cell == tokens.RIGHT)) & (token == cell)
        success = (cell == tokens.DOOR) & (token == tokens.OPEN) & self._is_right(state)
        state = state._replace(turn=state.turn + 1, held=held)
        done = state.turn >= self.spec.num_turns
        reward = jnp.where(eats, apple, success).astype(jnp.float32)
        return state, TimeStep(self._observe(state), reward, done, success)

    def expert(self, state: State) -> Int[Array, " A"]:
        cell, wanted = self._cell(state), state.key[jnp.minimum(state.turn, self.num_keys - 1)]
        is_apple = ((cell == tokens.LEFT) | (cell == tokens.RIGHT)) & (not self.demo_skips_apples)
        on_the_way = jnp.where(is_apple, cell, tokens.WAIT)
        return jnp.where(
            cell == tokens.KEY, wanted, jnp.where(cell == tokens.DOOR, tokens.OPEN, on_the_way)
        )[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        held = jnp.where(state.held == tokens.EMPTY, COLOURS, state.held - tokens.ENTITY)
        kind = self._cell(state) - tokens.LEFT
        return (state.turn * 8 + kind) * 5**self.num_keys + jnp.sum(
            held * 5 ** jnp.arange(self.num_keys)
        )

    def potential(self, state: State) -> Float[Array, ""]:
        """The expert's expected return from here."""
        is_apple = (state.cell == tokens.LEFT) | (state.cell == tokens.RIGHT)
        left = jnp.sum(is_apple & (jnp.arange(self.spec.num_turns) >= state.turn))
        apples = 0.0 if self.demo_skips_apples else self.apple_reward * left
        return apples + (self._is_right(state) & (state.turn < self.spec.num_turns))

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Picking a key, and the door: where the 1 is won or lost (until it is lost). Apples do not count."""
        cell = self._cell(state)
        ahead = state.turn < self.spec.num_turns
        return ((cell == tokens.KEY) | (cell == tokens.DOOR)) & self._is_right(state) & ahead

    def longer(self, factor: int) -> "KeyDoor":
        """The same task with `factor` times the delay."""
        return replace(self, delay=self.delay * factor)

    def other_rule(self) -> "KeyDoor":
        """The same task with the other keys."""
        return replace(self, switched=not self.switched)

    def bounds(self) -> tuple[float, float]:
        """Nothing, and the door behind a conveyor full of apples (`apple_noise` aside)."""
        return 0.0, 1.0 + self.delay * self.apple_reward

    def chance(self) -> float:
        """Success of uniformly random actions: every pick and the door."""
        return len(self.spec.choices) ** -(self.num_keys + 1)

    def render_prompt(self, prompt) -> str:
        return f"the forecast is {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        return f"{tokens.text(observation[1:])} -> {tokens.text(action)}"
