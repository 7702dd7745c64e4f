"""GraphNav agrees with networkx on graphs that are read from the prompt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.graph_nav import GraphNav

networkx = pytest.importorskip("networkx")
KEY = jax.random.key(0)
TASKS = [
    GraphNav(),
    GraphNav(num_pits=4, num_loops=1),
    GraphNav(num_nodes=16, num_turns=15, num_loops=6, num_pits=3, num_rooms=3),
    GraphNav(num_pits=0, num_loops=0),
]


def problems(task, count):
    """Yields state, graph without pits, and goal of `count` problems."""
    states = jax.jit(jax.vmap(task.reset))(jax.random.split(KEY, count))[0]
    prompts, states = jax.device_get((jax.jit(jax.vmap(task.prompt))(states), states))
    for i, prompt in enumerate(prompts):
        names = [t - tokens.ENTITY if t != tokens.EMPTY else None for t in prompt[1:].tolist()]
        end = 1 + 4 * task.num_nodes
        table, pits = np.array(names[1:end]).reshape(-1, 4), names[end:]
        edges = [(a, b) for a, slots in enumerate(table) for b in slots if b is not None]
        graph = networkx.Graph(edges)
        assert set(graph) == set(range(task.num_nodes)) and max(dict(graph.degree).values()) <= 4
        graph.remove_nodes_from(pits)
        yield jax.tree.map(lambda x, i=i: x[i], states), graph, names[0]


def walk(task, state, *actions):
    """Returns (node, heading, reward, done) after each action."""
    step, seen = jax.jit(task.step), []
    for action in actions:
        state, timestep = step(KEY, state, jnp.array([action]))
        place = int(state.node), int(state.heading)
        seen.append((*place, float(timestep.reward), bool(timestep.done)))
    return seen


def square(task, pit=False):
    """Returns the circle 0 - 1 - 2 - 3 - 0, from 0 to 2. Node 1 may be a pit."""
    neighbour = jnp.array([[1, 3, 0, 0], [0, 2, 1, 1], [1, 3, 2, 2], [0, 2, 3, 3]])
    return jax.jit(task._begin)(
        neighbour, jnp.array([False, pit, False, False]), jnp.int32(0), jnp.int32(2)
    )


V0, V1, V2, V3 = tokens.value(np.arange(4))
SQUARE = GraphNav(num_nodes=4, num_turns=4, num_pits=1)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_graphs_are_connected_even_without_their_pits(task):
    for state, graph, goal in problems(task, 200):
        assert networkx.is_connected(graph) and len(graph) == task.num_nodes - task.num_pits
        assert {int(state.node), goal} <= set(graph) and state.node != goal
        assert (~state.pit[state.neighbour[state.pit]]).any(1).all()


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_values_and_the_experts_ways_are_those_of_shortest_paths(task):
    for state, graph, goal in problems(task, 50):
        distance = networkx.shortest_path_length(graph, target=goal)
        for node in set(graph) - {goal}:
            assert state.plan.value[:, node].tolist() == [
                distance[node] <= left for left in range(task.num_turns + 1)
            ]
            after = {
                state.neighbour[node, move] for move in state.plan.move[distance[node] :, node]
            }
            assert {distance[int(n)] for n in after} == {distance[node] - 1}


def test_single_edges_join_the_rooms_and_the_way_crosses_all_rooms():
    task = GraphNav(num_nodes=16, num_turns=15, num_loops=8, num_pits=0, num_rooms=4)
    for state, graph, goal in problems(task, 50):
        bridges = {frozenset(edge) for edge in networkx.bridges(graph)}
        way = networkx.shortest_path(graph, int(state.node), goal)
        assert sum(frozenset(edge) in bridges for edge in zip(way, way[1:])) >= 3


def test_a_slot_leads_to_its_neighbour_and_an_empty_one_nowhere():
    lost, moved, arrived = (0, 0, 0, False), (3, 1, 0, False), (2, 1, 1, True)
    walked = walk(SQUARE, square(SQUARE), V2, tokens.WAIT, V1, V1, V0)
    assert walked == [lost, lost, moved, arrived, arrived]


def test_a_pit_ends_the_episode_with_nothing_and_makes_the_decision_key():
    state = square(SQUARE, pit=True)
    assert walk(SQUARE, state, V0, V1) == [(1, 0, 0, True), (1, 0, 0, True)]
    assert SQUARE.expert(state) == V1 and SQUARE.is_key(state) and not SQUARE.is_key(square(SQUARE))
    fallen = state._replace(node=jnp.int32(1))
    assert SQUARE.potential(fallen) == 0 and not SQUARE.is_key(fallen)


def test_running_out_of_turns_is_failure():
    assert walk(SQUARE, square(SQUARE), V2, V2, V2, V1)[-1] == (3, 1, 0, True)


def test_relative_slots_are_counted_from_the_one_taken_last():
    task = SQUARE.other_rule()
    assert task.relative and task.other_rule() == SQUARE
    assert walk(task, square(task), V1, V0)[-1] == (2, 1, 1, True)  # slot 1, then slot 1 + 0
    assert walk(task, square(task), V1, V3)[-1] == (0, 0, 0, False)  # slot 1, then slot (1 + 3) % 4
    assert (
        task.expert(square(task)._replace(node=jnp.int32(3), heading=jnp.int32(3))) == V2
    )  # to slot 1


def test_potentials_are_the_experts_mean_returns_if_moves_slip():
    task = GraphNav(slip=0.3, num_pits=2)
    state = task.reset(KEY)[0]

    def total(key):
        def turn(carry, key):
            state, done, total = carry
            state, timestep = task.step(key, state, task.expert(state))
            return (state, done | timestep.done, total + timestep.reward * ~done), None

        return jax.lax.scan(
            turn, (state, jnp.bool_(False), 0.0), jax.random.split(key, task.num_turns)
        )[0][2]

    returns = np.asarray(jax.jit(jax.vmap(total))(jax.random.split(KEY, 8192)))
    value = float(task.potential(state))
    error = np.sqrt(value * (1 - value) / 8192)
    assert 0.2 < value < 0.99 and abs(returns.mean() - value) < 4 * error


def test_longer_has_more_turns_and_up_to_sixteen_nodes():
    assert GraphNav().longer(4) == GraphNav(num_nodes=16, num_turns=32)
