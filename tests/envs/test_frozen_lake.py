"""FrozenLake agrees with the one of gymnasium, and with a search written a second time."""

from collections import deque
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.frozen_lake import FrozenLake
from agentic_rl.envs.parts import grid

KEY = jax.random.key(0)
CLASSIC = ["SFFF", "FHFH", "FFFH", "HFFG"]


def lake(task, rows):
    """Returns the state in which an episode on this map begins."""
    return jax.jit(task._begin)(jnp.array([letter == "H" for letter in "".join(rows)]))


@cache
def resets(task, count):
    return jax.jit(jax.vmap(task.reset))(jax.random.split(KEY, count))[0]


def walk(task, state, *moves):
    """Returns (cell, reward, done) after each move."""
    step, seen = jax.jit(task.step), []
    for move in moves:
        state, timestep = step(KEY, state, jnp.array([move]))
        seen.append((int(state.cell), float(timestep.reward), bool(timestep.done)))
    return seen


def steps_to_goal(hole, size):
    """Returns the steps from each cell to the goal, by a breadth-first search."""
    distance, queue = {size * size - 1: 0}, deque([size * size - 1])
    while queue:
        row, column = divmod(cell := queue.popleft(), size)
        for r, c in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            on_lake, after = 0 <= r < size and 0 <= c < size, r * size + c
            if on_lake and not hole[after] and after not in distance:
                distance[after] = distance[cell] + 1
                queue.append(after)
    return distance


@pytest.mark.parametrize("slippery", [False, True])
def test_moves_lead_to_the_same_cells_as_often_as_in_gymnasium(slippery):
    P = (
        pytest.importorskip("gymnasium")
        .make("FrozenLake-v1", desc=CLASSIC, is_slippery=slippery)
        .unwrapped.P
    )
    task = FrozenLake(slip=2 / 3 if slippery else 0.0)
    begin = lake(task, CLASSIC)
    keys = jax.random.split(KEY, 1500)

    def outcome(cell, move):
        return jax.vmap(lambda key: task.step(key, begin._replace(cell=cell), move[None]))(keys)

    cells, moves = (
        x.ravel() for x in jnp.meshgrid(jnp.arange(16), jnp.array(grid.MOVES), indexing="ij")
    )
    after, timestep = jax.device_get(jax.jit(jax.vmap(outcome))(cells, moves))
    for i, (cell, move) in enumerate((c, m) for c in range(16) for m in range(4)):
        if "".join(CLASSIC)[cell] in "HG":
            continue
        theirs, reward_and_end = np.zeros(16), {}
        for chance, to, reward, end in P[cell][move]:
            theirs[to] += chance
            reward_and_end[to] = (reward, end)
        ours = np.bincount(after.cell[i], minlength=16) / len(keys)
        assert (np.abs(ours - theirs) < 5 * np.sqrt(theirs * (1 - theirs) / len(keys)) + 1e-6).all()
        assert all(
            reward_and_end[c] == (r, d)
            for c, r, d in zip(after.cell[i], timestep.reward[i], timestep.done[i])
        )


@pytest.mark.parametrize("slippery", [False, True])
def test_values_are_those_of_the_transitions_of_gymnasium(slippery):
    P = (
        pytest.importorskip("gymnasium")
        .make("FrozenLake-v1", desc=CLASSIC, is_slippery=slippery)
        .unwrapped.P
    )
    task = FrozenLake(num_turns=30, slip=2 / 3 if slippery else 0.0)
    value = np.zeros(16)
    for ours in np.asarray(lake(task, CLASSIC).plan.value):
        np.testing.assert_allclose(ours, value, atol=1e-5)
        value = np.array(
            [
                max(
                    sum(p * (r + value[s] * (not end)) for p, s, r, end in P[c][m])
                    for m in range(4)
                )
                for c in range(16)
            ]
        )


@pytest.mark.parametrize("hole", [0.2, 0.6, 1.0])
def test_every_lake_can_be_crossed_in_time(hole):
    task = FrozenLake(hole=hole)
    state = jax.device_get(resets(task, 2000))
    assert (state.plan.value[:, -1, 0] == 1).all()
    assert all(steps_to_goal(h, 4)[0] <= task.num_turns for h in state.hole[:200])


def test_holes_are_as_frequent_as_stated_while_too_few_to_close_the_way():
    share = np.asarray(resets(FrozenLake(hole=0.02), 2000).hole)[:, 1:-1].mean()
    assert abs(share - 0.02) < 4 * np.sqrt(0.02 * 0.98 / (2000 * 14))


def test_the_expert_takes_a_shortest_way_from_every_cell():
    task = FrozenLake(hole=0.35)
    states = jax.device_get(resets(task, 50))
    for i in range(50):
        state = jax.tree.map(lambda x, i=i: x[i], states)
        distance = steps_to_goal(state.hole, 4)
        for cell in set(distance) - {15}:
            for left in range(1, task.num_turns + 1):
                assert state.plan.value[left, cell] == (distance[cell] <= left)
            after = np.asarray(grid.neighbours(4))[cell, state.plan.move[task.num_turns, cell]]
            assert distance[after] == distance[cell] - 1


def test_a_decision_is_key_if_a_move_can_drown_or_waste_the_last_spare_turn():
    is_key = np.asarray(lake(FrozenLake(num_turns=8), CLASSIC).plan.is_key)
    expected = {(8, 0): False, (6, 0): True, (8, 4): True, (5, 0): False, (8, 5): False}
    assert {place: is_key[place] for place in expected} == expected


def test_a_hole_ends_the_episode_and_other_tokens_lose_a_turn():
    task = FrozenLake()
    walked = walk(
        task, lake(task, CLASSIC), tokens.LEFT, tokens.WAIT, tokens.DOWN, tokens.RIGHT, tokens.LEFT
    )
    assert walked == [(0, 0, False), (0, 0, False), (4, 0, False), (5, 0, True), (5, 0, True)]
    moves = [tokens.RIGHT, tokens.RIGHT, tokens.DOWN, tokens.DOWN, tokens.DOWN, tokens.RIGHT]
    assert walk(task, lake(task, CLASSIC), *moves)[-1] == (15, 1, True)


def test_an_observation_shows_the_place_and_what_each_move_leads_to():
    task = FrozenLake()
    place = lake(task, CLASSIC)._replace(cell=jnp.int32(8))
    assert tokens.text(task._observe(place)) == "OBS v2 v0 EMPTY FAIL EMPTY EMPTY"
    assert tokens.text(FrozenLake(around=False)._observe(place)) == "OBS v2 v0"


def test_longer_lakes_are_farther_across():
    assert FrozenLake().longer(4) == FrozenLake(size=13, num_turns=48)
