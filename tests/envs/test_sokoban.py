"""Sokoban agrees with rules and a search that are written a second time."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.parts import grid
from agentic_rl.envs.parts.planning import FAR
from agentic_rl.envs.sokoban import Sokoban

KEY = jax.random.key(0)
TASK = Sokoban()


@cache
def resets(task, count):
    return jax.device_get(jax.jit(jax.vmap(task.reset))(jax.random.split(KEY, count))[0])


def levels(task, count):
    return (jax.tree.map(lambda x: x[i], resets(task, count)) for i in range(count))


def after(wall, player, box, step):
    """Returns player and box, as (row, column), after a step."""
    side = round(len(wall) ** 0.5)

    def is_open(cell):
        return 0 <= min(cell) and max(cell) < side and not wall[cell[0] * side + cell[1]]

    ahead = player[0] + step[0], player[1] + step[1]
    beyond = ahead[0] + step[0], ahead[1] + step[1]
    if not is_open(ahead) or (ahead == box and not is_open(beyond)):
        return player, box
    return ahead, beyond if ahead == box else box


def shortest(wall, player, box, target):
    """Returns the moves to the end, by a breadth-first search, and None if there is no way."""
    layer, seen, count = {(player, box)}, set(), 0
    while layer:
        if any(b == target for _, b in layer):
            return count
        seen |= layer
        layer = {after(wall, p, b, step) for p, b in layer for step in grid.STEPS} - seen
        count += 1
    return None


def room(rows):
    """Returns the state of a room that is drawn with P, B, O and #."""
    cells = "".join(rows.split())
    wall = np.array([c == "#" for c in cells])
    player, box, target = (jnp.int32(cells.index(c)) for c in "PBO")
    return next(levels(TASK, 1))._replace(wall=wall, player=player, box=box, target=target)


def walk(rows, *moves):
    """Returns (player, box, reward, done) after each move."""
    state, seen = room(rows), []
    for move in moves:
        state, timestep = jax.jit(TASK.step)(KEY, state, jnp.array([move]))
        places = int(state.player), int(state.box)
        seen.append((*places, float(timestep.reward), bool(timestep.done)))
    return seen


@cache
def compiled_facts():
    return jax.jit(lambda state: (TASK.potential(state), TASK.is_key(state)))


def facts(state):
    """Returns the potential of a state, and whether it is a key decision."""
    potential, is_key = compiled_facts()(state)
    return float(potential), bool(is_key)


@pytest.mark.parametrize("task", [TASK, Sokoban(size=7, num_walls=6, num_turns=24)], ids=str)
def test_distances_are_those_of_a_search_from_any_position(task):
    side, rng = task.size - 2, np.random.default_rng(0)
    for state in levels(task, 50):
        free = np.flatnonzero(~state.wall)
        pairs = [(state.player, state.box)] + [rng.choice(free, 2, replace=False) for _ in range(5)]
        for player, box in pairs:
            cells = (divmod(int(c), side) for c in (player, box, state.target))
            count = shortest(state.wall, *cells)
            assert state.distance[player * side**2 + box] == (FAR if count is None else count)


@pytest.mark.parametrize(
    "task", [TASK, Sokoban(size=5, num_walls=6, num_turns=4), Sokoban(num_walls=13)], ids=str
)
def test_every_level_can_be_solved_in_time_and_has_its_walls(task):
    state = resets(task, 2000)
    distance = state.distance[np.arange(2000), state.player * (task.size - 2) ** 2 + state.box]
    assert (distance >= 1).all() and (distance <= task.num_turns).all()
    places = np.column_stack([state.player, state.box, state.target])
    assert (state.wall.sum(1) == task.num_walls).all()
    assert not np.take_along_axis(state.wall, places, axis=1).any()
    assert (places[:, 0] != places[:, 1]).all() and (places[:, 1] != places[:, 2]).all()


def test_half_of_the_levels_take_six_moves_or_more():
    state = resets(TASK, 2000)
    distance = state.distance[np.arange(2000), state.player * 16 + state.box]
    assert np.median(distance) >= 6


def test_the_box_is_pushed_never_pulled_and_stops_at_walls():
    rows = "P_B_ ____ __O_ ____"
    right, left, up, down = tokens.RIGHT, tokens.LEFT, tokens.UP, tokens.DOWN
    assert walk(rows, right, right, left, left) == [
        (1, 2, 0, False),
        (2, 3, 0, False),
        (1, 3, 0, False),
        (0, 3, 0, False),
    ]
    assert walk(rows, right, right, right)[-1] == (2, 3, 0, False)
    assert walk(rows, up, left, tokens.WAIT, down) == [(0, 2, 0, False)] * 3 + [(4, 2, 0, False)]
    assert walk("PB#_ ____ __O_ ____", right) == [(0, 1, 0, False)]


def test_the_box_on_the_target_ends_the_episode():
    assert walk("__P_ __B_ __O_ ____", tokens.DOWN, tokens.DOWN) == [
        (6, 10, 1, True),
        (6, 10, 1, True),
    ]


def test_a_stuck_box_is_worth_nothing_and_the_push_that_does_it_is_key():
    for state in levels(TASK, 50):
        alive = np.flatnonzero((state.distance > 0) & (state.distance < FAR))
        for code in np.random.default_rng(0).choice(alive, 4):
            player, box = divmod(int(code), 16)
            if player == box or state.wall[player] or state.wall[box]:
                continue
            cells, target = (divmod(player, 4), divmod(box, 4)), divmod(int(state.target), 4)
            nexts = [after(state.wall, *cells, step) for step in grid.STEPS]
            stuck = any(shortest(state.wall, *cells, target) is None for cells in nexts)
            spare = jnp.int32(-100)  # leaves turns to spare
            now = state._replace(player=jnp.int32(player), box=jnp.int32(box), turn=spare)
            assert facts(now) == (1, stuck)


def test_turns_too_few_are_worth_nothing_and_the_last_spare_one_is_key():
    for state in levels(TASK, 20):
        distance = int(state.distance[state.player * 16 + state.box])
        assert facts(state._replace(turn=jnp.int32(16 - distance))) == (1, True)
        assert facts(state._replace(turn=jnp.int32(17 - distance))) == (0, False)


def test_longer_has_more_turns_and_a_wider_room():
    assert Sokoban().longer(4) == Sokoban(size=10, num_turns=64)
