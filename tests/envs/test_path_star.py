"""PathStar against networkx, on stars read from the prompt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.path_star import PathStar

KEY = jax.random.key(0)
TASK = PathStar(arms=4, length=3)


def problems(task, count):
    """(prompt, expert's answer) of each problem, as labels."""
    states = jax.vmap(task.reset)(jax.random.split(KEY, count))[0]
    return zip(
        np.asarray(jax.vmap(task.prompt)(states)) - tokens.VALUE,
        np.asarray(jax.vmap(task.expert)(states)) - tokens.VALUE,
    )


def reward(task, answer):
    """The reward of an answer to the first problem, made of the right one."""
    state = task.reset(KEY)[0]
    after, said = task.step(KEY, state, jnp.array(answer(task.expert(state).tolist())))
    assert said.done and task.potential(state) == 1 and task.potential(after) == 0
    return float(said.reward)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_answer_is_the_shortest_path_of_networkx(backwards):
    networkx = pytest.importorskip("networkx")
    for prompt, answer in problems(PathStar(arms=4, length=3, backwards=backwards), 100):
        way = networkx.shortest_path(
            networkx.DiGraph(prompt[1:-2].reshape(-1, 2).tolist()), prompt[-2], prompt[-1]
        )
        assert answer.tolist() == (way[:0:-1] if backwards else way[1:])


def test_the_prompt_is_a_star_with_its_start_at_the_hub_and_its_goal_at_an_end():
    networkx = pytest.importorskip("networkx")
    for prompt, _ in problems(TASK, 100):
        star = networkx.DiGraph(prompt[1:-2].reshape(-1, 2).tolist())
        assert networkx.is_arborescence(star) and len(star) == 13
        assert star.out_degree(prompt[-2]) == 4 and star.out_degree(prompt[-1]) == 0
        assert sorted(d for _, d in star.out_degree)[:-1] == [0] * 4 + [1] * 8


def test_edges_come_in_random_order_under_fresh_labels():
    prompts = np.array([prompt for prompt, _ in problems(TASK, 2000)])
    for place in (1, 12, -1):
        assert np.abs(
            np.bincount(prompts[:, place], minlength=16) / 2000 - 1 / 16
        ).max() < 5 * np.sqrt(1 / 16 / 2000)
    on_the_way = (prompts[:, 1:-2:2] == prompts[:, -2:-1]).mean(
        0
    )  # how often each listed edge begins at the hub
    assert np.abs(on_the_way - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 2000)


def test_every_node_must_be_right():
    assert reward(TASK, lambda way: way) == 1
    assert reward(TASK, lambda way: way[::-1]) == 0
    assert reward(TASK, lambda way: [*way[:2], tokens.END]) == 0
    assert reward(TASK, lambda way: [tokens.value((way[0] + 1) % 16), *way[1:]]) == 0


def test_the_other_rule_wants_the_same_way_from_its_end():
    assert (
        reward(TASK.other_rule(), lambda way: way) == 1 and TASK.other_rule().other_rule() == TASK
    )
    state = TASK.reset(KEY)[0]
    assert TASK.other_rule().expert(state).tolist() == TASK.expert(state).tolist()[::-1]
    assert (TASK.other_rule().prompt(state) == TASK.prompt(state)).all()


def test_longer_arms_bring_the_labels_they_need():
    assert PathStar().longer(4) == PathStar(length=12, num_labels=37)
