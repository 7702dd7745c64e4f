"""PathStar agrees with networkx on stars that are read from the prompt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.path_star import PathStar

KEY = jax.random.key(0)
TASK = PathStar(arms=4, length=3)


def problems(task, count):
    """Returns prompt and expert's answer of each problem, as labels."""
    states = jax.vmap(task.reset)(jax.random.split(KEY, count))[0]
    return zip(
        np.asarray(jax.vmap(task.prompt)(states)) - tokens.VALUE,
        np.asarray(jax.vmap(task.expert)(states)) - tokens.VALUE,
    )


def reward(task, answer):
    """Returns the reward of an answer that is made from the right one."""
    state = task.reset(KEY)[0]
    after, timestep = task.step(KEY, state, jnp.array(answer(task.expert(state).tolist())))
    assert timestep.done and task.potential(state) == 1 and task.potential(after) == 0
    return float(timestep.reward)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_answer_is_the_shortest_path_of_networkx(backwards):
    networkx = pytest.importorskip("networkx")
    for prompt, answer in problems(PathStar(arms=4, length=3, backwards=backwards), 100):
        way = networkx.shortest_path(
            networkx.DiGraph(prompt[1:-2].reshape(-1, 2).tolist()), prompt[-2], prompt[-1]
        )
        assert answer.tolist() == (way[:0:-1] if backwards else way[1:])


def test_the_prompt_is_a_star_from_its_hub_to_the_end_of_an_arm():
    networkx = pytest.importorskip("networkx")
    for prompt, _ in problems(TASK, 100):
        star = networkx.DiGraph(prompt[1:-2].reshape(-1, 2).tolist())
        assert networkx.is_arborescence(star) and len(star) == 13
        assert star.out_degree(prompt[-2]) == 4 and star.out_degree(prompt[-1]) == 0
        assert sorted(d for _, d in star.out_degree)[:-1] == [0] * 4 + [1] * 8


def test_edges_come_in_random_order_under_fresh_labels():
    prompts = np.array([prompt for prompt, _ in problems(TASK, 2000)])
    for place in (1, 12, -1):
        share = np.bincount(prompts[:, place], minlength=16) / 2000
        assert np.abs(share - 1 / 16).max() < 5 * np.sqrt(1 / 16 / 2000)
    begins_at_hub = (prompts[:, 1:-2:2] == prompts[:, -2:-1]).mean(0)  # for each listed edge
    assert np.abs(begins_at_hub - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 2000)


def test_every_node_must_be_right():
    assert reward(TASK, lambda way: way) == 1
    assert reward(TASK, lambda way: way[::-1]) == 0
    assert reward(TASK, lambda way: [*way[:2], tokens.END]) == 0
    assert reward(TASK, lambda way: [tokens.value((way[0] + 1) % 16), *way[1:]]) == 0


def test_the_other_rule_asks_for_the_same_way_from_its_end():
    state, other = TASK.reset(KEY)[0], TASK.other_rule()
    assert reward(other, lambda way: way) == 1 and other.other_rule() == TASK
    assert other.expert(state).tolist() == TASK.expert(state).tolist()[::-1]
    assert (other.prompt(state) == TASK.prompt(state)).all()


def test_longer_arms_bring_the_labels_they_need():
    assert PathStar().longer(4) == PathStar(length=12, num_labels=37)
