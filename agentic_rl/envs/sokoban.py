"""Push a box onto its target, where some pushes can never be taken back.

So a plan must be right before it begins. The prompt shows the room inside its outer walls, row by
row; an observation shows where the player and the box are (row, column). One episode at the default
knobs:

>>> from agentic_rl.rollout.transcript import transcript
>>> print(transcript(Sokoban(), problem=2))
push the box onto O, past the walls (#): __#_ #__O ____ ____
player at row 3, column 1; box at row 2, column 1 -> LEFT
player at row 3, column 0; box at row 2, column 1 -> UP
player at row 2, column 0; box at row 2, column 1 -> RIGHT
player at row 2, column 1; box at row 2, column 2 -> RIGHT
player at row 2, column 2; box at row 2, column 3 -> DOWN
player at row 3, column 2; box at row 2, column 3 -> RIGHT
player at row 3, column 3; box at row 2, column 3 -> UP
success, return 1.0

After the environment of RAGEN (2504.20073).
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from agentic_rl import tokens
from agentic_rl.config import check, config
from agentic_rl.config.ranges import Count, Natural, Range
from agentic_rl.envs.parts import grid
from agentic_rl.envs.parts.planning import distances
from agentic_rl.types import Spec, TimeStep, restart

LETTERS = {tokens.EMPTY: "_", tokens.FAIL: "#", tokens.DONE: "O"}


class State(NamedTuple):
    """The instance (walls, target and distances), and where player and box are.

    Cells are those inside the outer walls.
    """

    wall: Bool[Array, " C"]
    target: Int[Array, ""]
    distance: Int[Array, " C*C"]  # moves to the end, by position of player and box
    player: Int[Array, ""]
    box: Int[Array, ""]
    turn: Int[Array, ""]


@config
class Sokoban:
    """Walk, and push the box by walking into it, until it is on the target: 1 when it is.

    Walls stop both. Every level can be solved in time: the start is drawn from the farther half of
    the positions from which this is possible.
    """

    # rows and columns of the room, outer walls included
    size: Annotated[int, Range(5, 18, why="outer walls included")] = 6
    num_walls: Natural = 2  # walls inside the room
    num_turns: Count = 16  # turns before the episode is cut off

    def __post_init__(self):
        most = self._side**2 - 3
        allowed = f"0 to {most} at size {self.size}"
        check(0 <= self.num_walls <= most, f"num_walls must be {allowed}, not {self.num_walls}.")

    @property
    def _side(self) -> int:
        return self.size - 2

    @property
    def spec(self) -> Spec:
        return Spec(1 + self._side**2, 5, 1, self.num_turns, grid.MOVES)

    def reset(self, key: PRNGKeyArray) -> tuple[State, TimeStep]:
        push, walls, start = (jax.random.fold_in(key, i) for i in range(3))
        wall, target = self._draw_room(push, walls)
        cell = jnp.arange(self._side**2)
        player, box = (x.ravel() for x in jnp.meshgrid(cell, cell, indexing="ij"))
        distance = distances(self._code(*self._after(wall, player, box)), box == target)
        in_time = (distance > 0) & (distance <= self.num_turns)
        solvable = ~wall[player] & ~wall[box] & (player != box) & in_time
        farthest = jnp.max(jnp.where(solvable, distance, 0))
        start = jax.random.categorical(start, jnp.log(solvable & (2 * distance >= farthest)))
        state = State(wall, target, distance, player[start], box[start], jnp.int32(0))
        return state, restart(self._observe(state))

    def _draw_room(
        self, push: PRNGKeyArray, walls: PRNGKeyArray
    ) -> tuple[Bool[Array, " C"], Int[Array, ""]]:
        """Returns walls and target such that at least one last push onto the target is possible."""
        cell, after = jnp.arange(self._side**2), grid.neighbours(self._side)
        along = after[after, jnp.arange(4)]  # two cells on
        free = (after != cell[:, None]) & (along != after)
        player, move = jnp.divmod(jax.random.categorical(push, jnp.log(free.ravel())), 4)
        box, target = after[player, move], along[player, move]
        thin = jax.random.uniform(walls, cell.shape).at[jnp.stack([player, box, target])].set(1.0)
        wall = jnp.zeros(cell.size, bool).at[jnp.argsort(thin)[: self.num_walls]].set(True)
        return wall, target

    def _code(self, player: Int[Array, " ..."], box: Int[Array, " ..."]) -> Int[Array, " ..."]:
        """Returns one number for the cells of player and box."""
        return player * self._side**2 + box

    def _after(self, wall: Bool[Array, " C"], player: Int[Array, " ..."], box: Int[Array, " ..."]):
        """Returns the cells of player and box after each of the four moves, as a last axis."""

        def on(cell):
            after = grid.neighbours(self._side)[cell]
            return jnp.where(wall[after], cell[..., None], after)

        box, ahead, pushed = box[..., None], on(player), on(box)
        pushes = ahead == box
        stuck = pushes & (pushed == box)
        return jnp.where(stuck, player[..., None], ahead), jnp.where(pushes, pushed, box)

    def prompt(self, state: State) -> Int[Array, " P"]:
        room = jnp.where(state.wall, tokens.FAIL, tokens.EMPTY).at[state.target].set(tokens.DONE)
        return jnp.concatenate([jnp.array([tokens.BOS]), room])

    def _observe(self, state: State) -> Int[Array, " O"]:
        player = grid.place_tokens(state.player, self._side)
        box = grid.place_tokens(state.box, self._side)
        return jnp.concatenate([jnp.array([tokens.OBS]), player, box])

    def step(
        self, key: PRNGKeyArray, state: State, action: Int[Array, " A"]
    ) -> tuple[State, TimeStep]:
        move, is_move = grid.read_move(action[0])
        moves = is_move & (state.box != state.target)
        player, box = (after[move] for after in self._after(state.wall, state.player, state.box))
        player, box = jnp.where(moves, player, state.player), jnp.where(moves, box, state.box)
        state = state._replace(player=player, box=box, turn=state.turn + 1)
        success = box == state.target
        done = success | (state.turn >= self.num_turns)
        return state, TimeStep(self._observe(state), success.astype(jnp.float32), done, success)

    def _distances(self, state: State) -> tuple[Int[Array, ""], Int[Array, "4"]]:
        """Returns the moves to the end from the state, and from where each move leads."""
        after = self._code(*self._after(state.wall, state.player, state.box))
        return state.distance[self._code(state.player, state.box)], state.distance[after]

    def expert(self, state: State) -> Int[Array, " A"]:
        """Returns the next move of a shortest way, and LEFT once the box is stuck for good."""
        return jnp.array(grid.MOVES)[jnp.argmin(self._distances(state)[1])][None]

    def anchor(self, state: State) -> Int[Array, ""]:
        return state.turn * self._side**4 + self._code(state.player, state.box)

    def potential(self, state: State) -> Float[Array, ""]:
        """Returns the expert's return from the state on."""
        distance = self._distances(state)[0]
        return jnp.where((distance > 0) & (distance <= self.num_turns - state.turn), 1.0, 0.0)

    def is_key(self, state: State) -> Bool[Array, ""]:
        """Returns whether a move can get the box stuck, or lose a turn that is needed."""
        staying, after = self._distances(state)
        worst = jnp.maximum(staying, after.max())
        return (self.potential(state) > 0) & (worst > self.num_turns - state.turn - 1)

    def longer(self, factor: int) -> "Sokoban":
        """Returns the task with `factor` times the turns, in a larger room.

        The room grows by two cells in width and height for each doubling of the turns.
        """
        size = self.size + 2 * (factor - 1).bit_length()
        return replace(self, size=size, num_turns=self.num_turns * factor)

    def bounds(self) -> tuple[float, float]:
        """Returns the returns of failure and success."""
        return 0.0, 1.0

    def render_prompt(self, prompt) -> str:
        room = grid.render_map(prompt[1:], self._side, LETTERS)
        return f"push the box onto O, past the walls (#): {room}"

    def render_turn(self, observation, action) -> str:
        cells = (observation[1:] - tokens.VALUE).reshape(2, 2)
        player, box = (f"at row {row}, column {column}" for row, column in cells)
        return f"player {player}; box {box} -> {tokens.text(action)}"
