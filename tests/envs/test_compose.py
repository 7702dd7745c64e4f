"""Compose agrees with its functions written a second time, on lists."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.envs.compose import HELD_OUT, NAMES, Compose

PYTHON = {
    "rotate left": lambda x: x[1:] + x[:1],
    "rotate right": lambda x: x[-1:] + x[:-1],
    "reverse": lambda x: x[::-1],
    "swap neighbours": lambda x: [y for i in range(0, len(x), 2) for y in x[i : i + 2][::-1]],
    "swap halves": lambda x: x[len(x) // 2 :] + x[: len(x) // 2],
    "swap ends": lambda x: x[-1:] + x[1:-1] + x[:1],
    "double the first": lambda x: x[:1] + x[:-1],
    "double the last": lambda x: x[1:] + x[-1:],
    "add 1": lambda x: [(y + 1) % 8 for y in x],
    "subtract 1": lambda x: [(y - 1) % 8 for y in x],
    "add 4": lambda x: [(y + 4) % 8 for y in x],
    "times 3": lambda x: [y * 3 % 8 for y in x],
    "complement": lambda x: [7 - y for y in x],
    "halve": lambda x: [y // 2 for y in x],
    "double": lambda x: [y * 2 % 8 for y in x],
    "replace 0 by 7": lambda x: [y or 7 for y in x],
}
KEY = jax.random.key(0)


def problems(task, count=64):
    return jax.jit(jax.vmap(lambda key: task.reset(key)[0]))(jax.random.split(KEY, count))


def pairs(task):
    """Returns the pairs of neighbouring functions in 4096 problems."""
    functions = np.array(problems(task, 4096).function).tolist()
    return {pair for function in functions for pair in zip(function, function[1:])}


@pytest.mark.parametrize("length", [2, 3, 4, 5, 8])
def test_every_function_does_what_its_name_says(length):
    string = np.random.default_rng(0).integers(0, 8, (50, length))
    task = Compose(length=length)
    apply = jax.jit(jax.vmap(jax.vmap(task._apply, (None, 0)), (0, None)))
    assert np.array(apply(jnp.arange(16), jnp.array(string))).tolist() == [
        [PYTHON[name](x) for x in string.tolist()] for name in NAMES
    ]


@pytest.mark.parametrize("length", [4, 5, 6, 7, 8])
def test_from_length_four_on_all_functions_differ_and_none_is_the_identity(length):
    string = jnp.array(np.random.default_rng(0).integers(0, 8, (50, length)))
    images = jax.vmap(lambda f: jax.vmap(lambda x: Compose(length=length)._apply(f, x))(string))(
        jnp.arange(16)
    )
    assert len({image.tobytes() for image in np.array([*images, string])}) == 17


@pytest.mark.parametrize("depth, held_out", [(1, False), (2, False), (3, True)])
def test_the_expert_applies_the_functions_in_order(depth, held_out):
    task = Compose(depth=depth, held_out=held_out)
    state = problems(task)
    prompt, answer = np.array(jax.vmap(task.prompt)(state)), np.array(jax.vmap(task.expert)(state))
    for words, expert in zip(prompt.tolist(), answer):
        string = [x - tokens.VALUE for x in words[1 + depth :]]
        for f in words[1 : 1 + depth]:
            string = PYTHON[NAMES[f - tokens.ENTITY]](string)
        assert expert.tolist() == [tokens.value(x) for x in string]


def test_exactly_one_answer_is_right():
    """So the probability of the expert's action is the probability of success."""
    task = Compose(length=2)
    answers = tokens.value(jnp.array(list(product(range(8), repeat=2))))

    def rewards(state):
        return jax.vmap(lambda answer: task.step(KEY, state, answer)[1].reward)(answers)

    reward = jax.jit(jax.vmap(rewards))(problems(task))
    assert (reward.sum(axis=1) == 1).all() and task.chance() == 1 / 64
    assert (answers[reward.argmax(axis=1)] == jax.vmap(task.expert)(problems(task))).all()


def test_pairs_held_out_are_a_quarter_and_the_two_rules_share_none():
    shown, held_out = pairs(Compose()), pairs(Compose().other_rule())
    assert (len(shown), len(held_out)) == (192, 64) and not shown & held_out
    assert (HELD_OUT.sum(axis=0) == 4).all() and (HELD_OUT.sum(axis=1) == 4).all()
    assert pairs(Compose(depth=4)) == shown and pairs(Compose(depth=4, held_out=True)) == held_out


def test_only_the_last_scratch_line_counts_and_an_illegal_one_is_ignored():
    task = Compose(depth=3, scratch=True)
    state = first = task.reset(KEY)[0]
    wrong = tokens.value((state.string[1] + 1) % 8)
    illegal = jnp.array([tokens.END, *[tokens.PAD] * 3])
    for action, line in ((wrong, wrong), (illegal, wrong)):
        state, step = task.step(KEY, state, action)
        function = tokens.entity(first.function[state.turn])
        assert step.observation.tolist() == [function, *line.tolist()]
        assert step.reward == 0 and not step.done and task.potential(state) == 1
    assert task.step(KEY, state, task.expert(state))[1].success
    assert not task.step(KEY, state, wrong)[1].success


def test_scratch_lines_are_one_function_each():
    task = Compose(depth=3, scratch=True)
    state = task.reset(KEY)[0]
    assert task.spec.num_turns == 3 and (state.line == state.string[0]).all()
    for t in range(3):
        line = task._apply(state.function[t], state.line)
        assert (task.expert(state) == tokens.value(line)).all()
        state, step = task.step(KEY, state, task.expert(state))
    assert step.success


def test_longer_multiplies_the_depth():
    assert Compose(depth=3).longer(2).spec == Compose(depth=6).spec
    assert Compose(depth=3, scratch=True).longer(2).spec.num_turns == 6
