"""Cross a frozen lake past holes that end the episode, with a map in the prompt.

The task tests planning on a map, if wanted on slippery ice. The prompt shows the lake row by row;
an observation shows the policy's place (row, column) and what each of the four moves leads to. One
episode at the default knobs:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(FrozenLake(), problem=2))
cross the ice (F) past the holes (H) from S to G: SFFF FHHF HHFF FHHG
at row 0, column 0: LEFT F, DOWN F, RIGHT F, UP F -> RIGHT
at row 0, column 1: LEFT F, DOWN H, RIGHT F, UP F -> RIGHT
at row 0, column 2: LEFT F, DOWN H, RIGHT F, UP F -> RIGHT
at row 0, column 3: LEFT F, DOWN F, RIGHT F, UP F -> DOWN
at row 1, column 3: LEFT H, DOWN F, RIGHT F, UP F -> DOWN
at row 2, column 3: LEFT F, DOWN G, RIGHT F, UP F -> DOWN
success, return 1.0

After gymnasium's FrozenLake, which RAGEN (2504.20073) uses too.
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Probability, Range
from agentic_rl.envs.parts import grid
from agentic_rl.envs.parts.planning import Plan, plan
from agentic_rl.types import Spec, TimeStep, restart

LETTERS = {tokens.EMPTY: "F", tokens.FAIL: "H", tokens.DONE: "G"}


class State(NamedTuple):
    """The instance (holes, and the best play past them) and the position in it."""

    hole: Bool[Array, " C"]
    plan: Plan
    cell: Int[Array, ""]
    turn: Int[Array, ""]


@config
class FrozenLake:
    """Walk from the upper left corner to the lower right one: 1 on arrival.

    A move off the lake leads nowhere. Each cell is a hole with probability `hole`. If that leaves
    no way of at most `num_turns` moves, holes freeze over in random order until there is one.
    """

    size: Annotated[int, Range(2, 16)] = 4  # rows and columns of the lake
    num_turns: Count = 12  # turns before the episode is cut off
    hole: Probability = 0.2  # probability that a cell is a hole
    # probability of going in a perpendicular direction, shared by the two; gymnasium's ice has 2/3
    slip: Probability = 0.0
    around: bool = True  # observations show what each move leads to, and not just the place

    def __post_init__(self):
        least = 2 * (self.size - 1)
        allowed = f"at least {least} to cross a lake of size {self.size}"
        check(self.num_turns >= least, f"num_turns must be {allowed}, not {self.num_turns}.")

    @property
    def spec(self) -> Spec:
        return Spec(1 + self.size**2, 3 + 4 * self.around, 1, self.num_turns, grid.MOVES)

    @property
    def _drift(self) -> Float[Array, "4 4"]:
        """The probability that a chosen move (row) turns into another one (column).

        Neighbours in the circle of moves are perpendicular.
        """
        straight = jnp.eye(4)
        perpendicular = jnp.roll(straight, 1, 1) + jnp.roll(straight, -1, 1)
        return (1 - self.slip) * straight + self.slip / 2 * perpendicular

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        corners = jnp.array([0, self.size**2 - 1])
        ice = jax.random.uniform(key, (self.size**2,)).at[corners].set(1.0)  # how thick it is
        state = self._begin(ice < jnp.minimum(self.hole, self._thinnest(ice)))
        return state, restart(self._observe(state))

    def _thinnest(self, ice: Float[Array, " C"]) -> Float[Array, ""]:
        """Returns the thinnest ice on the best way of at most `num_turns` moves.

        The best way is the one whose thinnest ice is thickest.
        """
        after = grid.neighbours(self.size)
        start = jnp.zeros_like(ice).at[-1].set(1.0)

        def extend(_, way):
            return jnp.minimum(ice, jnp.maximum(way, way[after].max(1)))

        return jax.lax.fori_loop(0, self.num_turns, extend, start)[0]

    def _begin(self, hole: Bool[Array, " C"]) -> State:
        goal = jnp.arange(self.size**2) == self.size**2 - 1
        after, worth = grid.neighbours(self.size), goal.astype(jnp.float32)
        best = plan(after, self._drift, hole | goal, worth, self.num_turns)
        return State(hole, best, jnp.int32(0), jnp.int32(0))

    def _map(self, state: State) -> Int[Array, " C"]:
        return jnp.where(state.hole, tokens.FAIL, tokens.EMPTY).at[-1].set(tokens.DONE)

    def prompt(self, state: State) -> Int[Array, " P"]:
        return jnp.concatenate([jnp.array([tokens.BOS]), self._map(state)])

    def _observe(self, state: State) -> Int[Array, " O"]:
        around = self._map(state)[grid.neighbours(self.size)[state.cell]]
        seen = jnp.concatenate(
            [jnp.array([tokens.OBS]), grid.place_tokens(state.cell, self.size), around]
        )
        return seen[: self.spec.observation_length]

    def _is_over(self, state: State) -> tuple[Bool[Array, ""], Bool[Array, ""]]:
        """Returns whether the goal is reached, and whether the episode is over."""
        at_goal = state.cell == self.size**2 - 1
        return at_goal, at_goal | state.hole[state.cell] | (state.turn >= self.num_turns)

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        chance = self._drift[grid.read_move(action[0])[0]]
        return self._move(state, action, jax.random.categorical(key, jnp.log(chance)))

    def outcomes(
        self, state: State, action: Int[Array, " A"]
    ) -> tuple[Float[Array, " M"], State, TimeStep]:
        """Returns the moves that the ice may make of the action, and their probabilities."""
        each = jax.vmap(lambda move: self._move(state, action, move))(jnp.arange(len(grid.MOVES)))
        return self._drift[grid.read_move(action[0])[0]], *each

    def _move(
        self, state: State, action: Int[Array, " A"], move: Int[Array, ""]
    ) -> tuple[State, TimeStep]:
        moves = grid.read_move(action[0])[1] & ~self._is_over(state)[1]
        cell = jnp.where(moves, grid.neighbours(self.size)[state.cell, move], state.cell)
        state = state._replace(cell=cell, turn=state.turn + 1)
        success, done = self._is_over(state)
        return state, TimeStep(self._observe(state), success.astype(jnp.float32), done, success)

    def _turns_left(self, state: State) -> Int[Array, ""]:
        return jnp.maximum(self.num_turns - state.turn, 0)

    def expert(self, state: State) -> Int[Array, " A"]:
        return jnp.array(grid.MOVES)[state.plan.move[self._turns_left(state), state.cell]][None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return state.turn * self.size**2 + state.cell

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's expected return from the state on."""
        return state.plan.value[self._turns_left(state), state.cell]

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether a move can lead into a hole, or too far away for the turns left."""
        return state.plan.is_key[self._turns_left(state), state.cell]

    def longer(self, factor: int) -> "FrozenLake":
        """Returns the task on a lake `factor` times as far across, with turns in proportion."""
        return replace(self, size=1 + factor * (self.size - 1), num_turns=self.num_turns * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        lake = grid.render_map(prompt[1:], self.size, LETTERS)
        return f"cross the ice (F) past the holes (H) from S to G: S{lake[1:]}"

    def render_turn(self, observation, action) -> str:
        row, column = observation[1:3] - tokens.VALUE
        pairs = zip(grid.MOVES, observation[3:])
        around = ", ".join(f"{tokens.text([m])} {LETTERS[int(t)]}" for m, t in pairs)
        place = f"at row {row}, column {column}{': ' if around else ''}{around}"
        return f"{place} -> {tokens.text(action)}"
