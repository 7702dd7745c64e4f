"""The scaffolds of a to-do list ask, carry out and remember what they should."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agentic_rl import tokens
from agentic_rl.config import ConfigError
from agentic_rl.envs.todo import Todo
from agentic_rl.envs.wrappers.scaffolds import BabyAGI, Once, Question
from agentic_rl.rollout.actors import Expert, Random
from agentic_rl.rollout.rollout import rollout
from agentic_rl.types import Environment

TASK = Todo(num_items=3)
WORD = {name: token for token, name in enumerate(tokens.NAMES)}


def action_of(*words):
    """Returns the action of these words and, if there is room, END."""
    token = [WORD[w] for w in words] + [tokens.END] + [tokens.PAD] * 3
    return jnp.array(token[: TASK.num_items])


@cache
def compiled(scaffold):
    return jax.jit(scaffold.reset), jax.jit(scaffold.step)


def begin(scaffold):
    return compiled(scaffold)[0](jax.random.key(0))


def play(scaffold, state, *actions):
    """Returns the last state and time step."""
    for action in actions:
        state, step = compiled(scaffold)[1](jax.random.key(1), state, action)
    return state, step


@pytest.mark.parametrize(
    "scaffold", [Once, pytest.param(Question, marks=pytest.mark.slow), BabyAGI]
)
def test_the_expert_succeeds_in_each_and_chance_hardly_does(scaffold):
    wrapped = scaffold(Todo(num_items=3, steps=2))
    assert isinstance(wrapped, Environment)
    assert rollout(wrapped, Expert(), jax.random.key(0), jnp.arange(64)).success.all()
    assert rollout(wrapped, Random(), jax.random.key(0), jnp.arange(256)).success.mean() < 0.2


def test_a_list_written_once_fails_if_an_event_adds_to_it_and_a_loop_does_not():
    task = Todo(num_items=4, events=True)
    assert rollout(Once(task), Expert(), jax.random.key(0), jnp.arange(64)).success.mean() < 0.1
    assert rollout(BabyAGI(task), Expert(), jax.random.key(0), jnp.arange(64)).success.all()


def test_a_list_is_carried_out_as_it_stands():
    """It tries every list of two or three items.

    A list is right if it holds the goal, and each item comes after its prerequisites.
    """
    state, _ = begin(Once(TASK))
    needs = {i: {int(x) for x in recipe if x < 3} for i, recipe in enumerate(state.recipe)}
    outcomes = []
    for items in [*itertools.permutations(range(3), 2), *itertools.permutations(range(3), 3)]:
        done = set()
        for i in items:
            done |= {i} if needs[i] <= done else set()
        success = play(Once(TASK), state, action_of(*[f"n{i}" for i in items]))[1].success
        outcomes.append(bool(success))
        assert success == (int(state.order[-1]) in done)
    assert True in outcomes and False in outcomes


def test_questions_are_of_both_kinds_and_only_the_experts_answer_is_right():
    question = Question(TASK)
    shown = rollout(question, Expert(), jax.random.key(0), jnp.arange(256))
    lists = np.asarray(shown.observation[:, 0, 0, 0]) == tokens.THINK
    assert 0.3 < lists.mean() < 0.9
    assert (np.asarray(shown.observation[:, 0, 0, 2])[lists] == tokens.EMPTY).all()
    state, _ = begin(question)
    answer = question.expert(state)
    wrong = answer.at[0].set(jnp.where(answer[0] == tokens.DONE, tokens.ENTITY, tokens.DONE))
    assert play(question, state, answer)[1].success and not play(question, state, wrong)[1].success


def chained():
    """Returns the start of a loop whose goal is n1, which needs n0; n2 is of no use."""
    state, step = begin(BabyAGI(TASK))
    inner = state.inner._replace(
        order=jnp.array([2, 0, 1]),
        recipe=jnp.array([[3, 3, 3], [0, 3, 3], [3, 3, 3]]),
        needed_at_first=jnp.array([True, True, False]),
        needed=jnp.array([True, True, False]),
    )
    return state._replace(inner=inner), step


def test_the_loop_does_the_first_item_then_asks_again_and_ends_with_its_list():
    loop, (state, _) = BabyAGI(TASK), chained()
    state, step = play(loop, state, action_of("n0", "n1"))
    assert (
        state.queue.tolist() == [0, 1, 3] and not state.lists and step.observation[2] == WORD["n0"]
    )
    state, step = play(loop, state, action_of("n0"))
    assert state.queue.tolist() == [1, 3, 3] and state.lists and step.observation[0] == tokens.THINK
    state, step = play(loop, state, action_of("n1"), action_of("n1"), action_of())
    assert step.done and step.success and state.created == 0


def test_new_items_come_first_and_what_was_queued_stays():
    loop, (state, _) = BabyAGI(TASK), chained()
    state, _ = play(loop, state, action_of("n0", "n1"), action_of("n0"), action_of("n2", "n0"))
    assert state.queue.tolist() == [2, 0, 1] and state.created == 2


def test_an_item_that_fails_leaves_the_list():
    loop, (state, _) = BabyAGI(TASK), chained()
    state, step = play(loop, state, action_of("n1", "n0"), action_of("n1"))
    assert state.inner.status == tokens.ERR and state.queue.tolist() == [0, 3, 3] and state.lists
    state, step = play(loop, state, action_of(), action_of("n0"), action_of())
    assert step.done and not step.success  # the goal was never named again


def test_asking_takes_no_turn_and_an_action_that_is_no_list_adds_nothing():
    loop, (state, _) = BabyAGI(TASK), chained()
    state, _ = play(loop, state, action_of("n0", "n1"), action_of("n0"))
    after, _ = play(loop, state, action_of("DONE", "n2"))
    assert after.inner.turn == state.inner.turn and after.queue.tolist() == state.queue.tolist()


def test_the_list_of_the_loop_is_what_was_named_then_what_was_left():
    loop, random = BabyAGI(Todo(num_items=4)), np.random.default_rng(0)
    merge = jax.jit(loop._merge)
    for _ in range(50):
        named, queued = (list(random.permutation(4)[: random.integers(1, 4)]) for _ in range(2))
        action = [tokens.ENTITY + i for i in named] + [tokens.END]
        action += [tokens.PAD] * (4 - len(action))
        queue = queued + [4] * (4 - len(queued))
        expected = named + [i for i in queued if i not in named]
        expected += [4] * (4 - len(expected))
        assert merge(jnp.array(action), jnp.array(queue)).tolist() == expected


def test_the_action_of_a_single_word_ends_with_end():
    assert TASK.single_word(jnp.int32(tokens.DONE)).tolist() == [
        tokens.DONE,
        tokens.END,
        tokens.PAD,
    ]


def test_a_scaffold_needs_a_policy_that_writes_the_list():
    with pytest.raises(ConfigError, match="plan_mode free"):
        BabyAGI(Todo(plan_mode="none"))
