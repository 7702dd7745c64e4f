"""Hanoi agrees with a search of all its positions."""

from itertools import permutations, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.hanoi import Hanoi, State

KEY = jax.random.key(0)


def after(position, source, target):
    """Returns the pegs of the disks after a move, and None if it is illegal."""
    on = [[disk for disk, peg in enumerate(position) if peg == p] for p in range(3)]
    if not on[source] or (on[target] and on[target][0] < on[source][0]):
        return None
    return tuple(target if disk == on[source][0] else peg for disk, peg in enumerate(position))


def distances(num_disks, goal):
    """Returns the moves from each position to the goal, by a breadth-first search.

    It goes from the goal, since moves can be taken back.
    """
    distance, layer = {}, {(goal,) * num_disks}
    while layer:
        distance |= dict.fromkeys(layer, len(set(distance.values())))
        layer = (
            {after(p, *move) for p in layer for move in permutations(range(3), 2)}
            - set(distance)
            - {None}
        )
    return distance


def states(task, goal, turn=0):
    """Returns every position at this turn, as tuples and as states."""
    positions = list(product(range(3), repeat=task.num_disks))
    many = jnp.full(len(positions), goal)
    return positions, State(many, jnp.array(positions), jnp.full_like(many, turn))


def move(source, target):
    return jnp.array([tokens.value(source), tokens.value(target)])


@pytest.mark.parametrize("goal", range(3))
def test_the_expert_takes_a_shortest_way_from_every_position(goal):
    for num_disks in (1, 2, 3, 4):
        task, distance = Hanoi(num_disks=num_disks), distances(num_disks, goal)
        positions, state = states(task, goal)
        moves = np.asarray(jax.vmap(task.expert)(state)) - tokens.VALUE
        assert jax.vmap(task._plan)(state)[0].tolist() == [distance[p] for p in positions]
        assert all(
            distance[after(p, *m)] == distance[p] - 1
            for p, m in zip(positions, moves.tolist())
            if distance[p]
        )


def test_a_stacked_start_takes_two_to_the_disks_less_one():
    for num_disks in range(1, 11):
        task = Hanoi(num_disks=num_disks, slack=0, stacked=True)
        state = task.reset(KEY)[0]
        assert task._plan(state)[0] == 2**num_disks - 1 == task.spec.num_turns
        assert task.potential(state) == 1


def test_every_move_obeys_the_rules_and_others_change_nothing():
    task = Hanoi(num_disks=3)
    positions, state = states(task, 0)
    for source, target in product(range(4), repeat=2):
        step = jax.jit(jax.vmap(lambda s, m=move(source, target): task.step(KEY, s, m)))
        moved, timestep = step(state)
        legal = max(source, target) < 3 and source != target
        expected = [(legal and any(p) and after(p, source, target)) or p for p in positions]
        assert list(map(tuple, moved.peg.tolist())) == expected
        assert timestep.reward.tolist() == [not any(p) for p in expected]
        assert (moved.turn == 1).all()


def test_potential_and_key_decisions_are_those_of_the_search():
    task, distance = Hanoi(num_disks=3, slack=1), distances(3, 2)
    for left in range(task.spec.num_turns + 1):
        positions, state = states(task, 2, task.spec.num_turns - left)
        nexts = [[after(p, *m) or p for m in permutations(range(3), 2)] + [p] for p in positions]
        in_time = [0 < distance[p] <= left for p in positions]
        assert jax.vmap(task.potential)(state).tolist() == in_time
        can_fail = [any(distance[n] > left - 1 for n in ns) for ns in nexts]
        assert jax.vmap(task.is_key)(state).tolist() == [a and b for a, b in zip(in_time, can_fail)]


@pytest.mark.parametrize("stacked, count", [(False, 3 * 26), (True, 3 * 2)])
def test_starts_are_all_positions_but_the_goal_or_all_stacked_ones(stacked, count):
    state = jax.vmap(Hanoi(stacked=stacked).reset)(jax.random.split(KEY, 2000))[0]
    problems = np.unique(np.column_stack([state.goal, state.peg]), axis=0)
    assert len(problems) == count and not (state.peg == state.goal[:, None]).all(1).any()
    assert not stacked or (problems[:, 1:] == problems[:, 1:2]).all()


def test_a_turn_shows_each_peg_from_the_bottom_up():
    observation = tokens.value(np.array([0, 2, 0]))
    text = Hanoi().render_turn(
        np.array([tokens.OBS, *observation]), np.array([tokens.value(0), tokens.value(1)])
    )
    assert text == "peg 0: 3 1, peg 1: -, peg 2: 2 -> 0 to 1"


def test_longer_has_one_more_disk_for_each_doubling():
    assert Hanoi().longer(4) == Hanoi(num_disks=5, slack=12)
