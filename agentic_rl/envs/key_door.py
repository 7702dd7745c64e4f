"""Pick the key that the forecast names, pass a conveyor of apples, and open the door.

The reward comes long after the choice that decides it. An observation shows the cell, the keys in
hand, and how many eighths of the episode are over. One episode at the default knobs but a delay of
four:

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
    """The instance (keys and cells), and the keys in hand."""

    key: Int[Array, " M"]  # the tokens of the keys that open the door
    cell: Int[Array, " T"]  # KEY, ...; then LEFT or RIGHT (an apple's side) or EMPTY, ...; DOOR
    turn: Int[Array, ""]
    held: Int[Array, " M"]  # the tokens of the keys picked so far; EMPTY: none


@config
class KeyDoor:
    """Pick `num_keys` keys, one per turn, let `delay` cells pass, then OPEN the door.

    The reward is 1 if the keys are the forecast's, in its order. On the way LEFT and RIGHT take the
    apple on that side. Any other action does nothing, and nothing stops the conveyor.
    """

    delay: Natural = 8  # cells between the last key and the door
    num_keys: Annotated[int, Range(1, 3)] = 1  # keys that open the door
    apple_reward: Finite = 0.1  # mean reward of an apple
    apple_noise: NonNegative = 0.0  # standard deviation of an apple's reward
    hide_inventory: bool = False  # observations do not show the keys in hand
    demo_skips_apples: bool = False  # the expert takes no apples
    switched: bool = False  # the right key is the one two colours on from the forecast's

    @property
    def spec(self) -> Spec:
        keys = tuple(range(tokens.ENTITY, tokens.ENTITY + COLOURS))
        choices = keys + (tokens.LEFT, tokens.RIGHT, tokens.OPEN, tokens.WAIT)
        num_turns = self.num_keys + self.delay + 1
        return Spec(1 + self.num_keys, 3 + self.num_keys, 1, num_turns, choices, limited=False)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        colour = jax.random.randint(jax.random.fold_in(key, 0), (self.num_keys,), 0, COLOURS)
        kinds = jnp.array([tokens.LEFT, tokens.RIGHT, tokens.EMPTY])
        conveyor = jax.random.choice(jax.random.fold_in(key, 1), kinds, (self.delay,))
        keys, door = jnp.full(self.num_keys, tokens.KEY), jnp.array([tokens.DOOR])
        cell = jnp.concatenate([keys, conveyor, door])
        held = jnp.full(self.num_keys, tokens.EMPTY)
        state = State(tokens.entity(colour), cell, jnp.int32(0), held)
        return state, restart(self._observe(state))

    def prompt(self, state: State) -> Int[Array, " P"]:
        colour = (state.key - tokens.ENTITY + 2 * self.switched) % COLOURS
        return jnp.concatenate([jnp.array([tokens.BOS]), tokens.entity(colour)])

    def _cell(self, state: State) -> Int[Array, ""]:
        return state.cell[jnp.minimum(state.turn, self.spec.num_turns - 1)]

    def _observe(self, state: State) -> Int[Array, " O"]:
        held = jnp.full_like(state.held, tokens.EMPTY) if self.hide_inventory else state.held
        clock = tokens.value(jnp.minimum(8 * state.turn // self.spec.num_turns, 7))
        head = jnp.stack([jnp.int32(tokens.OBS), self._cell(state)])
        return jnp.concatenate([head, held, clock[None]])

    def _is_right(self, state: State) -> Bool[Array, ""]:
        """Returns whether all keys picked so far are right."""
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
        """Returns the only outcome, with the mean reward of an apple."""
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
        cell, next_key = self._cell(state), state.key[jnp.minimum(state.turn, self.num_keys - 1)]
        takes = ((cell == tokens.LEFT) | (cell == tokens.RIGHT)) & (not self.demo_skips_apples)
        on_the_way = jnp.where(takes, cell, tokens.WAIT)
        after_keys = jnp.where(cell == tokens.DOOR, tokens.OPEN, on_the_way)
        return jnp.where(cell == tokens.KEY, next_key, after_keys)[None]

    def anchor(self, state: State) -> Int[Array, ""]:
        held = jnp.where(state.held == tokens.EMPTY, COLOURS, state.held - tokens.ENTITY)
        kind = self._cell(state) - tokens.LEFT
        keys = jnp.sum(held * 5 ** jnp.arange(self.num_keys))
        return (state.turn * 8 + kind) * 5**self.num_keys + keys

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's expected return from the state on."""
        is_apple = (state.cell == tokens.LEFT) | (state.cell == tokens.RIGHT)
        left = jnp.sum(is_apple & (jnp.arange(self.spec.num_turns) >= state.turn))
        apples = 0.0 if self.demo_skips_apples else self.apple_reward * left
        return apples + (self._is_right(state) & (state.turn < self.spec.num_turns))

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether the 1 can be lost: at a key or the door, while all keys are right."""
        cell = self._cell(state)
        ahead = state.turn < self.spec.num_turns
        return ((cell == tokens.KEY) | (cell == tokens.DOOR)) & self._is_right(state) & ahead

    def longer(self, factor: int) -> "KeyDoor":
        """Returns the task with `factor` times the delay."""
        return replace(self, delay=self.delay * factor)

    def other_rule(self) -> "KeyDoor":
        """Returns the task in which the forecast means other keys."""
        return replace(self, switched=not self.switched)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of nothing, and of the door behind a conveyor full of apples."""
        return 0.0, 1.0 + self.delay * self.apple_reward

    def chance(self) -> float:
        """Returns the success rate of uniformly random actions: all picks and the door right."""
        return len(self.spec.choices) ** -(self.num_keys + 1)

    def render_prompt(self, prompt) -> str:
        return f"the forecast is {tokens.text(prompt[1:])}"

    def render_turn(self, observation, action) -> str:
        return f"{tokens.text(observation[1:])} -> {tokens.text(action)}"
